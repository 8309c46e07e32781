"""The aerial classes: how each looks from above, as coloured polygons in the object's own frame.

The frame has u from -1 (back) to 1 (front) and v from -1 (left) to 1 (right); every form touches all four sides of that
square, so the oriented box around the drawn object is tight by construction. Classes without a front (court, storage-tank,
bridge, harbor) have u along their longer side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rtmdet_lab.synthetic.forms import Coverage, fill
from rtmdet_lab.synthetic.paint import color_apart, color_near

Layers = list[tuple[np.ndarray, np.ndarray]]  # polygons (N, 2) u, v with an RGB colour each, drawn in this order

_FINE = 4  # sub-pixels per pixel and axis


@dataclass(frozen=True)
class OrientedBox:
    """A rectangle at any angle. ``heading_rad`` is where its front points, from +x (right) towards +y (down)."""

    center: tuple[float, float]  # x, y in pixels
    length: float  # pixels along the heading
    width: float
    heading_rad: float

    @property
    def quad(self) -> np.ndarray:
        """(4, 2) x, y of the corners: front left, front right, back right, back left (clockwise on the screen)."""
        return self.to_pixels(np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]))

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Returns (N, 2) x, y in pixels of points u, v in the box's frame."""
        front = np.array([np.cos(self.heading_rad), np.sin(self.heading_rad)])
        right = np.array([-front[1], front[0]])  # a quarter turn clockwise on the screen
        return self.center + points[:, :1] * front * self.length / 2 + points[:, 1:] * right * self.width / 2


@dataclass(frozen=True)
class AerialObject(OrientedBox):
    """An object in its tight oriented box."""

    label: int  # index into AERIAL_CLASSES
    visible_share: float = 1.0  # visible pixels over those of the whole object, beyond the image's border too
    difficult: bool = False

    @property
    def name(self) -> str:
        """The class name."""
        return AERIAL_CLASSES[self.label]


def object_coverage(thing: AerialObject, layers: Layers) -> Coverage:
    """Returns the pixels that the object covers, those outside of the image included."""
    frame = fill([thing.quad])
    alpha = np.zeros_like(frame.alpha)
    for polygon, _ in layers:
        part = fill([thing.to_pixels(polygon)])
        y, x = part.top - frame.top, part.left - frame.left
        window = alpha[y : y + part.alpha.shape[0], x : x + part.alpha.shape[1]]
        np.maximum(window, part.alpha[: window.shape[0], : window.shape[1]], out=window)
    return Coverage(frame.left, frame.top, alpha)


def paint_object(pixels: np.ndarray, thing: AerialObject, layers: Layers) -> None:
    """Draws the object onto ``pixels`` (H, W, 3) uint8 in place, anti-aliased; what lies outside is cut off."""
    paint_polygons(pixels, [(thing.to_pixels(polygon), color) for polygon, color in layers])


def paint_polygons(pixels: np.ndarray, polygons: Layers) -> None:
    """Draws polygons in pixels, each over the ones before it, anti-aliased, onto ``pixels`` in place."""
    points = np.concatenate([polygon for polygon, _ in polygons])
    limit = (pixels.shape[1], pixels.shape[0])
    left, top = np.clip(np.floor(points.min(0)).astype(int) - 1, 0, limit)
    right, bottom = np.clip(np.ceil(points.max(0)).astype(int) + 1, 0, limit)
    if right <= left or bottom <= top:
        return
    window = pixels[top:bottom, left:right]
    # Drawn hard-edged on an enlarged copy: averaging it back blends every edge, and leaves untouched pixels as they were.
    fine = np.ascontiguousarray(window.repeat(_FINE, axis=0).repeat(_FINE, axis=1))
    for polygon, color in polygons:
        whole = np.round(((polygon - (left, top)) * _FINE - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [whole], tuple(float(value) for value in color), shift=4)
    window[:] = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def rectangle(u: Sequence[float] = (-1, 1), v: Sequence[float] = (-1, 1)) -> np.ndarray:
    """Returns the four corners (4, 2) of a rectangle over two ranges, each (low, high)."""
    return np.array([[u[0], v[0]], [u[1], v[0]], [u[1], v[1]], [u[0], v[1]]], float)


def _disc(radius: float, center: tuple[float, float] = (0.0, 0.0), count: int = 48) -> np.ndarray:
    angles = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius + center


def _mirrored(half: list[tuple[float, float]]) -> np.ndarray:
    """Returns an outline symmetric about v = 0 from its right half, listed from front to back."""
    right = np.array(half, float)
    return np.concatenate([right, right[::-1] * (1, -1)])


def _plane(rng: np.random.Generator, color: np.ndarray) -> Layers:
    body, root, sweep = rng.uniform(0.09, 0.13), rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.5)
    chord = rng.uniform(0.22, 0.32)
    fuselage = _mirrored([(1, 0.02), (0.85, body * 0.8), (0.7, body), (-0.7, body), (-1, 0.03)])
    wings = _mirrored([(root, 0), (root - sweep, 1), (root - sweep - chord * 0.4, 1), (root - chord, 0)])
    tail = _mirrored([(-0.68, 0), (-0.86, 0.36), (-0.98, 0.36), (-0.92, 0)])
    shade = color_near(rng, color, 15, 50)
    layers = [(wings, shade), (tail, shade), (fuselage, color)]
    for side in (-1, 1):
        u = root - 0.45 * sweep + 0.08
        layers.append((rectangle((u - 0.12, u + 0.06), sorted((side * 0.38, side * 0.47))), color * 0.6))
    return layers


def _ship(rng: np.random.Generator, color: np.ndarray) -> Layers:
    shoulder, stern = rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.0)
    hull = _mirrored([(1, 0), ((1 + shoulder) / 2, 0.62), (shoulder, 1), (-0.75, 1), (-1, stern)])
    deck = hull * (0.92, 0.7)
    deck_color = color_apart(rng, color, 60)
    layers = [(hull, color), (deck, deck_color)]
    cabin = rng.uniform(-0.75, -0.2)
    layers.append((rectangle((cabin, cabin + 0.25), (-0.55, 0.55)), color_apart(rng, deck_color, 70)))
    if rng.random() < 0.5:
        for u in np.arange(cabin + 0.35, shoulder, 0.2):
            layers.append((rectangle((u, u + 0.13), (-0.45, 0.45)), color_near(rng, deck_color, 30, 90)))
    return layers


def _vehicle(rng: np.random.Generator, color: np.ndarray) -> Layers:
    body = _mirrored([(1, 0.6), (0.88, 1), (-0.9, 1), (-1, 0.75)])
    glass = color * 0.3
    windshield = _mirrored([(0.42, 0.8), (0.12, 0.62)])
    rear = _mirrored([(-0.5, 0.6), (-0.72, 0.75)])
    return [(body, color), (rectangle((-0.6, 0.2), (-0.75, 0.75)), color * 0.85), (windshield, glass), (rear, glass)]


def _court(rng: np.random.Generator, color: np.ndarray) -> Layers:
    inner, line = color_near(rng, color, 25, 90), color_apart(rng, color, 120)
    u, v, t = rng.uniform(0.75, 0.88), rng.uniform(0.62, 0.8), 0.03
    layers = [(rectangle(), color), (rectangle((-u, u), (-v, v)), line)]
    layers.append((rectangle((-u + t, u - t), (-v + 2 * t, v - 2 * t)), inner))
    layers.append((rectangle((-t / 2, t / 2), (-v, v)), line))
    if rng.random() < 0.5:  # tennis: service boxes and side lines
        for side in (-1, 1):
            layers.append((rectangle((-u, u), (side * v * 0.75 - t, side * v * 0.75 + t)), line))
            layers.append((rectangle((side * u / 2 - t / 2, side * u / 2 + t / 2), (-v * 0.75, v * 0.75)), line))
        layers.append((rectangle((-u / 2, u / 2), (-t, t)), line))
    else:  # ball courts: a center circle and two boxes
        layers += [(_disc(1.0) * (0.16, 0.3), line), (_disc(1.0) * (0.13, 0.25), inner)]
        for side in (-1, 1):
            ends = sorted((side * u, side * (u - 0.28)))
            layers.append((rectangle(ends, (-0.35, 0.35)), line))
            ends = sorted((side * (u - t), side * (u - 0.28 + t)))
            layers.append((rectangle(ends, (-0.3, 0.3)), inner))
    return layers


def _storage_tank(rng: np.random.Generator, color: np.ndarray) -> Layers:
    rim, sun = rng.uniform(0.82, 0.92), rng.uniform(0, 2 * np.pi)
    offset = (0.06 * np.cos(sun), 0.06 * np.sin(sun))
    layers = [(_disc(1.0), color * 0.75), (_disc(rim, offset), color)]
    if rng.random() < 0.6:
        layers.append((_disc(0.12, (rng.uniform(-0.4, 0.4), 0.0)), color * 0.6))
    layers.append((rectangle((0.0, 0.95), (-0.05, 0.05)), color_near(rng, color, 30, 70)))
    return layers


def _bridge(rng: np.random.Generator, color: np.ndarray) -> Layers:
    rail = color_apart(rng, color, 80)
    layers = [(rectangle(), rail), (rectangle((-1, 1), (-0.8, 0.8)), color)]
    for u in np.arange(-0.95, 0.9, 0.16):
        layers.append((rectangle((u, u + 0.08), (-0.05, 0.05)), rail))
    return layers


def _harbor(rng: np.random.Generator, color: np.ndarray) -> Layers:
    teeth, spine = int(rng.integers(4, 9)), rng.uniform(-0.7, -0.45)
    thick = rng.uniform(0.22, 0.4) * 2 / teeth
    layers = [(rectangle((-1, 1), (-1, spine)), color)]
    for start in np.linspace(-1, 1 - thick, teeth):
        layers.append((rectangle((start, start + thick), (-1, 1)), color))
    layers.append((rectangle((-0.97, 0.97), (-0.95, spine - 0.1)), color_near(rng, color, 10, 40)))
    return layers


AERIAL_FORMS: dict[str, Callable[[np.random.Generator, np.ndarray], Layers]] = {
    "plane": _plane,
    "ship": _ship,
    "vehicle": _vehicle,
    "court": _court,
    "storage-tank": _storage_tank,
    "bridge": _bridge,
    "harbor": _harbor,
}
AERIAL_CLASSES: tuple[str, ...] = tuple(AERIAL_FORMS)
