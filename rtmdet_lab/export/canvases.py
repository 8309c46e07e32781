"""Images for exported networks: what they are calibrated on, compared on and scored on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.engine.evaluate import make_val_loader
from rtmdet_lab.engine.predict import image_paths
from rtmdet_lab.export.exported import Exported
from rtmdet_lab.tasks.base import Evaluator, Task
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.tasks.test_time import View, to_canvas
from rtmdet_lab.transforms.base import to_array

Item = TypeVar("Item")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """Returns at most ``count`` items, evenly spread.

    >>> spread("abcdef", 3), spread("ab", 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    if count < 1:
        raise SettingError(f"number of images is {count}, but must be at least 1")
    step = max(len(items) / count, 1)
    return [items[int(number * step)] for number in range(min(count, len(items)))]


def canvas_of(path: Path, input_size: int, task: str) -> tuple[np.ndarray, ImageMeta]:
    """Returns an image as the network sees it, (1, 3, H, W) uint8 RGB, and how it got there."""
    pixels = to_array(read_image(path))
    meta = ImageMeta(path.name, pixels.shape[:2], canvas_size=pixels.shape[:2], path=str(path))
    canvas, meta = to_canvas(pixels, meta, View(side=input_size), input_size, spec_of(task).test_pipeline(input_size))
    return np.ascontiguousarray(canvas.transpose(2, 0, 1)[None]), meta


def spread_canvases(folder: Path, count: int, input_size: int, task: str = ExperimentConfig().task) -> list[np.ndarray]:
    """Returns at most ``count`` images of a folder, evenly spread, as the network sees them.

    Raises:
        DataError: no such folder, no image in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"no calibration folder {folder}: name a folder of images like those the model will see")
    return [canvas_of(path, input_size, task)[0] for path in spread(image_paths(folder), count)]


def detect_exported(exported: Exported, paths: Sequence[Path]) -> list[Detections]:
    """Returns the detections of image files, one by one."""
    canvases = (canvas_of(path, exported.description["input_size"], exported.description["task"]) for path in paths)
    return [exported.detect(torch.from_numpy(canvas), [meta])[0] for canvas, meta in canvases]


def score_exported(exported: Exported, task: Task, source: Source, batch_size: int | None = None) -> Evaluator:
    """Returns the evaluator of ``task`` after it has seen what an exported network finds in every image of ``source``.

    ``batch_size`` None is that of the task.
    """
    test = task.config.test
    config = dataclasses.replace(
        task.config,
        test=dataclasses.replace(test, batch_size=batch_size or test.batch_size),
        train=dataclasses.replace(task.config.train, workers=0),  # the runtime has its own threads
    )
    evaluator = task.new_evaluator()
    for batch in make_val_loader(source, config, torch.device("cpu")):
        if batch.failure:
            raise DataError(batch.failure)
        if batch.targets:
            evaluator.add(exported.detect(batch.images, [one.meta for one in batch.targets]), batch.targets)
    return evaluator
