"""The batch that fits is found, and the effective one stays."""

from __future__ import annotations

import dataclasses
import gc
import sys
from pathlib import Path

import pytest
import torch

from rtmdet_lab import auto_batch
from rtmdet_lab.auto_batch import batches_to_try, find_batch, fitting_config, fullest_sample, with_batch
from rtmdet_lab.config import ExperimentConfig, with_overrides
from rtmdet_lab.errors import SettingError
from rtmdet_lab.training.memory import OutOfMemory

sys.path.insert(0, str(Path(__file__).parent / "support"))
sys.path.insert(0, str(Path(__file__).parent / "training"))
from made_calls import fails, train_arguments
from made_runs import make_task, train
from made_sets import TINY, assert_one_sentence, data_settings, write_set
from sources import Squares

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
    return with_overrides(ExperimentConfig(), {"train.batch_size": batch, "train.accumulate": accumulate})


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


@pytest.mark.parametrize(("most", "batch", "accumulate"), [(12, 12, 1), (11, 6, 2), (5, 4, 3), (1, 1, 12)])
def test_largest_batch_that_fits_is_taken_with_the_same_effective_one(most, batch, accumulate):
    seen = []
    task = limited(make_task(**{"train.batch_size": 12}), most, seen)
    found = find_batch(task, Squares(8), CPU).train
    assert (found.batch_size, found.accumulate) == (batch, accumulate)
    assert found.lr == task.config.train.lr
    assert seen[-2:] == [batch, batch]  # two steps: from the second on the optimizer has its memory
    assert all(size > most for size in seen[:-2])


def test_processes_share_the_batch():
    seen = []
    found = find_batch(limited(make_task(**{"train.batch_size": 8}), 3, seen), Squares(8), CPU, processes=2).train
    assert (found.batch_size, found.accumulate, seen[-1]) == (4, 2, 2)
    with pytest.raises(SettingError, match=r"train\.batch_size 8 does not divide over 3 processes"):
        find_batch(make_task(**{"train.batch_size": 8}), Squares(8), CPU, processes=3)


def test_nothing_fits_is_one_sentence():
    with pytest.raises(OutOfMemory) as error:
        find_batch(limited(make_task(), 0, []), Squares(8), CPU)
    assert_one_sentence(error.value, "batches of 1 images of 64 x 64", "augment.input_size")


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
    assert len(fullest_sample(task, source)[1]["labels"]) >= max(counts)


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that there is a GPU that holds 2 images; returns the sizes asked for."""
    asked = []

    def find(task, source, device, processes):
        asked.append(task.config.train.batch_size)
        return with_batch(task.config, 2)

    monkeypatch.setattr(auto_batch, "choose_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr(auto_batch, "find_batch", find)
    return asked


def test_configuration_changes_in_the_split_of_the_batch_only_and_it_is_told(tmp_path, gpu):
    config = with_overrides(ExperimentConfig(), TINY | data_settings(write_set(tmp_path)) | {"train.batch_size": 4})
    notes = []
    found = fitting_config(config, tmp_path / "run", note=notes.append)
    assert found == with_batch(config, 2)
    assert (found.train.batch_size, found.train.accumulate) == (2, 2)
    assert notes == ["batches of 2 images fit, 2 of them per optimizer step"]
    assert gpu == [4]


def test_run_that_goes_on_keeps_its_batch(tmp_path, gpu):
    settings = {"train.epochs": 1, "train.weak_epochs": 1, "train.batch_size": 2, "train.accumulate": 3}
    task, _ = train(tmp_path, source=Squares(6), **settings)
    wished = with_batch(task.config, 6)
    found = fitting_config(wished, tmp_path)
    assert (found.train.batch_size, found.train.accumulate) == (2, 3)
    assert gpu == []


def test_command_without_a_gpu_says_so(capsys, tmp_path):
    arguments = train_arguments(write_set(tmp_path / "data"), tmp_path / "run")
    fails(capsys, *arguments, "--auto-batch", words=["--auto-batch", "GPU", "train.batch_size"])
    assert not (tmp_path / "run").exists()
