"""From outlines to pixels: the last step of an instance pipeline (paper.md 3.6)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torchvision import tv_tensors

from rtmdet_lab.geometry.masks import fill_polygons
from rtmdet_lab.geometry.polygons import Outlines
from rtmdet_lab.transforms.base import EmptyCrop, Sample, Target, Transform, image_size, plain_boxes, select_objects

MASK_STRIDE = 4  # pixels between the points at which the mask loss reads a mask
SMALLEST_SIDE = 1.0  # pixels; boxes no longer than that are not learned (released instance configurations)


class FillPolygons(Transform):
    """Turns ``outlines`` into ``masks`` (G, H / 4, W / 4), every 4th pixel from row and column 2, and their ``centers``.

    Centers of mass (G, 2) are those of all pixels, NaN where an object has none. Each outline is filled once, inside its
    own box. Targets without outlines pass unchanged. Objects with a side of one pixel or less are left out.

    Args:
        allow_empty: keep images of which that leaves no object, too.

    Raises:
        EmptyCrop: there were objects, and all are left out; the loader then draws another sample, as published.
    """

    def __init__(self, allow_empty: bool = False) -> None:
        super().__init__()
        self.allow_empty = allow_empty

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        if "outlines" not in target:
            return image, target
        boxes = plain_boxes(target)
        sides = boxes[:, 2:] - boxes[:, :2]
        large = (sides > SMALLEST_SIDE).all(dim=1)
        if len(large) and not large.any() and not self.allow_empty:
            raise EmptyCrop
        target = dict(select_objects(target, large))
        size = image_size(image)
        outlines = target.pop("outlines")
        shape = [len(range(MASK_STRIDE // 2, side, MASK_STRIDE)) for side in size]
        masks = np.zeros((len(outlines), *shape), bool)
        centers = np.full((len(outlines), 2), np.nan, np.float32)
        windows = windows_around(outlines, size)
        for number, (parts, (left, top, width, height)) in enumerate(zip(outlines, windows, strict=True)):
            if not parts or width <= 0 or height <= 0:
                continue
            window = fill_polygons([(part - (left, top)).ravel() for part in parts], (height, width))
            x, y, area = _moments(window)
            if area:
                centers[number] = x / area + left, y / area + top
                # The first sampled row and column of the window.
                skip_y, skip_x = (MASK_STRIDE // 2 - top) % MASK_STRIDE, (MASK_STRIDE // 2 - left) % MASK_STRIDE
                sampled = window[skip_y::MASK_STRIDE, skip_x::MASK_STRIDE]
                y, x = (top + skip_y) // MASK_STRIDE, (left + skip_x) // MASK_STRIDE
                masks[number, y : y + sampled.shape[0], x : x + sampled.shape[1]] = sampled
        target["masks"], target["centers"] = torch.from_numpy(masks), torch.from_numpy(centers)
        return image, target


def windows_around(outlines: Outlines, size: tuple[int, int]) -> list[list[int]]:
    """Returns left, top, width, height of the whole pixels around each object on a canvas of ``size`` (height, width)."""
    boxes, limit = outlines.boxes(), np.array([size[1], size[0]])
    low = np.clip(np.floor(boxes[:, :2]).astype(int) - 1, 0, limit)
    high = np.clip(np.ceil(boxes[:, 2:]).astype(int) + 1, low, limit)
    return np.concatenate([low, high - low], axis=1).tolist()


def _moments(window: np.ndarray) -> tuple[float, float, float]:
    """Returns the sums of x and y over the pixels that are set, and their number."""
    # Filled masks lie column by column in memory: turned, they are read without a copy.
    columns = np.ascontiguousarray(window.T).view(np.uint8)
    x = cv2.reduce(columns, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    y = cv2.reduce(columns, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    return float(x @ np.arange(len(x))), float(y @ np.arange(len(y))), float(x.sum())
