"""docs/results/scaling.md shows what benchmarks/scaling.py computes, and that follows the formula the document states."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from torch import nn

from rtmdet_lab import ExperimentConfig, build_task, with_overrides
from rtmdet_lab.config.presets import model_name
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/results/scaling.md").read_text()


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


scaling = load("scaling")
INPUTS = scaling.Inputs()


@pytest.mark.slow
def test_document_shows_exactly_the_tables_of_the_script():
    printed = []
    for title, rows in scaling.tables(INPUTS):
        table = scaling.markdown(rows)
        assert f"### {title}\n\n{table}\n" in TEXT, title
        printed += table.splitlines()
    shown = re.findall(r"^\| rtmdet-.*", TEXT, flags=re.MULTILINE)
    assert len(shown) > 80
    assert set(shown) <= set(printed)


def test_document_names_every_input_with_its_default():
    for item in fields(scaling.Inputs):
        option = item.name.replace("_", "-")
        assert re.search(rf"^\| `--{option}` \| {item.default:g} \| (measured|published|assumed)", TEXT, re.MULTILINE), (
            option
        )


def test_the_command_prints_the_same_tables(capsys):
    scaling.main([])
    printed = capsys.readouterr().out
    for title, rows in scaling.tables(INPUTS):
        assert f"### {title}\n\n{scaling.markdown(rows)}\n" in printed


def test_every_published_size_is_there():
    paper = [
        model_name(task, size) for task, facts in TASKS.items() for size in facts.sizes if facts.dense and size != "nano"
    ]
    assert list(scaling.MEMORY) == list(scaling.HOST_MS) == paper


@pytest.mark.parametrize(("name", "norms"), [("rtmdet-tiny", 76), ("rtmdet-r-l", 142)])
def test_counts_are_those_of_the_network_that_is_trained(name, norms):
    model = scaling.model_of(name)
    settings = {"task": model.task, "model.size": name.split("-")[-1], "model.num_classes": 15 if "-r-" in name else 80}
    network = build_task(with_overrides(ExperimentConfig(), settings)).model
    assert model.params == sum(one.numel() for one in network.parameters())
    assert model.norms == norms == sum(isinstance(one, nn.BatchNorm2d) for one in network.modules())


@pytest.mark.parametrize("anchor", [16.0, 32.83, 70.0])
def test_the_run_that_the_times_come_from_takes_its_published_time(anchor):
    inputs = scaling.Inputs(anchor_hours=anchor)
    least, most = scaling.image_ms("rtmdet-m", inputs)
    assert least == pytest.approx(most, rel=1e-12)
    assert scaling.hours("rtmdet-m", 8, inputs, least) == pytest.approx(anchor, rel=1e-9)


def test_times_follow_arithmetic_or_memory():
    anchor, _ = scaling.image_ms("rtmdet-m", INPUTS)
    least, most = scaling.image_ms("rtmdet-tiny", INPUTS)
    # 8.036 G of 39.066 G multiply-adds; (11.7 - 0.1175) of (27.8 - 0.5930) GB for as many images.
    assert least == pytest.approx(anchor * 8.036087 / 39.066486, rel=1e-5)
    assert most == pytest.approx(anchor * 11.58249 / 27.20698, rel=1e-4)


def test_one_gpu_by_hand():
    step = scaling.step_of("rtmdet-m", 1, INPUTS, 30.0)
    # 0.9 * 80 GB hold 83 images: the fewest equal passes of 256 are 4 of 64.
    assert (step.passes, step.images, step.batch) == (4, 64, 256)
    assert (step.arithmetic, step.norm, step.gradients) == (256 * 30, 0, 0)
    assert step.host == pytest.approx(4 * 61.3)
    assert step.loader == pytest.approx(256_000 / (10 * 128.9))
    assert (step.ms, step.limit) == (7680, "arithmetic")
    # 117,266 images are 458.07 batches, completed to 459.
    assert scaling.hours("rtmdet-m", 1, INPUTS, 30.0) == pytest.approx(300 * 459 * 7.680 / 3600)


def test_sixteen_gpus_by_hand():
    inputs = scaling.Inputs(link_between=0.5)
    step = scaling.step_of("rtmdet-m", 16, inputs, 1.0)
    assert (step.passes, step.images) == (1, 16)
    assert step.norm == pytest.approx(2 * 112 * 0.06)
    # 24,709,188 gradients of 4 bytes pass the slowest link 2 * 15 / 16 times; 16 * 2 / 3 ms of it are hidden.
    assert step.gradients == pytest.approx(1.875 * 98_836_752 / 0.5e6 - 16 * 2 / 3)
    assert step.limit == "gradients"
    assert step.ms == pytest.approx(61.3 + step.norm + step.gradients)  # 16 ms of arithmetic wait for the host


@pytest.mark.parametrize(
    ("changes", "per_image", "limit"),
    [
        ({}, 30.0, "arithmetic"),
        ({}, 1.0, "host"),
        ({"wait_inside": 10.0}, 30.0, "norm"),
        ({"link_inside": 0.01}, 30.0, "gradients"),
        ({"cores": 1, "loader_detection": 5.0}, 30.0, "loader"),
    ],
)
def test_each_part_can_be_the_one_that_limits(changes, per_image, limit):
    step = scaling.step_of("rtmdet-s", 8, scaling.Inputs(**changes), per_image)
    assert step.limit == limit
    parts = {"host": step.host, "norm": step.norm, "gradients": step.gradients, "arithmetic": step.arithmetic}
    if limit == "loader":
        assert step.ms == step.loader
    else:
        assert max(parts.values()) == parts[limit] <= step.ms


@pytest.mark.parametrize("name", ["rtmdet-tiny", "rtmdet-ins-x", "rtmdet-r-m"])
def test_more_gpus_are_faster_by_at_most_their_number(name):
    per_image = scaling.image_ms(name, INPUTS)[0]
    times = [scaling.hours(name, gpus, INPUTS, per_image) for gpus in scaling.GPUS]
    assert times == sorted(times, reverse=True)
    for gpus in scaling.GPUS:
        assert 1 <= scaling.gain(name, gpus, INPUTS, per_image) <= gpus * (1 + 1e-9)


@pytest.mark.parametrize("gb", [24.0, 48.0, 80.0])
@pytest.mark.parametrize("name", ["rtmdet-tiny", "rtmdet-ins-l", "rtmdet-r-l"])
def test_images_that_fit_are_as_many_as_possible(name, gb):
    inputs = scaling.Inputs(memory_gb=gb)
    fixed, each = scaling.memory(name)
    total, images = scaling.MEMORY[name]
    assert fixed + images * each == pytest.approx(total)
    fit = scaling.images_that_fit(name, inputs)
    assert fixed + fit * each <= 0.9 * gb < fixed + (fit + 1) * each


def test_a_batch_smaller_than_the_gpus_becomes_one_image_each_and_is_marked():
    assert [scaling.published_batch("rtmdet-r-s", gpus) for gpus in (1, 8, 16, 64)] == [8, 8, 16, 64]
    assert scaling.published_batch("rtmdet-ins-x", 64) == 128
    (row,) = (row for row in dict(scaling.tables(INPUTS))["Hours of 36 epochs of DOTA"] if row["model"] == "rtmdet-r-s")
    assert [column for column, text in row.items() if text.endswith("*")] == ["16 GPUs", "32 GPUs", "64 GPUs"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gpus", "3"], "--gpus 3 does not divide the batch of 256 images of rtmdet-tiny: give a power of two"),
        (["--gpus", "0"], "--gpus is 0, but must be at least 1"),
        (["--cores", "0"], "--cores is 0, but must be above zero"),
        (["--link-between", "-1"], "--link-between is -1.0, but must be above zero"),
        (["--memory-share", "1.5"], "--memory-share is 1.5, but must be at most 1"),
        (["--anchor-hours", "0.1"], "--anchor-hours 0.1 is less than what the exchanges of that run take"),
        (["--memory-gb", "1"], "--memory-gb 1 holds no image of rtmdet-m: it needs 1.4 GB"),
    ],
)
def test_inputs_that_make_no_sense_are_refused_in_a_sentence(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        scaling.main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: {sentence}\n")


def test_no_image_fits():
    with pytest.raises(SettingError, match="holds no image of rtmdet-x"):
        scaling.images_that_fit("rtmdet-x", scaling.Inputs(memory_gb=3.0))


@pytest.mark.parametrize("task", ["detection", "instance", "rotated"])
def test_the_host_can_be_measured_for_every_task(task):
    row = load("scaling_inputs").host(task, "tiny", images=1, steps=2)
    assert row["model"] == model_name(task, "tiny")
    assert 0 < row["lowest"] <= row["ms"] <= row["highest"]
