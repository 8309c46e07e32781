"""Colours, textures and the finish of an image, shared by objects, distractors and backgrounds.

Objects and backgrounds take their textures from the same function, and colours are drawn without looking at the class:
neither colour nor texture gives a class away, and segmenting by colour does not find the objects.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

TEXTURES = ("flat", "gradient", "stripes", "checks", "dots", "noise")

_STRIP_ROWS = 1024  # huge images are worked through in strips, so that their float copies stay small
_HALO_ROWS = 4  # rows beside a strip that the largest blur reaches


def row_strips(height: int, rows: int = _STRIP_ROWS) -> Iterator[tuple[int, int]]:
    """Yields (first row, row after the last) of strips that cover ``height`` rows.

    >>> list(row_strips(5, rows=2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for start in range(0, height, rows):
        yield start, min(start + rows, height)


def random_color(rng: np.random.Generator) -> np.ndarray:
    """Returns an RGB colour, (3,) float32 in 0..255, from nearly grey to strong, away from pure black and white."""
    color = rng.uniform(15, 240, 3)
    grey = color.mean()
    return (grey + (color - grey) * rng.uniform(0.2, 1.0)).astype(np.float32)


def color_apart(rng: np.random.Generator, other: np.ndarray, distance: float) -> np.ndarray:
    """Returns a random colour at least ``distance`` from ``other`` in RGB, or the farthest of eight tries."""
    tries = []
    for _ in range(8):
        color = random_color(rng)
        gap = float(np.linalg.norm(color - other))
        if gap >= distance:
            return color
        tries.append((gap, color))
    return max(tries, key=lambda one: one[0])[1]


def color_near(rng: np.random.Generator, other: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns ``other`` moved by ``low`` to ``high`` in a random direction of RGB, clipped to 0..255."""
    direction = rng.normal(size=3)
    step = rng.uniform(low, high) * direction / (np.linalg.norm(direction) + 1e-6)
    return np.clip(other + step, 0, 255).astype(np.float32)


def octave_noise(rng: np.random.Generator, height: int, width: int, cell: float, count: int = 4) -> np.ndarray:
    """Returns (height, width) float32 noise from 0 to 1, the sum of ``count`` octaves of which the coarsest has cells of
    ``cell`` pixels and each further one half of that."""
    total = np.zeros((height, width), np.float32)
    for octave in range(count):
        step = max(cell / 2**octave, 1.0)
        grid = rng.random((int(height / step) + 2, int(width / step) + 2), dtype=np.float32)
        total += 0.55**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def texture(
    rng: np.random.Generator, height: int, width: int, first: np.ndarray, second: np.ndarray, period: float
) -> np.ndarray:
    """Returns (height, width, 3) float32 RGB: ``first`` and ``second`` mixed by a random one of ``TEXTURES``.

    Args:
        period: pixels from one stripe, check or dot to the next.
    """
    weight = _weights(rng, str(rng.choice(TEXTURES)), height, width, period)[:, :, None]  # (height, width, 1)
    return first * (1 - weight) + second * weight


def _weights(rng: np.random.Generator, kind: str, height: int, width: int, period: float) -> np.ndarray:
    """Returns (height, width) float32 from 0 (first colour) to 1 (second colour)."""
    if kind == "flat":
        return np.zeros((height, width), np.float32)
    if kind == "noise":
        return octave_noise(rng, height, width, cell=2 * period)
    angle_rad = rng.uniform(0, np.pi)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    cosine, sine = np.float32(np.cos(angle_rad)), np.float32(np.sin(angle_rad))
    along, across = x * cosine + y * sine, y * cosine - x * sine
    if kind == "gradient":
        low, high = float(along.min()), float(along.max())
        ramp = (along - low) / max(high - low, 1e-6)
        return ramp if rng.random() < 0.5 else 1 - ramp
    turn = np.float32(2 * np.pi / period)
    waves = np.sin(along * turn + np.float32(rng.uniform(0, 6.28)))
    # Steep waves clipped to -1..1 have soft edges of about a pixel: nothing to alias.
    steep = np.float32(max(period / 4, 1.0))
    if kind == "stripes":
        return np.clip(0.5 + waves * steep, 0, 1)
    crossing = np.sin(across * turn + np.float32(rng.uniform(0, 6.28)))
    if kind == "checks":
        return np.clip(0.5 + waves * crossing * steep, 0, 1)
    return np.clip((waves + crossing - np.float32(rng.uniform(0.3, 1.0))) * steep, 0, 1)  # dots


def blend(pixels: np.ndarray, alpha: np.ndarray, colors: np.ndarray) -> None:
    """Lays ``colors`` over ``pixels`` (h, w, 3) uint8 in place, where ``alpha`` (h, w) says how opaque, 0..1."""
    opaque = alpha[:, :, None]
    pixels[:] = np.clip(pixels * (1 - opaque) + colors * opaque + 0.5, 0, 255).astype(np.uint8)


def finish(rng: np.random.Generator, image: np.ndarray, difficulty: float) -> None:
    """Gives the finished ``image`` (H, W, 3) uint8 a camera's faults in place: blur, contrast, colour cast and noise."""
    blur_px = rng.uniform(0, 1.2) * difficulty
    contrast = 1 + rng.uniform(-0.5, 0.3) * difficulty
    shift = rng.uniform(-30, 30) * difficulty + rng.uniform(-12, 12, 3) * difficulty
    noise_level = rng.uniform(0, 14) * difficulty
    above = image[:0].copy()
    for start, stop in row_strips(len(image)):
        # The rows above are kept from before they were changed, or the strips' seams would show.
        source = np.concatenate([above, image[start : stop + _HALO_ROWS]])
        first = len(above)
        above = image[max(stop - _HALO_ROWS, 0) : stop].copy()
        if blur_px > 0.2:
            source = cv2.GaussianBlur(source, (2 * _HALO_ROWS + 1,) * 2, blur_px)
        strip = source[first : first + stop - start].astype(np.float32)
        strip = (strip - 128) * np.float32(contrast) + (128 + shift).astype(np.float32)
        strip += rng.standard_normal((*strip.shape[:2], 1), dtype=np.float32) * np.float32(noise_level)
        image[start:stop] = np.clip(strip + 0.5, 0, 255).astype(np.uint8)
