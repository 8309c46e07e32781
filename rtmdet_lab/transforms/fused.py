"""Mosaic, jitter and crop with a single resize per image.

The published pipeline builds a canvas of 1280 x 1280, resizes it, and cuts out a quarter or less. Here the same random
numbers place each image directly in the final window, and only what is visible there is resized: the same boxes, the same
picture up to one bilinear interpolation instead of two, in a third of the time. An empty crop is noticed before any pixel is
touched. ``augment.one_resize`` off runs the published steps one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from torchvision import tv_tensors

from rtmdet_lab.transforms.base import (
    PAD_VALUE,
    EmptyCrop,
    Sample,
    Target,
    Transform,
    clip_objects,
    image_size,
    integer,
    join_objects,
    move_objects,
    to_array,
    to_image,
    uniform,
)
from rtmdet_lab.transforms.geometric import fit_size
from rtmdet_lab.transforms.mixing import Mixing, place_corners
from rtmdet_lab.transforms.partners import PartnerSource


@dataclass(frozen=True)
class Placed:
    """An image as a rectangle in window coordinates, which may reach past the window."""

    array: np.ndarray  # (H, W, 3)
    left: float
    top: float
    width: float
    height: float


class JitterCrop(Transform):
    """:class:`RandomResize` and :class:`RandomCrop` in one resize; draws the same random numbers.

    Args:
        allow_empty: keep crops without objects, too.

    Raises:
        EmptyCrop: no object in the window.
    """

    def __init__(self, base: int, ratio_range: tuple[float, float], size: int, allow_empty: bool = False) -> None:
        super().__init__()
        self.base = base
        self.ratio_range = ratio_range
        self.size = size
        self.allow_empty = allow_empty

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        side = max(int(self.base * uniform(*self.ratio_range)), 1)
        height, width = image_size(image)
        new_height, new_width = fit_size((height, width), (side, side))
        window, top, left = draw_window((new_height, new_width), self.size)
        scale = (new_width / width, new_height / height)
        moved = move_objects(target, scale, (-left, -top), window)
        cropped = keep_visible(moved, window, bool(len(target["labels"])) and not self.allow_empty)
        placed = Placed(to_array(image), -left, -top, new_width, new_height)
        return to_image(render([placed], window)), cropped


class MosaicCrop(Mixing):
    """:class:`Mosaic`, :class:`RandomResize` and :class:`RandomCrop` in one resize per image, with the same draws.

    Without partners (young cache) the image alone is jittered and cropped.

    Raises:
        EmptyCrop: no object in the window.
    """

    def __init__(
        self,
        partners: PartnerSource,
        size: int,
        ratio_range: tuple[float, float],
        center_range: tuple[float, float] = (0.5, 1.5),
        allow_empty: bool = False,
    ) -> None:
        super().__init__(partners)
        self.size = size
        self.ratio_range = ratio_range
        self.center_range = center_range
        self.allow_empty = allow_empty
        self.alone = JitterCrop(2 * size, ratio_range, size, allow_empty)

    def stays_alone(self) -> bool:
        return not self.partners.will_draw()

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        self.partners.remember((image, target))
        partners = self.partners.draw(3)
        if not partners:
            return self.alone(image, target)
        samples = [(image, target), *partners]
        corners = place_corners([image_size(one) for one, _ in samples], self.size, self.center_range)
        canvas = 2 * self.size
        side = max(int(canvas * uniform(*self.ratio_range)), 1)
        window, top, left = draw_window((side, side), self.size)
        zoom = side / canvas
        placed, targets = [], []
        for (one_image, one_target), corner in zip(samples, corners, strict=True):
            x, y = corner.left * zoom - left, corner.top * zoom - top
            placed.append(Placed(to_array(one_image), x, y, corner.width * zoom, corner.height * zoom))
            scale = corner.ratio * zoom
            targets.append(move_objects(one_target, (scale, scale), (x, y), window))
        must_keep = any(len(one["labels"]) for _, one in samples) and not self.allow_empty
        cropped = keep_visible(join_objects(targets, window), window, must_keep)
        return to_image(render(placed, window)), cropped


def draw_window(size: tuple[int, int], limit: int) -> tuple[tuple[int, int], int, int]:
    """Returns ((height, width), top, left) of a random window of at most ``limit`` x ``limit`` in an image of ``size``."""
    height, width = min(size[0], limit), min(size[1], limit)
    return (height, width), integer(size[0] - height + 1), integer(size[1] - width + 1)


def keep_visible(target: Target, window: tuple[int, int], must_keep: bool) -> Target:
    """Returns the target clipped to its ``window`` (height, width).

    Raises:
        EmptyCrop: no object is left, and one has to be.
    """
    cropped = clip_objects(target, window)
    if must_keep and not len(cropped["labels"]):
        raise EmptyCrop
    return cropped


def render(placed: list[Placed], size: tuple[int, int]) -> np.ndarray:
    """Returns the window of ``size`` (height, width): images that do not overlap, grey elsewhere.

    Each image lands within half a pixel of its rectangle, as near as whole-pixel pasting gets.
    """
    window = np.full((*size, 3), PAD_VALUE, dtype=np.uint8)
    for one in placed:
        y0, y1, rows, height, skip_y = _visible(one.top, one.height, size[0], one.array.shape[0])
        x0, x1, columns, width, skip_x = _visible(one.left, one.width, size[1], one.array.shape[1])
        if y1 <= y0 or x1 <= x0:
            continue
        part = one.array[rows, columns]
        if part.shape[:2] != (height, width):
            part = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
        window[y0:y1, x0:x1] = part[skip_y : skip_y + y1 - y0, skip_x : skip_x + x1 - x0]
    return window


def _visible(start: float, length: float, limit: int, source: int) -> tuple[int, int, slice, int, int]:
    """Returns, along one axis, the target range, the source pixels needed, their resized count, and how many to skip."""
    first, last = max(round(start), 0), min(round(start + length), limit)
    if last <= first:
        return first, first, slice(0, 0), 0, 0
    scale = length / source
    # Source pixels that the range needs, whole ones; rounding may ask for a hair more than the image has.
    low = min(max(int((first - start) / scale), 0), source - 1)
    high = max(min(int(np.ceil((last - start) / scale)), source), low + 1)
    skip = max(round(first - (start + low * scale)), 0)
    count = max(round((high - low) * scale), skip + last - first)
    return first, last, slice(low, high), count, skip
