"""Samples made in memory, and ways to look at them, for tests of transforms and pictures."""

from __future__ import annotations

import numpy as np
import torch

from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.transforms.base import PER_OBJECT, Sample, as_boxes, plain_boxes, to_array, to_image

torch.set_num_threads(1)  # tensors here are tiny: several threads only wait for each other, minutes on a busy machine


def make_sample(height: int, width: int, boxes, labels=None, *, seed: int = 0, scored: bool = False) -> Sample:
    """Returns noise with ``boxes`` (x1 y1 x2 y2); ``scored`` adds the fields of a validation target."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return to_image(pixels), make_target(height, width, boxes, labels, image_id=seed, scored=scored)


def make_target(height: int, width: int, boxes, labels=None, *, image_id: int = 0, scored: bool = False) -> dict:
    count = len(boxes)
    target = {
        "boxes": as_boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), (height, width)),
        "labels": torch.arange(count) if labels is None else torch.tensor(labels, dtype=torch.int64),
        "meta": ImageMeta(image_id, (height, width), canvas_size=(height, width)),
    }
    if scored:
        target["ignore"] = torch.arange(count) % 2 == 1
        target["areas"] = torch.arange(count, dtype=torch.float32) + 100
    return target


def painted_sample(height: int, width: int, boxes, colors, background=0) -> Sample:
    """Returns an image of one colour with each box (whole pixels) filled with its colour, later ones on top."""
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    pixels[:] = background
    for (x1, y1, x2, y2), color in zip(boxes, colors, strict=True):
        pixels[y1:y2, x1:x2] = color
    return to_image(pixels), make_target(height, width, boxes)


def smooth_sample(height: int, width: int, boxes, *, seed: int = 0) -> Sample:
    """Returns slow colour gradients: interpolating them once or twice gives nearly the same pixels."""
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    pixels = np.stack([127 + 100 * np.sin(2 * x + 3 * y + one) for one in phase], axis=-1).astype(np.uint8)
    return to_image(pixels), make_target(height, width, boxes, image_id=seed)


def extent_of(image, color, tolerance: int = 60):
    """Returns (x1, y1, x2, y2) around the pixels near ``color``, or None."""
    near = (np.abs(to_array(image).astype(int) - np.asarray(color)) <= tolerance).all(axis=2)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return None
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def boxes_of(sample_or_target) -> list[list[float]]:
    target = sample_or_target[1] if isinstance(sample_or_target, tuple) else sample_or_target
    return plain_boxes(target).tolist()


def snapshot(sample: Sample) -> dict:
    """Returns the bytes and values of a sample, to find out later whether somebody changed it."""
    image, target = sample
    parts = {name: target[name].numpy().tobytes() for name in PER_OBJECT if name in target}
    parts |= {"image": image.numpy().tobytes(), "shape": tuple(image.shape), "canvas": tuple(target["boxes"].canvas_size)}
    return parts | {"keys": tuple(sorted(target)), "meta": target.get("meta")}


def assert_same_sample(first: Sample, second: Sample) -> None:
    one, other = snapshot(first), snapshot(second)
    different = [name for name in one if one[name] != other[name]]
    assert not different, different


class Given:
    """A partner source that hands out a given list in turn, and counts how often it was asked."""

    def __init__(self, partners: list[Sample]) -> None:
        self.partners, self.asked, self.remembered = list(partners), 0, []

    def remember(self, sample: Sample) -> None:
        self.remembered.append(sample)

    def draw(self, count: int) -> list[Sample]:
        drawn = (
            [self.partners[(self.asked + number) % len(self.partners)] for number in range(count)] if self.partners else []
        )
        self.asked += count
        return drawn

    def will_draw(self) -> bool:
        return bool(self.partners)

    def start_epoch(self) -> None:
        self.remembered.clear()
