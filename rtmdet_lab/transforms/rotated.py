"""Flips and rotation for rotated boxes (paper.md 3.7, "augmentation, plain").

Angles are radians, clockwise on the screen, as everywhere here; the published description counts degrees.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import cv2
import torch
from torch import Tensor
from torchvision import tv_tensors

from rtmdet_lab.geometry.rotated import normalise_angle
from rtmdet_lab.transforms.base import Sample, Transform, image_size, integer, select_objects, to_array, to_image, uniform

# Round things have no direction: images with one of them are turned by quarter turns only (classes 9 and 11 of DOTA).
QUARTER_TURN_NAMES = ("storage-tank", "roundabout")


class RandomFlip3(Transform):
    """With probability ``prob`` mirrors left to right, top to bottom, or both, each equally likely."""

    def __init__(self, prob: float = 0.75) -> None:
        super().__init__()
        self.prob = prob

    def forward(self, image: tv_tensors.Image, target: dict) -> Sample:
        if torch.rand(()) >= self.prob:
            return image, target
        which = integer(3)
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

    def forward(self, image: tv_tensors.Image, target: dict) -> Sample:
        if torch.rand(()) >= self.prob:
            return image, target
        angle = uniform(-math.pi, math.pi)
        if set(target["labels"].tolist()) & set(self.quarter_turn_classes):
            angle = (math.pi / 2, math.pi, -math.pi / 2, -math.pi)[integer(4)]
        return rotate_sample(image, target, angle)


def flip_rotated(image: tv_tensors.Image, target: dict, horizontal: bool, vertical: bool) -> Sample:
    """Returns the sample mirrored along x (``horizontal``), y, or both."""
    height, width = image_size(image)
    boxes = target["boxes"].as_subclass(Tensor).clone()
    if horizontal:
        boxes[:, 0] = width - boxes[:, 0]
    if vertical:
        boxes[:, 1] = height - boxes[:, 1]
    if horizontal != vertical:
        boxes[:, 4] = normalise_angle(-boxes[:, 4])
    code = -1 if horizontal and vertical else int(horizontal)
    return to_image(cv2.flip(to_array(image), code)), dict(target, boxes=boxes)


def rotate_sample(image: tv_tensors.Image, target: dict, angle: float) -> Sample:
    """Returns the sample turned by ``angle`` (radians, clockwise) around the image's center.

    Objects whose center leaves the canvas are dropped.
    """
    height, width = image_size(image)
    cosine, sine = math.cos(angle), math.sin(angle)
    middle = (width / 2, height / 2)  # in coordinates whose whole numbers are the corners of pixels
    # OpenCV's whole numbers are centers of pixels, and its degrees run counter-clockwise.
    matrix = cv2.getRotationMatrix2D((middle[0] - 0.5, middle[1] - 0.5), -math.degrees(angle), 1.0)
    turned = cv2.warpAffine(to_array(image), matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))
    boxes = target["boxes"].as_subclass(Tensor).clone()
    x, y = boxes[:, 0] - middle[0], boxes[:, 1] - middle[1]
    boxes[:, 0], boxes[:, 1] = middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y
    boxes[:, 4] = normalise_angle(boxes[:, 4] + angle)
    inside = (boxes[:, 0] >= 0) & (boxes[:, 1] >= 0) & (boxes[:, 0] < width) & (boxes[:, 1] < height)
    return to_image(turned), select_objects(dict(target, boxes=boxes), inside)
