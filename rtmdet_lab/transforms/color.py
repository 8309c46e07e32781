"""Colour jitter of the published recipe (paper.md 3.2, step 5)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torchvision import tv_tensors

from rtmdet_lab.transforms.base import Sample, Target, Transform, note, to_array, to_image, uniform


class RandomHSV(Transform):
    """Adds to hue, saturation and value; each of the three is switched on with probability 0.5.

    Shifts are drawn from +-``hue`` (OpenCV's hue has 180 steps), +-``saturation`` and +-``value`` (256 steps each), rounded
    towards zero. Hue wraps around, the others saturate.
    """

    def __init__(self, hue: int = 5, saturation: int = 30, value: int = 30) -> None:
        super().__init__()
        self.limits = (hue, saturation, value)

    def forward(self, image: tv_tensors.Image, target: Target) -> Sample:
        on = torch.rand(3) < 0.5
        shifts = [int(uniform(-limit, limit)) if on[channel] else 0 for channel, limit in enumerate(self.limits)]
        note(hue=shifts[0], saturation=shifts[1], value=shifts[2])
        if not any(shifts):
            return image, target
        hsv = cv2.cvtColor(to_array(image), cv2.COLOR_RGB2HSV)
        shift_hsv(hsv, *shifts)
        return to_image(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)), target


def shift_hsv(hsv: np.ndarray, hue: int, saturation: int, value: int) -> None:
    """Shifts the channels of (H, W, 3) uint8 HSV in place: hue modulo 180, the others saturate."""
    if hue:
        shifted = cv2.LUT(cv2.extractChannel(hsv, 0), ((np.arange(256) + hue) % 180).astype(np.uint8))
        cv2.insertChannel(shifted, hsv, 0)
    # OpenCV's saturating sums are several times as fast as a table for three channels.
    for amount, combine in ((1, cv2.add), (-1, cv2.subtract)):
        shifts = [max(amount * shift, 0) for shift in (0, saturation, value)]
        if any(shifts):
            combine(hsv, (*shifts, 0), hsv)
