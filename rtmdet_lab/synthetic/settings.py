"""What all generated sets share: checked settings and one independent random stream per image."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

from rtmdet_lab.core.errors import SettingError

SPLITS = ("train", "val")
SMALLEST_SIZE = 64  # pixels; less holds no object that is larger than the smallest one
LARGEST_SIZE = 24_000  # pixels; as RGB 1.7 GB, about what the image reader accepts

_KINDS = ("scenes", "aerial")


def image_stream(kind: str, seed: int, split: str, index: int) -> np.random.Generator:
    """Returns the random numbers of one image: the same in every process, whatever the images around it drew.

    Args:
        kind: "scenes" or "aerial", so that one seed does not give both the same numbers.
        index: position in the split, from 0.

    Raises:
        SettingError: a split that does not exist, or a negative seed or index.
    """
    if split not in SPLITS:
        raise SettingError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    _check_whole("seed", seed, 0)
    _check_whole("index", index, 0)
    entropy = (_KINDS.index(kind), int(seed), SPLITS.index(split), int(index))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def check_image_settings(size: int, difficulty: float) -> None:
    """Raises SettingError unless ``size`` (pixels) and ``difficulty`` (0 to 1) can be rendered."""
    _check_whole("size", size, SMALLEST_SIZE, LARGEST_SIZE)
    number = isinstance(difficulty, Real) and not isinstance(difficulty, bool) and math.isfinite(difficulty)
    if not number or not 0 <= difficulty <= 1:
        raise SettingError(f"difficulty must be a number from 0 (easy) to 1 (hard), got {difficulty!r}")


def check_set_settings(train: int, val: int, size: int, seed: int, difficulty: float, workers: int) -> None:
    """Raises SettingError unless a whole set can be generated from these values."""
    _check_whole("train", train, 0)
    _check_whole("val", val, 0)
    _check_whole("seed", seed, 0)
    _check_whole("workers", workers, 1)
    check_image_settings(size, difficulty)


def _check_whole(name: str, value: int, low: int, high: int | None = None) -> None:
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and low <= value and (high is None or value <= high):
        return
    allowed = f"of at least {low}" if high is None else f"from {low} to {high}"
    raise SettingError(f"{name} must be a whole number {allowed}, got {value!r}")
