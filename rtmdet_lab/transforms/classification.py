"""Training and test pipelines of image classification, from torchvision's transforms (paper.md 3.8).

Mixup and CutMix of the published recipe are not built: they mix labels, of which a sample here has one.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2

from rtmdet_lab.transforms.base import PAD_VALUE, Sample, Target, Transform, as_boxes, image_size

CROP_AREA = (0.08, 1.0)  # share of the image that a training crop has, torchvision's own range
RAND_STEPS, RAND_MAGNITUDE = 2, 7  # of RandAugment, as in RSB A1
ERASED = 0.25  # probability that a rectangle is erased
CENTER = 0.95  # of the shorter side is seen in a test, as in RSB


class Classified(Transform):
    """A transform of images alone: the label stays, and the box is again the whole image."""

    def __init__(self, pixels: v2.Transform) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        image = tv_tensors.Image(self.pixels(image.as_subclass(Tensor)))
        return image, _on_canvas(target, image_size(image))


def training_pipeline(size: int, flip_prob: float, crop: bool = True) -> v2.Compose:
    """Returns crops of ``size`` pixels of many scales, mirrored, with colours and shapes changed, partly erased.

    Args:
        crop: False mirrors what a test sees and does nothing else, as a set of few hundred images needs it.
    """
    if not crop:
        return v2.Compose([CenterCrop(size), Classified(v2.RandomHorizontalFlip(flip_prob))])
    return v2.Compose(
        [
            Classified(v2.RandomResizedCrop(size, CROP_AREA, interpolation=InterpolationMode.BICUBIC, antialias=True)),
            Classified(v2.RandomHorizontalFlip(flip_prob)),
            Classified(v2.RandAugment(RAND_STEPS, RAND_MAGNITUDE, fill=PAD_VALUE)),
            Classified(v2.RandomErasing(ERASED, value=[PAD_VALUE])),
        ]
    )


class CenterCrop(Transform):
    """Fits the middle of an image into ``size`` x ``size`` pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        edge = round(size / CENTER)
        resize = v2.Resize(edge, interpolation=InterpolationMode.BICUBIC, antialias=True)
        self.pixels = v2.Compose([resize, v2.CenterCrop(size)])

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        image = tv_tensors.Image(self.pixels(image.as_subclass(Tensor)))
        return image, _on_canvas(target, image_size(image))


def center_pipeline(size: int) -> v2.Compose:
    """Returns the test pipeline."""
    return v2.Compose([CenterCrop(size)])


def _on_canvas(target: Target, size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    boxes = torch.tensor([[0.0, 0.0, width, height]]).expand(len(target.get("labels", ())), 4).clone()
    changed = dict(target, boxes=as_boxes(boxes, size))
    if "meta" in target:
        changed["meta"] = dataclasses.replace(target["meta"], canvas_size=size)
    return changed
