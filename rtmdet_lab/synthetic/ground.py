"""The land under aerial objects: fields, bare soil, roads, and patches of water or asphalt.

A scene may have 12,000 pixels on each side. Coarse structure is made at a quarter of the resolution and enlarged strip by
strip; everything else touches only its own surroundings.
"""

from __future__ import annotations

import cv2
import numpy as np

from rtmdet_lab.synthetic.forms import blob, fill
from rtmdet_lab.synthetic.paint import blend, octave_noise, row_strips

_COARSE = 4  # pixels per coarse pixel
_DETAIL = 512  # pixels on each side of the fine noise, which repeats mirrored: no seam shows

# Typical RGB colours; every image and patch moves them.
LAND_COLORS = ((86, 104, 62), (124, 128, 78), (138, 118, 92), (60, 80, 52), (152, 148, 136))
WATER_COLORS = ((36, 62, 88), (48, 84, 92), (70, 92, 88))
ASPHALT_COLORS = ((92, 92, 96), (120, 118, 114), (72, 74, 78))
CONCRETE_COLORS = ((168, 164, 156), (142, 142, 144), (178, 170, 150))
TREE_COLORS = ((38, 62, 34), (54, 78, 40), (70, 84, 44))
ROOF_COLORS = ((150, 82, 64), (112, 104, 100), (176, 168, 158), (88, 92, 110), (196, 190, 184))


def pick_color(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...], spread: float = 14) -> np.ndarray:
    """Returns one of ``colors``, lighter or darker and a little shifted, (3,) float32 RGB."""
    color = np.array(colors[int(rng.integers(len(colors)))], np.float32)
    return np.clip(color * rng.uniform(0.8, 1.25) + rng.uniform(-spread, spread, 3), 5, 250).astype(np.float32)


def land(rng: np.random.Generator, size: int, difficulty: float) -> np.ndarray:
    """Returns (size, size, 3) uint8 RGB land of several kinds with no objects on it."""
    coarse_size = size // _COARSE + 2
    coarse = np.empty((coarse_size, coarse_size, 3), np.float32)
    coarse[:] = pick_color(rng, LAND_COLORS)
    for _ in range(3):
        border = octave_noise(rng, coarse_size, coarse_size, cell=rng.uniform(30, 120), count=4)
        share = np.clip((border - rng.uniform(0.45, 0.65)) * 12, 0, 1)[:, :, None]
        coarse += share * (pick_color(rng, LAND_COLORS) - coarse)
    light = octave_noise(rng, coarse_size, coarse_size, cell=24, count=4) - 0.5
    coarse += light[:, :, None] * np.float32(20 + 40 * difficulty)
    detail = octave_noise(rng, _DETAIL, _DETAIL, cell=6, count=3) - 0.5
    detail *= np.float32(15 + 35 * difficulty)

    image = np.empty((size, size, 3), np.uint8)
    columns = _mirrored(np.arange(size))
    for start, stop in row_strips(size):
        # One coarse row more on each side, so that neighbouring strips are interpolated from the same rows.
        above = 1 if start else 0
        part = coarse[start // _COARSE - above : -(-stop // _COARSE) + 1]
        strip = cv2.resize(part, (coarse_size * _COARSE, len(part) * _COARSE), interpolation=cv2.INTER_LINEAR)
        strip = strip[above * _COARSE :][: stop - start, :size]
        tiles = detail[_mirrored(np.arange(start, stop))][:, columns]
        image[start:stop] = np.clip(strip + tiles[:, :, None], 0, 255).astype(np.uint8)
    return image


def _mirrored(positions: np.ndarray) -> np.ndarray:
    """Returns where in the fine noise each row or column of an image reads: forwards, then backwards, and so on."""
    positions = positions % (2 * _DETAIL)
    return np.minimum(positions, 2 * _DETAIL - 1 - positions)


def paint_region(rng: np.random.Generator, pixels: np.ndarray, outline: np.ndarray, color: np.ndarray) -> None:
    """Covers the inside of ``outline`` (N, 2) with a slightly uneven colour, in place."""
    coverage = fill([outline])
    height, width = coverage.alpha.shape
    top, left = max(coverage.top, 0), max(coverage.left, 0)
    bottom, right = min(coverage.top + height, pixels.shape[0]), min(coverage.left + width, pixels.shape[1])
    if bottom <= top or right <= left:
        return
    alpha = coverage.alpha[top - coverage.top : bottom - coverage.top, left - coverage.left : right - coverage.left]
    uneven = octave_noise(rng, alpha.shape[0], alpha.shape[1], cell=24, count=4) - 0.5
    blend(pixels[top:bottom, left:right], alpha, color + uneven[:, :, None] * np.float32(22))


def paint_road(rng: np.random.Generator, pixels: np.ndarray, start: np.ndarray, end: np.ndarray, width: float) -> None:
    """Draws a straight road with a dashed center line, in place."""
    tone = tuple(float(value) for value in pick_color(rng, ASPHALT_COLORS))
    across = np.array([start[1] - end[1], end[0] - start[0]])
    across = across / np.linalg.norm(across) * width / 2
    outline = np.round(np.stack([start + across, end + across, end - across, start - across]) * 16).astype(np.int32)
    cv2.fillPoly(pixels, [outline], tone, cv2.LINE_AA, shift=4)
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length
    for at in np.arange(0, length, 24.0):
        dash = np.round(np.stack([start + along * at, start + along * (at + 9)]) * 16).astype(np.int32)
        cv2.polylines(pixels, [dash], False, (215.0, 212.0, 200.0), 1, cv2.LINE_AA, shift=4)


def tree_outline(rng: np.random.Generator, center: tuple[float, float], radius: float) -> np.ndarray:
    """Returns the irregular outline (64, 2) of a tree or a group of trees."""
    return blob(rng, radius, center)


def water_outline(
    rng: np.random.Generator, center: np.ndarray, length: float, width: float, angle_rad: float, lobed: bool
) -> np.ndarray:
    """Returns an irregular shore line (N, 2), about ``length`` by ``width`` pixels, its length along ``angle_rad``.

    Args:
        lobed: with bays and narrows; otherwise rounded, so that most of the length times width is water.
    """
    shape = blob(rng, 1.0, (0.0, 0.0))
    if not lobed:
        shape = cv2.convexHull(shape.astype(np.float32))[:, 0].astype(float)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    return shape * (length / 2, width / 2) @ np.array([[cosine, sine], [-sine, cosine]]) + center
