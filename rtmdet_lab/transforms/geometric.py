"""Resize, crop, flip and pad, for images and everything that lies on them (paper.md 3.2).

Resizing is OpenCV's bilinear without antialiasing, the published preprocessing: other resamplers cost AP on published
weights.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch
from torchvision import tv_tensors

from rtmdet_lab.geometry.box_kind import kind_of
from rtmdet_lab.transforms.base import (
    PAD_VALUE,
    EmptyCrop,
    Sample,
    Target,
    Transform,
    as_boxes,
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


def fit_size(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """Returns the (height, width) of an image scaled to fit ``limit`` with its aspect kept, rounded half up.

    The longer side of one is compared with the longer side of the other, as the published pipelines do.

    >>> fit_size((426, 640), (640, 640)), fit_size((100, 50), (640, 640))
    ((426, 640), (640, 320))
    """
    height, width = size
    ratio = min(max(limit) / max(height, width), min(limit) / min(height, width))
    return max(int(height * ratio + 0.5), 1), max(int(width * ratio + 0.5), 1)


def resize_array(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns (h, w, 3) resized bilinearly to ``size`` (height, width); the same array if it already has it."""
    if array.shape[:2] == size:
        return array
    return cv2.resize(array, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_sample(image: tv_tensors.Image, target: Target, size: tuple[int, int]) -> Sample:
    """Returns the sample resized to ``size`` (height, width); the meta remembers the scale."""
    height, width = image_size(image)
    if (height, width) == size:
        return image, target
    return to_image(resize_array(to_array(image), size)), resize_objects(target, (height, width), size)


def resize_objects(target: Target, size: tuple[int, int], new_size: tuple[int, int]) -> Target:
    """Returns the target of an image of ``size`` (height, width) resized to ``new_size``; the meta remembers the scale."""
    scale = (new_size[1] / size[1], new_size[0] / size[0])
    target = move_objects(target, scale, (0.0, 0.0), new_size)
    if "meta" in target:
        meta = target["meta"]
        total = (meta.scale[0] * scale[0], meta.scale[1] * scale[1])
        target["meta"] = dataclasses.replace(meta, scale=total)
    return target


class Resize(Transform):
    """Scales the image to fit a square of ``size`` pixels, aspect kept."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        return resize_sample(image, target, fit_size(image_size(image), (self.size, self.size)))


class RandomResize(Transform):
    """Large-scale jitter: fits a square of ``base`` pixels times a ratio drawn from ``ratio_range``."""

    def __init__(self, base: int, ratio_range: tuple[float, float]) -> None:
        super().__init__()
        self.base = base
        self.ratio_range = ratio_range

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        side = max(int(self.base * uniform(*self.ratio_range)), 1)
        size = fit_size(image_size(image), (side, side))
        note(ratio=side / self.base, height=size[0], width=size[1])
        image, target = resize_sample(image, target, size)
        return image, clip_objects(target, size)


class RandomCrop(Transform):
    """Cuts a window of at most ``size`` x ``size``; an image with objects must keep one, or the sample is dropped.

    Args:
        allow_empty: keep crops without objects, too.

    Raises:
        EmptyCrop: no object in the window; the loader then draws another sample.
    """

    def __init__(self, size: int, allow_empty: bool = False) -> None:
        super().__init__()
        self.size = size
        self.allow_empty = allow_empty

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        height, width = image_size(image)
        crop_height, crop_width = min(height, self.size), min(width, self.size)
        top, left = integer(height - crop_height + 1), integer(width - crop_width + 1)
        note(left=left, top=top, width=crop_width, height=crop_height)
        moved = move_objects(target, (1.0, 1.0), (-left, -top), (crop_height, crop_width))
        cropped = clip_objects(moved, (crop_height, crop_width))
        if len(target["labels"]) and not len(cropped["labels"]) and not self.allow_empty:
            raise EmptyCrop
        window = to_array(image)[top : top + crop_height, left : left + crop_width]
        return to_image(np.ascontiguousarray(window)), cropped


class RandomFlip(Transform):
    """Mirrors left to right with probability ``prob``."""

    def __init__(self, prob: float = 0.5) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        mirrored = bool(torch.rand(()) < self.prob)
        note(mirrored=mirrored)
        return flip_sample(image, target) if mirrored else (image, target)


def flip_sample(image: tv_tensors.Image, target: Target) -> Sample:
    """Returns the sample mirrored left to right."""
    height, width = image_size(image)
    boxes = plain_boxes(target)
    mirrored = kind_of(boxes).mirrored(boxes, (height, width), True, False)
    flipped = dict(target, boxes=as_boxes(mirrored, (height, width)))
    if "outlines" in target:
        flipped["outlines"] = target["outlines"].mirrored(width)
    return to_image(cv2.flip(to_array(image), 1)), flipped


class Pad(Transform):
    """Adds grey (114) at the right and bottom up to ``size`` x ``size``; larger images stay as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        height, width = image_size(image)
        size = (max(height, self.size), max(width, self.size))
        if size != (height, width):
            array = to_array(image)
            value = (PAD_VALUE, PAD_VALUE, PAD_VALUE)
            array = cv2.copyMakeBorder(array, 0, size[0] - height, 0, size[1] - width, cv2.BORDER_CONSTANT, value=value)
            image = to_image(array)
        target = dict(target, boxes=as_boxes(plain_boxes(target), size))
        if "meta" in target:
            target["meta"] = dataclasses.replace(target["meta"], canvas_size=size)
        return image, target
