"""What configs are tried on: samples, ground truth and predictions drawn in memory, small and rich in cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.core.structures import DensePredictions, ImageMeta, Targets
from rtmdet_lab.geometry.box_kind import ROTATED, BoxKind
from rtmdet_lab.geometry.polygons import Outlines
from rtmdet_lab.geometry.priors import point_grid
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.transforms.base import Sample, as_boxes, to_image

CLASSES = 3  # labels that are drawn
OBJECTS = 12  # per image
DISTINCT = 64  # images; further ones repeat them


class DrawnSource:
    """A training set of noise with rectangles, as long as another set, for any task.

    Every second image has one object alone, in a corner, so that crops of it may be empty.
    """

    title = "images drawn to try settings on"

    def __init__(self, task: str, length: int, classes: Sequence[str]) -> None:
        self.spec = spec_of(task)
        self.length, self.classes = length, tuple(classes)

    def __len__(self) -> int:
        return self.length

    def load(self, index: int, whole: bool = False) -> Sample:
        image, boxes, labels = _drawn(index % DISTINCT)
        size = image.shape[:2]
        target = {"labels": labels % max(len(self.classes), 1), "meta": ImageMeta(index, size, canvas_size=size)}
        target["boxes"] = as_boxes(as_kind(self.spec.boxes, boxes), size)
        if self.spec.masks:
            corners = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes.tolist()]
            target["outlines"] = Outlines.from_coco(corners)
        return to_image(image), target


@lru_cache(maxsize=DISTINCT)
def _drawn(index: int) -> tuple[np.ndarray, Tensor, Tensor]:
    rng = np.random.default_rng(index)
    height, width = (int(side) for side in rng.integers(40, 90, 2))
    if index % 2:
        boxes = np.array([[1, 1, 9, 8]])
    else:
        left_top = rng.uniform(0, 0.5, (4, 2)) * (width, height)
        boxes = np.concatenate([left_top, left_top + rng.uniform(0.2, 0.5, (4, 2)) * (width, height)], axis=1)
    labels = torch.from_numpy(rng.integers(0, 1000, len(boxes)))
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8), torch.from_numpy(boxes).float(), labels


def turned(boxes: Tensor, angle: float = 1 / 3) -> Tensor:
    """Returns boxes x1 y1 x2 y2 (..., 4) as rotated ones (..., 5) of the same center and sides, ``angle`` in radians."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, sides, torch.full_like(sides[..., :1], angle)], dim=-1)


def as_kind(kind: BoxKind, boxes: Tensor, angle: float = 1 / 3) -> Tensor:
    """Returns boxes x1 y1 x2 y2 as those of a kind, turned by ``angle`` where they can be."""
    return turned(boxes, angle) if kind is ROTATED else boxes


def drawn_targets(task: str, side: int, images: int = 2) -> list[Targets]:
    """Returns the ground truth of images of ``side`` pixels, objects of all sizes, some on top of others."""
    random, targets = torch.Generator().manual_seed(0), []
    for number in range(images):
        centers = side * (0.1 + 0.8 * torch.rand(OBJECTS, 2, generator=random))
        sides = side * 0.1 * 7 ** torch.rand(OBJECTS, 2, generator=random)
        boxes = torch.cat([centers - sides / 2, centers + sides / 2], dim=1).clamp(0, side)
        labels = torch.randint(CLASSES, (OBJECTS,), generator=random)
        masks, mass = None, None
        if spec_of(task).masks:
            x, y = (torch.arange(2, side, 4)[None, :, None], torch.arange(2, side, 4)[None, None])
            left, top, right, bottom = boxes[:, :, None, None].unbind(1)
            masks = (x >= top) & (x < bottom) & (y >= left) & (y < right)
            mass = (boxes[:, :2] + 2 * boxes[:, 2:]) / 3
        shown = as_kind(spec_of(task).boxes, boxes)
        targets.append(Targets(shown, labels, masks, mass, meta=ImageMeta(number, (side, side), canvas_size=(side, side))))
    return targets


def drawn_predictions(task: str, targets: Sequence[Targets], side: int) -> DensePredictions:
    """Returns what a network half trained might say of ``targets``: boxes near objects, classes often right."""
    random, priors = torch.Generator().manual_seed(1), point_grid([(side // one,) * 2 for one in STRIDES], STRIDES)
    boxes, logits, kind = [], [], spec_of(task).boxes
    for target in targets:
        noise = torch.rand(len(priors), len(target), generator=random)
        nearest = (torch.cdist(priors.points, kind.centers(target.boxes)) * (0.5 + noise)).argmin(dim=1)
        near = target.boxes[nearest]
        jitter = 0.2 * kind.sides(near).repeat(1, 2) * torch.randn(len(priors), 4, generator=random)
        shifted = near[:, :4] + jitter
        if kind is ROTATED:
            shifted = torch.cat([shifted[:, :2], shifted[:, 2:].abs() + 1, near[:, 4:] + 0.1], dim=1)
        else:
            shifted = torch.cat([torch.minimum(*shifted.split(2, 1)), torch.maximum(*shifted.split(2, 1)) + 1], dim=1)
        boxes.append(shifted)
        right = torch.nn.functional.one_hot(target.labels[nearest], CLASSES)
        logits.append(3 * right - 3 + torch.randn(len(priors), CLASSES, generator=random))
    return _with_masks(task, DensePredictions(torch.stack(logits), torch.stack(boxes), priors), side)


def sparse_predictions(task: str, side: int, classes: int, entries: Sequence[tuple[int, int, float]], boxes: Tensor):
    """Returns the predictions for one image, in which a few points are sure of a class and all others of nothing.

    Args:
        entries: (point, class, score) of what is predicted; points count from the finest level's first.
        boxes: (P, 4) x1 y1 x2 y2 of the first points; the others' have no area.
    """
    priors = point_grid([(side // one,) * 2 for one in STRIDES], STRIDES)
    logits, shown = torch.full((1, len(priors), classes), -20.0), torch.zeros(1, len(priors), 4)
    shown[0, : len(boxes)] = boxes
    if entries:
        points, labels, scores = zip(*entries, strict=True)
        logits[0, list(points), list(labels)] = torch.tensor(scores, dtype=torch.float64).logit().float()
    shown = as_kind(spec_of(task).boxes, shown, 0.0)
    return _with_masks(task, DensePredictions(logits, shown, priors), side)


def _with_masks(task: str, predictions: DensePredictions, side: int) -> DensePredictions:
    if spec_of(task).masks:
        random = torch.Generator().manual_seed(2)
        images, points = predictions.logits.shape[:2]
        predictions.kernels = torch.randn(images, points, 169, generator=random)
        predictions.mask_features = torch.randn(images, 8, side // 8, side // 8, generator=random)
    return predictions
