"""Flips and rotation for rotated boxes (paper.md 3.7, "augmentation").

Angles are radians, clockwise on the screen, as everywhere here; the published description counts degrees.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from rtmdet_lab.geometry.rotated import flip_rboxes, normalise_angle
from rtmdet_lab.transforms.base import (
    Sample,
    Target,
    Transform,
    clip_objects,
    image_size,
    integer,
    move_objects,
    note,
    plain_boxes,
    to_array,
    to_image,
    uniform,
)
from rtmdet_lab.transforms.fused import Placed, draw_window, keep_visible, render
from rtmdet_lab.transforms.geometric import fit_size

# Round things have no direction: images with one of them are turned by quarter turns only (classes 9 and 11 of DOTA).
QUARTER_TURN_NAMES = ("storage-tank", "roundabout")


class RandomFlip3(Transform):
    """With probability ``prob`` mirrors left to right, top to bottom, or both, each equally likely."""

    def __init__(self, prob: float = 0.75) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        if torch.rand(()) >= self.prob:
            note(mirrored="no")
            return image, target
        which = integer(3)
        note(mirrored=("left to right", "top to bottom", "both ways")[which])
        return flip_rotated(image, target, horizontal=which != 1, vertical=which != 0)


class RandomRotate(Transform):
    """With probability ``prob`` turns the image around its center, on the same canvas, black where nothing is.

    Args:
        quarter_turn_classes: labels of things without a direction: with one of them on the image, the angle is a multiple of
            a quarter turn (not none at all), otherwise any.
    """

    def __init__(self, prob: float = 0.5, quarter_turn_classes: Collection[int] = ()) -> None:
        super().__init__()
        self.prob = prob
        self.quarter_turn_classes = tuple(quarter_turn_classes)

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        angle = self.draw(target["labels"])
        note(degrees=0.0 if angle is None else math.degrees(angle))
        return (image, target) if angle is None else rotate_sample(image, target, angle)

    def draw(self, labels: Tensor) -> float | None:
        """Returns the angle (radians) of an image with objects of these labels; None: it is not turned."""
        if torch.rand(()) >= self.prob:
            return None
        angle = uniform(-math.pi, math.pi)
        if set(labels.tolist()) & set(self.quarter_turn_classes):
            angle = (math.pi / 2, math.pi, -math.pi / 2, -math.pi)[integer(4)]
        return angle


class JitterRotateCrop(Transform):
    """:class:`RandomResize`, :class:`RandomRotate` and :class:`RandomCrop` in one warp, with the same draws.

    The published steps turn an image of up to 4096 x 4096 to keep a 16th of it.

    Args:
        base, ratio_range: as for RandomResize.
        rotate: draws the angle.
        size, allow_empty: as for RandomCrop.

    Raises:
        EmptyCrop: no object in the window.
    """

    def __init__(
        self, base: int, ratio_range: tuple[float, float], rotate: RandomRotate, size: int, allow_empty: bool = False
    ) -> None:
        super().__init__()
        self.base = base
        self.ratio_range = ratio_range
        self.rotate = rotate
        self.size = size
        self.allow_empty = allow_empty

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        side = max(int(self.base * uniform(*self.ratio_range)), 1)
        height, width = image_size(image)
        new_size = fit_size((height, width), (side, side))
        scale = (new_size[1] / width, new_size[0] / height)
        moved = clip_objects(move_objects(target, scale, (0.0, 0.0), new_size), new_size)
        angle = self.rotate.draw(moved["labels"])
        if angle is not None:
            moved = rotate_objects(moved, angle, new_size)
        window, top, left = draw_window(new_size, self.size)
        must_keep = bool(len(moved["labels"])) and not self.allow_empty
        cropped = keep_visible(move_objects(moved, (1.0, 1.0), (-left, -top), window), window, must_keep)
        if angle is None:
            return to_image(render([Placed(to_array(image), -left, -top, new_size[1], new_size[0])], window)), cropped
        matrix = _matrix(angle, new_size, scale, (-left, -top))
        return to_image(_warp(to_array(image), matrix, window)), cropped


def flip_rotated(image: tv_tensors.Image, target: Target, horizontal: bool, vertical: bool) -> Sample:
    """Returns the sample mirrored along x (``horizontal``), y, or both."""
    boxes = flip_rboxes(plain_boxes(target), image_size(image), horizontal, vertical)
    code = -1 if horizontal and vertical else int(horizontal)
    return to_image(cv2.flip(to_array(image), code)), dict(target, boxes=boxes)


def rotate_sample(image: tv_tensors.Image, target: Target, angle: float) -> Sample:
    """Returns the sample turned by ``angle`` (radians, clockwise) around the image's center.

    Objects whose center leaves the canvas are dropped.
    """
    size = image_size(image)
    return to_image(_warp(to_array(image), _matrix(angle, size), size)), rotate_objects(target, angle, size)


def rotate_objects(target: Target, angle: float, size: tuple[int, int]) -> Target:
    """Returns the target turned by ``angle`` (radians, clockwise) around the middle of a canvas of ``size`` (height, width).

    Objects whose center leaves the canvas are dropped.
    """
    x, y, width, height, old = plain_boxes(target).unbind(-1)
    middle_x, middle_y = size[1] / 2, size[0] / 2
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = x - middle_x, y - middle_y
    turned_x, turned_y = middle_x + cosine * x - sine * y, middle_y + sine * x + cosine * y
    boxes = torch.stack([turned_x, turned_y, width, height, normalise_angle(old + angle)], dim=-1)
    return clip_objects(dict(target, boxes=boxes), size)


def _matrix(
    angle: float,
    size: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    offset: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Returns the (2, 3) matrix, in OpenCV's pixels, that scales an image, turns it on its new canvas and moves it."""
    cosine, sine = math.cos(angle), math.sin(angle)
    middle = np.array([size[1] / 2, size[0] / 2])
    turn = np.array([[cosine, -sine], [sine, cosine]])
    linear = turn @ np.diag(scale)
    shift = middle - turn @ middle + np.array(offset)
    # Our whole numbers are the corners of pixels, OpenCV's are their centers.
    half = np.array([0.5, 0.5])
    return np.column_stack([linear, shift + linear @ half - half])


def _warp(array: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns the (height, width) window of the mapped image, black where nothing is."""
    return cv2.warpAffine(array, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
