"""What test settings make of the same predictions: detections of one look at an image, and of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.resolved import ResolvedConfig, TestConfig
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.engine.evaluate import make_val_loader
from rtmdet_lab.experiment.verify.stimuli import DrawnSource, as_kind, sparse_predictions
from rtmdet_lab.geometry.boxes import flip_boxes
from rtmdet_lab.tasks.factory import decode_for, spec_of
from rtmdet_lab.tasks.test_time import PLAIN, canvas_size, detect, has_views, lay_views

SHOWN = 64  # pixels of an image that masks are drawn for
SURE, LESS_SURE = 0.9999, 0.999


def detections_differ(one: ResolvedConfig, other: ResolvedConfig, open_source: Callable[[ResolvedConfig], Source]) -> bool:
    """Compares what both find in predictions made to lie between their limits, how they look at images, and the canvas."""
    if one.test == other.test:
        return False
    return (
        _canvas(one) != _canvas(other)
        or any(_decoded(one, shown) != _decoded(other, shown) for shown in _between(one, other))
        or _looks(one, other) != _looks(other, one)
    )


def _canvas(config: ResolvedConfig) -> Any:
    """Returns the shape of the network's input."""
    if has_views(config.test):
        return canvas_size(config.test)
    loader = make_val_loader(DrawnSource(config.task, 1, ("0",)), _alone(config), torch.device("cpu"))
    return next(iter(loader)).images.shape[2:]


def _alone(config: ResolvedConfig) -> ResolvedConfig:
    return dataclasses.replace(config, train=dataclasses.replace(config.train, workers=0))


def _decoded(config: ResolvedConfig, predictions: DensePredictions) -> Any:
    size = config.test.input_size
    meta = ImageMeta(0, (SHOWN, SHOWN), (size / SHOWN,) * 2, canvas_size=(size, size))
    (found,) = decode_for(config.task)(predictions, [meta], config.test)
    return found.boxes.tolist(), found.scores.tolist(), found.labels.tolist()


def _between(one: ResolvedConfig, other: ResolvedConfig) -> Iterator[DensePredictions]:
    """Yields predictions that lie between the limits of two configs, for each limit in which they differ."""
    task, classes, side = one.task, one.model.num_classes, one.test.input_size
    cells = (side // STRIDES[0]) ** 2
    points = sum((side // stride) ** 2 for stride in STRIDES)

    def limits(name: str) -> tuple[float, float] | None:
        low, high = sorted((getattr(one.test, name), getattr(other.test, name)))
        return None if low == high else (low, high)

    if found := limits("score_threshold"):
        yield sparse_predictions(task, side, classes, [(0, 0, sum(found) / 2)], _apart(1, side))
    if found := limits("nms_iou"):
        yield sparse_predictions(
            task, side, classes, [(0, 0, SURE), (1, 0, LESS_SURE)], _overlapping(sum(found) / 2, 2, side)
        )
    if found := limits("max_per_image"):
        entries = [(number % points, number // points, SURE) for number in range(int(found[0]) + 1)]
        if entries[-1][1] < classes:
            yield sparse_predictions(task, side, classes, entries, _apart(min(len(entries), points), side))
    if found := limits("max_per_level"):  # as many of one object as the lower limit, and a second object behind them
        entries = [(1 + number % (cells - 1), number // (cells - 1), SURE) for number in range(int(found[0]))]
        if entries[-1][1] < classes:
            boxes = torch.tensor([[0.0, 0.0, 9.0, 9.0]]).expand(cells, 4).clone()
            boxes[0] += 20
            yield sparse_predictions(task, side, classes, [*entries, (0, 0, LESS_SURE)], boxes)


def _looks(config: ResolvedConfig, other: ResolvedConfig) -> Any:
    """Returns the looks at an image and the result of detections that lie between the limits of merging."""
    test, theirs = config.test, other.test
    if not has_views(test):
        return None
    size = (min((max(test.tile or 0, theirs.tile or 0) or 256) + 100, 4096),) * 2
    views = lay_views(size, config.task, test)
    ious = [one.tta_nms_iou for one in (test, theirs) if one.tta_nms_iou is not None]
    counts = [one.tta_max_per_image for one in (test, theirs) if one.tta_max_per_image is not None]
    near = _overlapping(sum(ious) / len(ious) if ious else 0.5, len(views), size[0])
    many = _apart(min(counts, default=0) + 1, size[0])
    return views, *(_merged(config.task, test, size, boxes) for boxes in (near, many))


def _merged(task: str, test: TestConfig, size: tuple[int, int], boxes: Tensor) -> Any:
    """Returns the result of an image where every look at its upper left corner finds one more of ``boxes``, the last all."""
    views = lay_views(size, task, test)
    corner = [number for number, view in enumerate(views) if view.window is None or view.window[2:] == (0, 0)]
    done = 0

    def decode(_: Any, metas: list[ImageMeta]) -> list[Detections]:
        nonlocal done
        parts = []
        for meta in metas:
            number, done = done, done + 1
            found = boxes[:0]
            if number in corner and views[number].mirror in (PLAIN, (True, False)):
                place = corner.index(number)
                found = boxes[place:] if number == corner[-1] else boxes[place : place + 1]
            if views[number].mirror == (True, False):
                found = flip_boxes(found, meta.original_size[1])
            shown = as_kind(spec_of(task).boxes, found, 0.0)
            scores = torch.linspace(SURE, LESS_SURE, len(found))
            parts.append(Detections(shown, scores, torch.zeros(len(found), dtype=torch.int64), meta=meta))
        return parts

    image = torch.zeros(3, *size, dtype=torch.uint8)
    one_by_one = dataclasses.replace(test, batch_size=1)
    (found,) = detect(lambda batch: None, decode, [(image, ImageMeta(0, size))], task, one_by_one)
    return found.boxes.tolist()


def _apart(count: int, side: int) -> Tensor:
    """Returns small boxes (count, 4) that do not meet, row by row in a square of ``side`` pixels."""
    number, row = torch.arange(count), side // 4
    corner = 4.0 * torch.stack([number % row, number // row], dim=1)
    return torch.cat([corner, corner + 3], dim=1)


def _overlapping(iou: float, count: int, side: int) -> Tensor:
    """Returns boxes (count, 4), each of which has the given overlap with the one before it."""
    width = side / 4
    left = torch.arange(count) * width * (1 - iou) / (1 + iou)
    return torch.stack([left, torch.zeros(count), left + width, torch.full((count,), width)], dim=1)
