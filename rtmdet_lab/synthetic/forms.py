"""The forms of the scene classes and of the distractors, as outlines and as anti-aliased coverage.

A form is a list of closed outlines, each (N, 2) x, y around the origin; where outlines lie inside one another they
alternate between inside and outside, which is how the ring gets its hole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rtmdet_lab.core.errors import SettingError

Outlines = list[np.ndarray]

_FINE = 4  # sub-pixels per pixel and axis when an outline is filled
_FRACTION_BITS = 4  # OpenCV reads outline coordinates as whole numbers of 1/16


@dataclass(frozen=True)
class Coverage:
    """How much of each pixel a form covers. ``left`` and ``top`` may lie outside of the image."""

    left: int
    top: int
    alpha: np.ndarray  # (h, w) float32, 0..1

    @property
    def solid(self) -> np.ndarray:
        """(h, w) bool, the pixels that count as the form's own."""
        return self.alpha >= 0.5


def _circle(radius: float = 1.0, count: int = 72, phase: float = 0.0) -> np.ndarray:
    angles = phase + np.arange(count) * (2 * np.pi / count)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _ellipse(rng: np.random.Generator) -> Outlines:
    return [_circle() * (1.0, rng.uniform(0.6, 1.0))]


def _triangle(rng: np.random.Generator) -> Outlines:
    return [_circle(count=3)]


def _rectangle(rng: np.random.Generator) -> Outlines:
    return [np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (1.0, rng.uniform(0.5, 1.0))]


def _hexagon(rng: np.random.Generator) -> Outlines:
    return [_circle(count=6)]


def _cross(rng: np.random.Generator) -> Outlines:
    arm = rng.uniform(0.26, 0.4)
    quarter = np.array([[arm, -1], [arm, -arm], [1, -arm]])
    turn = np.array([[0, 1], [-1, 0]])  # a quarter turn of row vectors
    return [np.concatenate([quarter @ np.linalg.matrix_power(turn, corner) for corner in range(4)])]


def _star(points: int, inner: float) -> np.ndarray:
    outline = _circle(count=2 * points)
    outline[1::2] *= inner
    return outline


def _five_point_star(rng: np.random.Generator) -> Outlines:
    return [_star(5, rng.uniform(0.38, 0.48))]


def _six_point_star(rng: np.random.Generator) -> Outlines:
    return [_star(6, rng.uniform(0.45, 0.58))]


def _ring(rng: np.random.Generator) -> Outlines:
    return [_circle(), _circle(rng.uniform(0.45, 0.68))]


def _crescent(rng: np.random.Generator) -> Outlines:
    # A unit disc less an equal one moved by `shift`: the inner arc is the outer one, moved and walked backwards.
    shift = rng.uniform(0.5, 0.8)
    half = np.pi - np.arccos(shift / 2)
    angles = np.linspace(-half, half, 40)
    outer = np.stack([-np.cos(angles), np.sin(angles)], axis=1)
    back = np.linspace(np.pi - half, half - np.pi, 40)
    inner = np.stack([shift - np.cos(back), np.sin(back)], axis=1)
    return [np.concatenate([outer, inner[1:-1]])]


def _arrow(rng: np.random.Generator) -> Outlines:
    shaft, neck = rng.uniform(0.22, 0.36), rng.uniform(-0.15, 0.15)
    upper = np.array([[1.1, 0.0], [neck, 0.85], [neck, shaft], [-1.1, shaft]])
    return [np.concatenate([upper, upper[:0:-1] * (1, -1)])]


SCENE_FORMS: dict[str, Callable[[np.random.Generator], Outlines]] = {
    "ellipse": _ellipse,
    "triangle": _triangle,
    "rectangle": _rectangle,
    "hexagon": _hexagon,
    "cross": _cross,
    "five-point star": _five_point_star,
    "six-point star": _six_point_star,
    "ring": _ring,
    "crescent": _crescent,
    "arrow": _arrow,
}
SCENE_CLASSES: tuple[str, ...] = tuple(SCENE_FORMS)


def check_scene_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Returns ``names`` in the order of ``SCENE_CLASSES``; raises SettingError unless they are some of those, none twice."""
    if isinstance(names, str) or not names or len(set(names)) != len(names):
        raise SettingError(f"classes must be different names out of {', '.join(SCENE_CLASSES)}, got {names!r}")
    for name in names:
        if name not in SCENE_CLASSES:
            raise SettingError(f"there is no generated class {name!r}: choose from {', '.join(SCENE_CLASSES)}")
    return tuple(name for name in SCENE_CLASSES if name in names)


def pose(rng: np.random.Generator, outlines: Outlines, size: float, center: tuple[float, float]) -> Outlines:
    """Returns the outlines turned by any angle, mildly stretched and sheared, ``size`` pixels on the longer side of their
    box and with that box around ``center`` (x, y)."""
    angle_rad, stretch, shear = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.25, 0.25)), rng.uniform(-0.2, 0.2)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    matrix = np.array([[cosine, -sine], [sine, cosine]]) @ np.array([[stretch, shear], [0.0, 1.0]])
    moved = [outline @ matrix.T for outline in outlines]
    low, high = moved[0].min(0), moved[0].max(0)
    scale = size / (high - low).max()
    return [(outline - (low + high) / 2) * scale + center for outline in moved]


def fill(outlines: Sequence[np.ndarray]) -> Coverage:
    """Returns the coverage of closed outlines in pixels (a pixel's corner is a whole number)."""
    return _rasterize(outlines, 0.0, closed=True)


def stroke(lines: Sequence[np.ndarray], thickness: float) -> Coverage:
    """Returns the coverage of open lines drawn ``thickness`` pixels wide."""
    return _rasterize(lines, thickness, closed=False)


def _rasterize(lines: Sequence[np.ndarray], thickness: float, closed: bool) -> Coverage:
    points = np.concatenate(lines)
    left, top = (int(value) for value in np.floor(points.min(0) - thickness / 2 - 1))
    right, bottom = (int(value) for value in np.ceil(points.max(0) + thickness / 2 + 1))
    fine = np.zeros(((bottom - top) * _FINE, (right - left) * _FINE), np.uint8)
    # Sub-pixel i covers i..i+1 while OpenCV puts its center at i, hence the half.
    scaled = [((line - (left, top)) * _FINE - 0.5) * 2**_FRACTION_BITS for line in lines]
    whole = [np.round(line).astype(np.int32) for line in scaled]
    if closed:
        cv2.fillPoly(fine, whole, 255, shift=_FRACTION_BITS)
    else:
        width = max(round(thickness * _FINE), 1)
        cv2.polylines(fine, whole, False, 255, thickness=width, shift=_FRACTION_BITS)
    small = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return Coverage(left, top, small.astype(np.float32) / 255)


def distractor(rng: np.random.Generator, size: float, center: tuple[float, float]) -> Coverage:
    """Returns something of no class, about ``size`` pixels large: a blob, a squiggle, part of an arc or a scribbled word."""
    kind = rng.choice(("blob", "squiggle", "arc", "word"))
    if kind == "blob":
        return fill([blob(rng, size / 2, center)])
    thickness = float(np.clip(size * rng.uniform(0.04, 0.12), 1.0, 7.0))
    if kind == "squiggle":
        steps = rng.normal(size=(7, 2)).cumsum(0)
        line = _smooth(steps)
        line = (line - line.mean(0)) * (size / 2 / np.abs(line - line.mean(0)).max())
        return stroke([line + center], thickness)
    if kind == "arc":
        angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(1.0, 3.5), 24)
        arc = np.stack([np.cos(angles), np.sin(angles)], axis=1) * size / 2
        return stroke([arc + center], thickness)
    return stroke(_word(rng, size, center), min(thickness, 3.0))


def blob(rng: np.random.Generator, radius: float, center: tuple[float, float]) -> np.ndarray:
    """Returns an irregular closed outline, (64, 2), clearly lobed so that it is no ellipse."""
    angles = np.arange(64) * (2 * np.pi / 64)
    radii = np.ones(64)
    for waves in (2, 3, 4, 5):
        radii += rng.uniform(0.08, 0.24) * np.cos(waves * angles + rng.uniform(0, 2 * np.pi))
    outline = np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.clip(radii, 0.25, None)[:, None]
    return outline * (radius / np.abs(outline).max()) + center


def _word(rng: np.random.Generator, size: float, center: tuple[float, float]) -> list[np.ndarray]:
    letters = int(rng.integers(3, 7))
    cell = size / letters
    angle_rad = rng.uniform(-0.5, 0.5)
    rotation = np.array([[np.cos(angle_rad), np.sin(angle_rad)], [-np.sin(angle_rad), np.cos(angle_rad)]])
    lines = []
    for letter in range(letters):
        corner = np.array([(letter - letters / 2) * cell, -cell / 2])
        for _ in range(2):
            # Strokes run between the points of a 3 x 3 grid, as those of printed letters do.
            ends = rng.integers(0, 3, (3, 2)) / 2 * (0.7 * cell, 1.1 * cell)
            lines.append((corner + ends) @ rotation + center)
    return lines


def _smooth(points: np.ndarray, count: int = 60) -> np.ndarray:
    """Returns a Catmull-Rom curve through ``points`` (N, 2), sampled ``count`` times."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    at = np.linspace(0, len(points) - 1.001, count)
    index, t = at.astype(int), (at % 1)[:, None]
    a, b, c, d = (padded[index + offset] for offset in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
