"""Small data sets made in memory, for tests of the loader and the loop."""

from __future__ import annotations

import numpy as np
import torch
from made_samples import make_sample

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.transforms.base import Sample, as_boxes, to_image


class Squares:
    """Images of noise with one or two bright rectangles; wide ones are class 0, tall ones class 1."""

    classes = ("wide", "tall")
    title = "squares made in memory"

    def __init__(self, length: int, size: int = 64, seed: int = 0) -> None:
        self.length, self.size, self.seed = length, size, seed

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, index])
        image = rng.integers(0, 90, (self.size, self.size, 3), dtype=np.uint8)
        boxes, labels = [], []
        for _ in range(int(rng.integers(1, 3))):
            label = int(rng.integers(2))
            long, short = self.size // 2, self.size // 4
            width, height = (long, short) if label == 0 else (short, long)
            x, y = rng.integers(0, self.size - width), rng.integers(0, self.size - height)
            image[y : y + height, x : x + width] = rng.integers(140, 255, 3)
            boxes.append([x, y, x + width, y + height])
            labels.append(label)
        size = (self.size, self.size)
        target = {
            "boxes": as_boxes(torch.tensor(boxes, dtype=torch.float32), size),
            "labels": torch.tensor(labels),
            "meta": ImageMeta(index, size, canvas_size=size),
        }
        return to_image(image), target


class Numbered:
    """Images filled with their number; ``bad`` ones cannot be read."""

    classes = ("thing",)
    title = "numbered images"

    def __init__(self, length: int, bad: tuple[int, ...] = ()) -> None:
        self.length, self.bad = length, bad
        self.loads: list[int] = []

    def __len__(self) -> int:
        return self.length

    def load(self, index: int):
        self.loads.append(index)
        if index in self.bad:
            raise DataError(f"image {index}.jpg is truncated or damaged")
        image, target = make_sample(24, 30, [[2, 3, 20, 15]], [0], seed=index)
        return image.fill_(index), target
