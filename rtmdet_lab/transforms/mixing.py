"""Mosaic and mixup: several images in one (paper 3.4, paper.md 3.2 steps 2 and 8).

Cached or not is the choice of :mod:`partners <rtmdet_lab.transforms.partners>`, not another class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torchvision import tv_tensors

from rtmdet_lab.transforms.base import (
    PAD_VALUE,
    Sample,
    Target,
    Transform,
    clip_objects,
    image_size,
    join_objects,
    move_objects,
    note,
    to_array,
    to_image,
    uniform,
)
from rtmdet_lab.transforms.geometric import flip_sample, resize_array, resize_sample
from rtmdet_lab.transforms.partners import PartnerSource


class Mixing(Transform):
    """A transform that needs other images."""

    def __init__(self, partners: PartnerSource) -> None:
        super().__init__()
        self.partners = partners

    def start_epoch(self) -> None:
        """Forgets what an earlier epoch left behind."""
        self.partners.start_epoch()

    def stays_alone(self) -> bool:
        """Whether the next image gets no partners and is shown larger than with them."""
        return False


class Mosaic(Mixing):
    """Four images around a random center of a canvas of 2 ``size`` x 2 ``size``.

    Each image is scaled to fit ``size`` x ``size`` and put against the center; what passes the canvas is cut off. The
    center lies between 0.5 and 1.5 ``size`` in both directions. Without partners (young cache) the image stays as it is.
    """

    def __init__(self, partners: PartnerSource, size: int, center_range: tuple[float, float] = (0.5, 1.5)) -> None:
        super().__init__(partners)
        self.size = size
        self.center_range = center_range

    def stays_alone(self) -> bool:
        return not self.partners.will_draw()

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        self.partners.remember((image, target))
        partners = self.partners.draw(3)
        note(partners=[_image_id(one) for one in partners])
        if not partners:
            return image, target
        samples = [(image, target), *partners]
        corners = place_corners([image_size(one) for one, _ in samples], self.size, self.center_range)
        side = 2 * self.size
        # The second image starts at the center, and the third below it.
        note(center=(corners[1].left, corners[2].top), ratios=[one.ratio for one in corners])
        canvas = np.full((side, side, 3), PAD_VALUE, dtype=np.uint8)
        placed = []
        for (one_image, one_target), corner in zip(samples, corners, strict=True):
            paste(canvas, resize_array(to_array(one_image), (corner.height, corner.width)), corner.left, corner.top)
            # Boxes use the exact ratio, not that of the whole pixels, as published.
            placed.append(move_objects(one_target, (corner.ratio, corner.ratio), (corner.left, corner.top), (side, side)))
        return to_image(canvas), clip_objects(join_objects(placed, (side, side)), (side, side))


@dataclass(frozen=True)
class Corner:
    """Where one image of a mosaic goes: its size in whole pixels, the exact ratio, and its top left corner."""

    ratio: float
    height: int
    width: int
    left: int
    top: int


def place_corners(
    sizes: Sequence[tuple[int, int]], size: int, center_range: tuple[float, float] = (0.5, 1.5)
) -> list[Corner]:
    """Returns where four images of ``sizes`` (height, width) go around a center drawn at random."""
    center_x = int(uniform(*center_range) * size)
    center_y = int(uniform(*center_range) * size)
    corners = []
    for number, (height, width) in enumerate(sizes):
        right, below = number % 2 == 1, number >= 2
        ratio = min(size / height, size / width)
        # Cut to whole pixels, as published: this resize rounds down where the others round to the nearest.
        new_height, new_width = max(int(height * ratio), 1), max(int(width * ratio), 1)
        left = center_x if right else center_x - new_width
        top = center_y if below else center_y - new_height
        corners.append(Corner(ratio, new_height, new_width, left, top))
    return corners


class MixUp(Mixing):
    """Blends the image half and half with another one; the objects of both are kept.

    The partner is scaled to fit ``size`` x ``size``, put at the top left on grey, and mirrored with probability 0.5.
    Up to 15 partners are tried until one has objects.
    """

    tries = 15

    def __init__(self, partners: PartnerSource, size: int, prob: float = 1.0, flip_prob: float = 0.5) -> None:
        super().__init__(partners)
        self.size = size
        self.prob = prob
        self.flip_prob = flip_prob

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        self.partners.remember((image, target))  # also the samples that are not mixed themselves
        mixed = bool(torch.rand(()) < self.prob)
        partner = self._partner_with_objects() if mixed else None
        note(mixed=partner is not None, partners=[] if partner is None else [_image_id(partner)])
        if partner is None:
            return image, target
        other, other_target = self._prepare(*partner, image_size(image))
        blend = average(to_array(image), other)
        size = image_size(image)
        return to_image(blend), clip_objects(join_objects([target, other_target], size), size)

    def _partner_with_objects(self) -> Sample | None:
        for _ in range(self.tries):
            drawn = self.partners.draw(1)
            if drawn and len(drawn[0][1]["labels"]):
                return drawn[0]
        return None

    def _prepare(self, image: tv_tensors.Image, target: Target, size: tuple[int, int]) -> tuple[np.ndarray, Target]:
        """Returns the partner's pixels on a canvas of ``size`` and its target there."""
        height, width = image_size(image)
        ratio = min(self.size / height, self.size / width)
        image, target = resize_sample(image, target, (max(int(height * ratio), 1), max(int(width * ratio), 1)))
        canvas = np.full((max(size[0], self.size), max(size[1], self.size), 3), PAD_VALUE, dtype=np.uint8)
        paste(canvas, to_array(image), 0, 0)
        target = move_objects(target, (1.0, 1.0), (0.0, 0.0), canvas.shape[:2])
        mirrored = bool(torch.rand(()) < self.flip_prob)
        note(ratio=ratio, mirrored=mirrored)
        if mirrored:
            flipped, target = flip_sample(to_image(canvas), target)
            canvas = to_array(flipped)
        return canvas[: size[0], : size[1]], target


def _image_id(sample: Sample) -> int | str | None:
    meta = sample[1].get("meta")
    return None if meta is None else meta.image_id


def paste(canvas: np.ndarray, array: np.ndarray, left: int, top: int) -> None:
    """Writes ``array`` into ``canvas`` with its top left corner at (left, top); what passes the border is cut off."""
    height, width = canvas.shape[:2]
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + array.shape[1], width), min(top + array.shape[0], height)
    if x2 > x1 and y2 > y1:
        canvas[y1:y2, x1:x2] = array[y1 - top : y2 - top, x1 - left : x2 - left]


def average(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns (a + b) / 2 of two uint8 arrays, rounded down."""
    # OpenCV rounds to the nearest: a quarter less, and halves go down.
    return cv2.addWeighted(first, 0.5, second, 0.5, -0.25)
