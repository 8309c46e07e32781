"""How many files somebody opens who follows a call through the package: those of docs/architecture.md, and no more.

A way has stations: functions that stand for what happens on it. Its files are those on the stack whenever a station is
reached, so a file that hands on counts and one that answers a question on the side does not.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from made_calls import main
from made_sets import TINY, data_settings, tiny_arguments, write_set

import rtmdet_lab
from rtmdet_lab import ExperimentConfig, TrainStep, build_task, predict, task_from_checkpoint, with_overrides
from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey, collate
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.experiment.run import open_data
from rtmdet_lab.models.checkpoints import save_weights
from rtmdet_lab.transforms.normalize import normalize
from rtmdet_lab.viz.draw import draw_detections

PACKAGE = Path(rtmdet_lab.__file__).parent
DOCS = PACKAGE.parent / "docs" / "architecture.md"


class _Arrived(BaseException):
    """The end of the way is reached."""


class Follower:
    """A profile function that notes the files of the package on the stack at every station."""

    def __init__(self, stations: list[str], end: str) -> None:
        self.stations, self.end = {*stations, end}, end
        self.names = {station.partition(":")[2] for station in self.stations}  # compared first: there are many calls
        self.at: dict[str, list[str]] = {}  # station -> the files on the stack, outermost first, when it was last reached

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or frame.f_code.co_qualname not in self.names:
            return
        name = f"{place(frame)}:{frame.f_code.co_qualname}"
        if name in self.stations:
            self.at[name] = stack_of(frame)
        if name == self.end:
            raise _Arrived

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(file for station in self.at.values() for file in station))


def place(frame: FrameType) -> str:
    """Returns a file of the package from there, another one by its name alone."""
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) else path.name


def stack_of(frame: FrameType | None) -> list[str]:
    files = []
    while frame is not None:
        if Path(frame.f_code.co_filename).is_relative_to(PACKAGE):
            files.append(place(frame))
        frame = frame.f_back
    return files[::-1]


def follow(start: Callable[[], Any], stations: list[str], end: str) -> list[str]:
    """Returns the files of the way that begins with calling ``start``; all stations must be on it."""
    follower = Follower(stations, end)
    before = sys.getprofile()
    sys.setprofile(follower)
    try:
        start()
    except _Arrived:
        pass
    finally:
        sys.setprofile(before)
    assert follower.at.keys() == follower.stations
    return follower.files


def told(title: str) -> list[str]:
    """Returns the files that the documentation lists for a way."""
    text = DOCS.read_text().partition(f"**{title}**")[2].partition("\n\n")[0]
    return re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text)


def assert_way(title: str, files: list[str], most: int) -> None:
    assert sorted(told(title)) == sorted(files)
    assert len(files) <= most


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("data"))


def test_from_the_command_to_the_step_of_the_optimizer(data, tmp_path):
    call = ["train", "--model", "rtmdet-nano", "--data", data, "--out", tmp_path / "run", "--device", "cpu"]
    call += ["--progress", "silent", "--set", *tiny_arguments()]
    stations = [
        "tasks/detection.py:detection_task",
        "engine/optimizer.py:build_optimizer",
        "engine/step.py:TrainStep.__call__",
    ]
    files = follow(lambda: main([str(word) for word in call]), stations, "adam.py:Adam.step")
    assert_way("From `rtmdet-lab train` to the optimizer's step", files, 9)


def test_from_an_image_to_the_loss(data):
    config = with_overrides(ExperimentConfig(), TINY | data_settings(data) | {"model.num_classes": 2})
    source, _ = open_data(config)
    task = build_task(config)
    stage = plan_stages(task.config, source)[0]
    dataset = PipelineDataset(stage.source, stage.pipeline, training=True)
    for position in range(8):  # until the mosaic has partners
        dataset[SampleKey(0, position, position)]
    step = TrainStep(task, batches=1)

    def learn() -> None:
        batch = collate([dataset[SampleKey(0, 8 + position, position)] for position in range(2)])
        step(normalize(batch.images), batch.targets)

    stations = [
        "data/images.py:read_bytes",
        "transforms/fused.py:MosaicCrop.forward",
        "transforms/normalize.py:normalize",
        "models/backbone.py:CSPNeXt.forward",
        "models/neck.py:CSPPAFPN.forward",
        "models/head.py:RTMDetHead.forward",
        "assigners/dynamic.py:DynamicAssigner.__call__",
        "losses/quality_focal.py:quality_focal_loss",
        "losses/iou.py:overlap_loss",
    ]
    assert_way("From an image to the loss", follow(learn, stations, "engine/step.py:TrainStep.backward"), 14)


def test_from_a_weight_file_to_drawn_boxes(data, tmp_path):
    torch.manual_seed(0)
    task = build_task(with_overrides(ExperimentConfig(), TINY | {"model.num_classes": 2}))
    config = to_dict(task.config)
    save_weights(tmp_path / "w.safetensors", task.model.state_dict(), model="rtmdet-nano", classes=("a", "b"), config=config)
    path = data / "val" / "1.png"

    def draw() -> None:
        opened = task_from_checkpoint(tmp_path / "w.safetensors")
        (detections,) = predict(opened, path)
        draw_detections(read_image(path), detections, opened.config.data.classes)

    stations = [
        "models/checkpoints.py:load_checkpoint",
        "tasks/detection.py:decode_boxes",
    ]
    files = follow(draw, stations, "viz/draw.py:draw_detections")
    assert_way("From a weight file to drawn boxes", files, 8)
