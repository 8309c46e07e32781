"""What a training sample is and what our transforms have in common.

A sample is an ``(image, target)`` pair of torchvision's ``tv_tensors``, and every transform here is a
``torchvision.transforms.v2.Transform``: a user's own v2 transform drops into any pipeline, and ours drop into theirs.

* image: ``tv_tensors.Image``, (3, H, W) uint8 RGB. Its memory is row by row with the channels together, so OpenCV works on
  it without a copy.
* target: a dict. ``boxes`` are ``tv_tensors.BoundingBoxes`` (G, 4) XYXY float32 pixels, in the rotated task a plain tensor
  (G, 5) cx cy w h angle (torchvision's own rotated format counts degrees the other way round); ``labels`` (G,) int64;
  ``ignore`` (G,) bool and ``areas`` (G,) float32 where the data set has them; ``outlines`` the objects' polygons for the
  instance task (:class:`~rtmdet_lab.geometry.polygons.Outlines`); ``meta`` an
  :class:`~rtmdet_lab.core.structures.ImageMeta`.

Randomness is torch's global generator, which the loader seeds per sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from rtmdet_lab.geometry.box_kind import ROTATED, kind_of

Target = dict[str, Any]
Sample = tuple[tv_tensors.Image, Target]

PAD_VALUE = 114  # grey, of the published pipelines
PER_OBJECT = ("boxes", "labels", "ignore", "areas")  # target fields with one row per object


class EmptyCrop(Exception):
    """A crop without any object: the sample is dropped and another one drawn (published rule)."""


class Transform(v2.Transform):
    """A v2 transform that maps an image and its target to an image and its target; it never changes its input."""

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        raise NotImplementedError


def to_array(image: Tensor) -> np.ndarray:
    """Returns (H, W, 3) uint8 sharing the image's memory where its layout allows, as it does for our own images."""
    return image.as_subclass(Tensor).permute(1, 2, 0).contiguous().numpy()


def to_image(array: np.ndarray) -> tv_tensors.Image:
    """Returns the (3, H, W) image that shares the memory of an (H, W, 3) array."""
    return tv_tensors.Image(torch.from_numpy(array).permute(2, 0, 1))


def image_size(image: Tensor) -> tuple[int, int]:
    """Returns (height, width)."""
    return image.shape[-2], image.shape[-1]


def as_boxes(boxes: Tensor, size: tuple[int, int]) -> tv_tensors.BoundingBoxes | Tensor:
    """Returns XYXY boxes on a canvas of ``size`` (height, width); rotated boxes (G, 5) stay a plain tensor."""
    if kind_of(boxes) is ROTATED:
        return boxes.as_subclass(Tensor)
    return tv_tensors.BoundingBoxes(boxes.as_subclass(Tensor), format="XYXY", canvas_size=size)


def plain_boxes(target: Mapping[str, Any]) -> Tensor:
    """Returns the boxes as an ordinary tensor: arithmetic on tv_tensors costs a dispatch per operation."""
    return target["boxes"].as_subclass(Tensor)


def select_objects(target: Target, keep: Tensor) -> Target:
    """Returns the target with only the objects of a boolean mask; does nothing where all are kept."""
    if bool(keep.all()):
        return target
    chosen = dict(target)
    for name in PER_OBJECT:
        if name in target:
            chosen[name] = target[name].as_subclass(Tensor)[keep]
    chosen["boxes"] = as_boxes(chosen["boxes"], getattr(target["boxes"], "canvas_size", None))
    if "outlines" in target:
        chosen["outlines"] = target["outlines"].select(keep.tolist())
    return chosen


def join_objects(targets: list[Target], size: tuple[int, int]) -> Target:
    """Returns the first target with the objects of all of them, which already lie on one canvas of ``size``."""
    joined = dict(targets[0])
    for name in PER_OBJECT:
        if all(name in target for target in targets):
            joined[name] = torch.cat([target[name].as_subclass(Tensor) for target in targets])
        else:
            joined.pop(name, None)
    joined["boxes"] = as_boxes(joined["boxes"], size)
    if all("outlines" in target for target in targets):
        joined["outlines"] = targets[0]["outlines"].joined([target["outlines"] for target in targets[1:]])
    return joined


def move_objects(target: Target, scale: tuple[float, float], offset: tuple[float, float], size: tuple[int, int]) -> Target:
    """Returns the target after x, y -> x * scale + offset, on a canvas of ``size``; nothing is clipped."""
    moved = dict(target)
    boxes = plain_boxes(target)
    kind = kind_of(boxes)
    moved["boxes"] = as_boxes(kind.shifted(kind.scaled(boxes, scale), offset), size)
    if "outlines" in target:
        moved["outlines"] = target["outlines"].moved(scale, offset)
    return moved


def clip_objects(target: Target, size: tuple[int, int]) -> Target:
    """Returns the target with boxes clipped to a canvas of ``size`` (height, width), without the objects outside it.

    Outlines are cut, and the box of an object that loses a part becomes the box around what is left of it. A rotated box
    cannot be cut and stay one: it is kept whole where its center is on the canvas, as published.
    """
    height, width = size
    whole = plain_boxes(target)
    if kind_of(whole) is ROTATED:
        x, y = whole[:, 0], whole[:, 1]
        return select_objects(target, (x >= 0) & (y >= 0) & (x < width) & (y < height))
    boxes = whole.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
    clipped = dict(target)
    if "outlines" in target:
        clipped["outlines"] = target["outlines"].clipped(width, height)
        cut = (boxes != whole).any(dim=1, keepdim=True)
        boxes = torch.where(cut, torch.from_numpy(clipped["outlines"].boxes()).float(), boxes)
    clipped["boxes"] = as_boxes(boxes, (height, width))
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return select_objects(clipped, inside)


_listeners: list[dict[str, Any]] = []


def note(**drawn: Any) -> None:
    """Tells whoever listens what a step has drawn, by name; training does not listen."""
    for listener in _listeners:
        listener.update(drawn)


@contextmanager
def noted() -> Iterator[dict[str, Any]]:
    """Gives a mapping that collects what steps draw inside."""
    drawn: dict[str, Any] = {}
    _listeners.append(drawn)
    try:
        yield drawn
    finally:
        # By identity: two mappings with the same content are equal.
        del _listeners[next(index for index, one in enumerate(_listeners) if one is drawn)]


def uniform(low: float, high: float) -> float:
    """Returns one draw from [low, high) of torch's generator."""
    return low + (high - low) * torch.rand(()).item()


def integer(limit: int) -> int:
    """Returns one draw from 0 to limit - 1 of torch's generator."""
    return int(torch.randint(limit, ()).item())
