"""The batch that fits is found, and the effective one stays."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import pytest
import torch
from made_calls import call
from made_runs import make_task, train
from made_sets import TINY, assert_one_sentence, data_settings, tiny_arguments, write_set
from sources import Squares

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.engine.memory import OutOfMemory
from rtmdet_lab.experiment import batch_size
from rtmdet_lab.experiment.batch_size import (
    HEADROOM,
    PROBED,
    batches_to_try,
    find_batch,
    planned_config,
    with_batch,
)
from rtmdet_lab.experiment.forecast import GIB, Forecast, first_samples, fullest

CPU = torch.device("cpu")


def limited(task, most: int, seen: list[int]):
    """Returns the task on a device that holds ``most`` images."""

    def criterion(predictions, targets):
        seen.append(len(targets))
        if len(targets) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return task.criterion(predictions, targets)

    return dataclasses.replace(task, criterion=criterion)


def config_of(batch: int, accumulate: int = 1) -> ExperimentConfig:
    return with_overrides(ExperimentConfig(), {"train.batch_size": batch, "train.gradient_accumulation_steps": accumulate})


@pytest.mark.parametrize(
    ("batch", "accumulate", "processes", "expected"),
    [
        (8, 1, 1, [8, 4, 2, 1]),
        (12, 1, 1, [12, 6, 4, 3, 2, 1]),
        (6, 2, 1, [6, 4, 3, 2, 1]),
        (8, 1, 2, [8, 4, 2]),
        (7, 1, 1, [7, 1]),
        (7, 1, 2, []),
    ],
)
def test_sizes_divide_the_effective_batch_and_among_the_processes(batch, accumulate, processes, expected):
    assert batches_to_try(config_of(batch, accumulate), processes) == expected


@pytest.mark.parametrize(
    ("most", "batch", "accumulate"), [(12, 12, 1), (11, 6, 2), (5, 4, 3), pytest.param(1, 1, 12, marks=pytest.mark.slow)]
)
def test_largest_batch_that_fits_is_taken_with_the_same_effective_one(most, batch, accumulate):
    seen = []
    task = limited(make_task(**{"train.batch_size": 12}), most, seen)
    found = find_batch(task, Squares(8), CPU).train
    assert (found.batch_size, found.gradient_accumulation_steps) == (batch, accumulate)
    assert found.lr == task.config.train.lr
    batches = 2 * min(accumulate, 2)  # two updates: from the second on the optimizer has its memory
    assert seen[-batches:] == [batch] * batches
    assert all(size > most for size in seen[:-batches])


def test_processes_share_the_batch():
    seen = []
    found = find_batch(limited(make_task(**{"train.batch_size": 8}), 3, seen), Squares(8), CPU, processes=2).train
    assert (found.batch_size, found.gradient_accumulation_steps, seen[-1]) == (4, 2, 2)
    with pytest.raises(SettingError, match=r"train\.batch_size 8 does not divide over 3 processes"):
        find_batch(make_task(**{"train.batch_size": 8}), Squares(8), CPU, processes=3)


def test_nothing_fits_is_one_sentence():
    with pytest.raises(OutOfMemory) as error:
        find_batch(limited(make_task(), 0, []), Squares(8), CPU)
    assert_one_sentence(error.value, "batches of 1 images of 64 x 64", "augment.input_size")


@pytest.mark.slow
def test_what_did_not_fit_is_let_go(monkeypatch):
    held = []
    task = make_task(**{"train.batch_size": 4})

    def criterion(predictions, targets):
        gc.collect()
        held.append(sum(type(one) is torch.Tensor and one.shape[:1] == (4,) and one.dim() == 4 for one in gc.get_objects()))
        if len(targets) == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return task.criterion(predictions, targets)

    find_batch(dataclasses.replace(task, criterion=criterion), Squares(8), CPU)
    assert held[0] > held[1]


def test_batch_is_filled_with_the_sample_that_has_the_most_objects():
    task, source = make_task(), Squares(8)
    counts = [len(source.load(index)[1]["labels"]) for index in range(8)]
    assert len(fullest(first_samples(task.config, source, PROBED))[1]["labels"]) >= max(counts)


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that there is a GPU that holds 2 images; returns the sizes it was tried with."""
    asked = []

    def find(task, source, device, processes, sizes):
        asked.append(list(sizes))
        return with_batch(task.config, 2)

    monkeypatch.setattr(batch_size, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(batch_size, "find_batch", find)
    monkeypatch.setattr(batch_size, "free_memory", lambda _: 8 * GIB)
    monkeypatch.setattr(batch_size, "measure", lambda *_: Forecast("cuda", 0, GIB // 10, 0.01, 0.01))
    return asked


def machine(monkeypatch, images: float) -> None:
    """Pretends that this machine's memory holds so many images beside the model."""
    monkeypatch.setattr(batch_size, "free_memory", lambda _: int(images * GIB / HEADROOM["cpu"]) + 2**24)
    monkeypatch.setattr(batch_size, "measure", lambda *_: Forecast("cpu", 0, GIB, 0.25, 0.01))


def tiny_config(folder: Path, images: int, **settings) -> ExperimentConfig:
    settings = {name: value for name, value in TINY.items() if name != "train.batch_size"} | settings
    return with_overrides(ExperimentConfig(), settings | data_settings(write_set(folder, train=images)))


def test_batch_that_was_asked_for_is_accumulated_and_it_is_told(tmp_path, gpu):
    config = tiny_config(tmp_path, 8, **{"train.batch_size": 4})
    notes = []
    planned = planned_config(config, tmp_path / "run", asked=True, note=notes.append)
    assert (planned.train.batch_size, planned.train.gradient_accumulation_steps) == (2, 2)
    assert planned == with_batch(config, 2)
    assert notes[0] == "batches of 2 images fit, 2 of them per optimizer step"
    assert notes[1].startswith("estimate: about 0.2 GB of GPU memory, 8.0 GB are free; about 0:0")
    assert gpu == [[4, 2, 1]]


@pytest.mark.parametrize(("images", "memory", "batch"), [(8, 64, 4), (8, 2.5, 2), (2, 64, 2), (120, 64, 4), (120, 1.5, 1)])
def test_batch_that_nobody_asked_for_follows_set_and_memory_and_the_learning_rate_follows_it(
    tmp_path, monkeypatch, images, memory, batch
):
    machine(monkeypatch, memory)
    notes = []
    config = tiny_config(tmp_path, images, **{"train.lr": None})
    planned = planned_config(config, tmp_path / "run", "cpu", note=notes.append)
    assert (planned.train.batch_size, planned.train.gradient_accumulation_steps, planned.train.lr) == (batch, 1, None)
    assert notes[0].startswith(f"batches of {batch} images (the published 256 do not suit {images} images on this machine)")
    assert f"learning rate {0.004 * batch / 256:.3g}" in notes[0]


def test_batch_that_was_asked_for_and_does_not_fit_a_cpu_is_accumulated(tmp_path, monkeypatch):
    machine(monkeypatch, 3.5)
    planned = planned_config(tiny_config(tmp_path, 12, **{"train.batch_size": 12}), tmp_path / "run", "cpu", asked=True)
    assert (planned.train.batch_size, planned.train.gradient_accumulation_steps) == (3, 4)


def test_not_even_one_image_is_one_sentence_with_the_memory_it_takes(tmp_path, monkeypatch):
    machine(monkeypatch, 0.5)
    with pytest.raises(OutOfMemory) as error:
        planned_config(tiny_config(tmp_path, 8), tmp_path / "run", "cpu")
    assert_one_sentence(error.value, "batches of 1 images of 64 x 64", "1.0 GB", "are free")


@pytest.mark.parametrize(
    "settings", [{"train.batch_size": 9}, {"train.batch_size": 4, "train.gradient_accumulation_steps": 3}]
)
def test_step_that_was_asked_for_stays_even_where_the_set_is_smaller(tmp_path, settings):
    config = tiny_config(tmp_path, 8, **settings)
    assert planned_config(config, tmp_path / "run", "cpu", asked=True, note=lambda _: None) == config


def test_long_recipe_on_a_small_set_is_warned_of_with_a_command(tmp_path, monkeypatch):
    machine(monkeypatch, 64)
    notes = []
    config = tiny_config(tmp_path, 8, **{"train.epochs": 300, "augment.input_size": 640})
    planned_config(config, tmp_path / "run", "cpu", command="rtmdet-lab train --data here", note=notes.append)
    (warning,) = [one for one in notes if one.startswith("warning")]
    settings = "train.epochs=100 train.batch_size=4 train.lr=0.002 train.weak_epochs=100 'augment.resize_range=[0.8,1.25]'"
    assert f"`rtmdet-lab train --data here --set {settings} model.exp_on_reg=true augment.input_size=64`" in warning
    planned_config(with_overrides(config, {"train.epochs": 20}), tmp_path / "run", "cpu", note=notes.append)
    assert sum(one.startswith("warning") for one in notes) == 1


def test_run_that_goes_on_keeps_its_batch(tmp_path, gpu):
    settings = {"train.epochs": 1, "train.weak_epochs": 1, "train.batch_size": 2, "train.gradient_accumulation_steps": 3}
    task, _ = train(tmp_path, source=Squares(6), **settings)
    for wished in (with_batch(task.config, 6), with_overrides(task.config, {"train.batch_size": 256})):
        kept = planned_config(wished, tmp_path, asked=wished.train.batch_size == 6).train
        assert (kept.batch_size, kept.gradient_accumulation_steps) == (2, 3)
    assert gpu == []


def test_command_without_a_batch_says_what_it_takes_and_needs(capsys, tmp_path):
    settings = [one for one in tiny_arguments(**{"train.epochs": 1}) if not one.startswith("train.batch_size")]
    arguments = [
        "--model",
        "rtmdet-nano",
        "--data",
        write_set(tmp_path / "data"),
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    ]
    code, out, err = call(capsys, "train", *arguments, "--progress", "plain", "--set", *settings)
    assert code == 0, err
    assert "batches of 4 images (the published 256 do not suit 8 images" in out
    assert "estimate: about" in out
    assert "GB of memory" in out
