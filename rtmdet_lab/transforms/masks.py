"""From outlines to pixels: the last step of an instance pipeline (paper.md 3.6)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torchvision import tv_tensors

from rtmdet_lab.geometry.masks import fill_polygons
from rtmdet_lab.geometry.outlines import Part
from rtmdet_lab.transforms.base import Sample, Target, Transform, image_size, plain_boxes, select_objects

MASK_STRIDE = 4  # pixels between the points at which the mask loss reads a mask
SMALLEST_SIDE = 1.0  # pixels; smaller boxes are not learned (released instance configurations)


class FillOutlines(Transform):
    """Turns ``outlines`` into ``masks`` (G, H / 4, W / 4), every 4th pixel from row and column 2, and their ``centers``.

    Centers of mass (G, 2) are those of all pixels, NaN where an object has none. Each outline is filled once, inside its
    own box. Targets without outlines pass unchanged.
    """

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        if "outlines" not in target:
            return image, target
        boxes = plain_boxes(target)
        sides = boxes[:, 2:] - boxes[:, :2]
        target = dict(select_objects(target, (sides >= SMALLEST_SIDE).all(dim=1)))
        size = image_size(image)
        outlines = target.pop("outlines")
        shape = [len(range(MASK_STRIDE // 2, side, MASK_STRIDE)) for side in size]
        masks = np.zeros((len(outlines), *shape), bool)
        centers = np.full((len(outlines), 2), np.nan, np.float32)
        for number, parts in enumerate(outlines):
            window, left, top = fill_window(parts, size)
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


def _moments(window: np.ndarray) -> tuple[float, float, float]:
    """Returns the sums of x and y over the pixels that are set, and their number."""
    if not window.size:
        return 0.0, 0.0, 0.0
    # Filled masks lie column by column in memory: turned, they are read without a copy.
    columns = np.ascontiguousarray(window.T).view(np.uint8)
    x = cv2.reduce(columns, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0]
    y = cv2.reduce(columns, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    return float(x @ np.arange(len(x))), float(y @ np.arange(len(y))), float(x.sum())


def fill_window(parts: list[Part], size: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """Returns the filled pixels (h, w) bool around an object on a canvas of ``size`` (height, width), their left and top."""
    if not parts:
        return np.zeros((0, 0), bool), 0, 0
    points = np.concatenate(parts)
    limit = np.array([size[1], size[0]])
    low = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, limit)
    high = np.clip(np.ceil(points.max(0)).astype(int) + 1, low, limit)
    if (high <= low).any():
        return np.zeros((0, 0), bool), 0, 0
    window = fill_polygons([(part - low).ravel() for part in parts], (int(high[1] - low[1]), int(high[0] - low[0])))
    return window, int(low[0]), int(low[1])
