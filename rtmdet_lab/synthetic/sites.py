"""Where aerial objects stand: parking lots, marinas, airfields and the like, laid out in cells of a grid.

A site proposes ground patches and objects; the layout takes an object only if its center is inside the image and its box
meets no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from rtmdet_lab.synthetic.aerial_forms import AERIAL_CLASSES, AerialObject, OrientedBox, rectangle
from rtmdet_lab.synthetic.ground import ASPHALT_COLORS, CONCRETE_COLORS, WATER_COLORS, pick_color, water_outline

CELL = 256  # pixels on each side of the square that one site has to itself

_MAP_STEP = 2  # pixels per entry of the map of taken ground, which saves memory on huge scenes
_SHORTEST = 5.0  # pixels; shorter objects show nothing of their form


class Layout:
    """What stands where: ground patches and objects of one image, in the order they are painted."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.regions: list[tuple[np.ndarray, np.ndarray]] = []  # outlines (N, 2) with a colour
        self.objects: list[AerialObject] = []
        self._taken = np.zeros((-(-size // _MAP_STEP),) * 2, np.uint8)

    def add(
        self, name: str, center: Iterable[float], length: float, width: float, heading_rad: float, margin: float = 1.0
    ) -> bool:
        """Adds an object unless its center is outside, it is too small, or it comes within ``margin`` pixels of another."""
        x, y = (float(value) for value in center)
        if not (0 <= x < self.size and 0 <= y < self.size) or max(length, width) < _SHORTEST or width < 2:
            return False
        heading_rad = float((heading_rad + np.pi) % (2 * np.pi) - np.pi)
        one = AerialObject((x, y), float(length), float(width), heading_rad, AERIAL_CLASSES.index(name))
        if not self.take(one, margin):
            return False
        self.objects.append(one)
        return True

    def take(self, box: OrientedBox, margin: float = 1.0) -> bool:
        """Marks the ground under an oriented box as taken and returns True, or returns False where it is not free."""
        grown = OrientedBox(box.center, box.length + 2 * margin, box.width + 2 * margin, box.heading_rad)
        quad = grown.quad / _MAP_STEP
        limit = self._taken.shape[0]
        left, top = np.clip(np.floor(quad.min(0)).astype(int), 0, limit)
        right, bottom = np.clip(np.ceil(quad.max(0)).astype(int) + 1, 0, limit)
        window = self._taken[top:bottom, left:right]
        mask = np.zeros(window.shape, np.uint8)
        cv2.fillConvexPoly(mask, np.round(quad - (left, top)).astype(np.int32), 1)
        if (window & mask).any():
            return False
        window |= mask
        return True


@dataclass(frozen=True)
class Site:
    """The frame that one site is laid out in."""

    rng: np.random.Generator
    layout: Layout
    center: np.ndarray  # (2,) x, y
    angle_rad: float
    scale: float  # of all objects, as the height of the camera sets it

    def at(self, along: float, across: float) -> np.ndarray:
        """Returns the pixel (2,) that lies so far from the center along the site's direction and across it."""
        return self.outline(np.array([[along, across]]))[0]

    def outline(self, points: np.ndarray) -> np.ndarray:
        """Returns (N, 2) pixels of points given along and across."""
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return points @ np.array([[cosine, sine], [-sine, cosine]]) + self.center

    def pave(self, length: float, width: float, colors: tuple) -> None:
        """Puts a rectangle of one ground colour under the site."""
        outline = self.outline(rectangle() * (length / 2, width / 2))
        self.layout.regions.append((outline, pick_color(self.rng, colors)))

    def flood(self, length: float, width: float, lobed: bool = False) -> None:
        """Puts water under the site."""
        outline = water_outline(self.rng, self.center, length, width, self.angle_rad, lobed)
        self.layout.regions.append((outline, pick_color(self.rng, WATER_COLORS)))


def _grid(site: Site, rows: int, columns: int, pitch: tuple[float, float]) -> list[np.ndarray]:
    return [
        site.at((row - (rows - 1) / 2) * pitch[0], (column - (columns - 1) / 2) * pitch[1])
        for row in range(rows)
        for column in range(columns)
    ]


def _parking(site: Site) -> None:
    rng, length = site.rng, 17 * site.scale * site.rng.uniform(0.9, 1.1)
    pitch = (length * rng.uniform(1.2, 1.6), length * rng.uniform(0.55, 0.7))
    rows, columns = int(rng.integers(1, 5)), int(rng.integers(3, 13))
    rows, columns = min(rows, int(0.8 * CELL / pitch[0])), min(columns, int(0.8 * CELL / pitch[1]))
    site.pave((rows + 0.4) * pitch[0], (columns + 1) * pitch[1], ASPHALT_COLORS)
    for spot in _grid(site, rows, columns, pitch):
        if rng.random() < 0.75:
            back = np.pi * (rng.random() < 0.3)
            size = length * rng.uniform(0.88, 1.1)
            site.layout.add("vehicle", spot, size, length * rng.uniform(0.4, 0.48), site.angle_rad + back, margin=0)


def _marina(site: Site) -> None:
    rng = site.rng
    pier = rng.uniform(90, 190) * min(site.scale, 1.1)
    depth = pier * rng.uniform(0.2, 0.4)
    site.flood(1.25 * CELL, 1.1 * CELL)
    site.layout.add("harbor", site.at(0, -0.28 * CELL), pier, depth, site.angle_rad)
    length = rng.uniform(26, 60) * site.scale
    width = length * rng.uniform(0.2, 0.32)
    heading = site.angle_rad + np.pi / 2 * (1 if rng.random() < 0.5 else -1)
    moored = min(int(rng.integers(4, 13)), int(CELL / (width * 1.25)))
    row = -0.28 * CELL + depth / 2 + length * 0.56
    for number in range(moored):
        spot = site.at((number - (moored - 1) / 2) * width * 1.25, row)
        if rng.random() < 0.85:
            site.layout.add("ship", spot, length * rng.uniform(0.85, 1.1), width, heading, margin=0)
    _scatter_ships(site, int(rng.integers(0, 3)))


def _sea(site: Site) -> None:
    site.flood(1.2 * CELL, CELL)
    _scatter_ships(site, int(site.rng.integers(2, 7)))


def _scatter_ships(site: Site, count: int) -> None:
    rng = site.rng
    for _ in range(count):
        length = 18 * (200 / 18) ** (rng.random() ** 1.3) * min(site.scale, 1.0)
        spot = site.at(*rng.uniform(-0.36, 0.36, 2) * CELL)
        site.layout.add("ship", spot, length, length / rng.uniform(2.8, 8), rng.uniform(0, 2 * np.pi), margin=3)


def _airfield(site: Site) -> None:
    rng = site.rng
    length = rng.uniform(30, 110) * site.scale
    width = length * rng.uniform(0.85, 1.1)
    rows, columns = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    rows, columns = max(min(rows, int(0.9 * CELL / length)), 1), max(min(columns, int(0.9 * CELL / width)), 1)
    site.pave((rows + 0.3) * length * 1.15, (columns + 0.3) * width * 1.12, CONCRETE_COLORS)
    for spot in _grid(site, rows, columns, (length * 1.15, width * 1.12)):
        size = rng.uniform(0.85, 1.0)
        site.layout.add("plane", spot, length * size, width * size, site.angle_rad + rng.normal(0, 0.06), margin=0)


def _sports(site: Site) -> None:
    rng = site.rng
    length = rng.uniform(45, 130) * site.scale
    width = length * rng.uniform(0.45, 0.68)
    rows, columns = int(rng.integers(1, 3)), int(rng.integers(1, 4))
    rows, columns = max(min(rows, int(0.9 * CELL / length)), 1), max(min(columns, int(0.9 * CELL / width)), 1)
    for spot in _grid(site, rows, columns, (length * 1.08, width * 1.12)):
        site.layout.add("court", spot, length, width, site.angle_rad)


def _tanks(site: Site) -> None:
    rng = site.rng
    across = 14 * (80 / 14) ** rng.random() * site.scale
    rows, columns = (min(int(rng.integers(1, 5)), max(int(0.85 * CELL / (1.3 * across)), 1)) for _ in range(2))
    site.pave((rows + 0.4) * across * 1.3, (columns + 0.4) * across * 1.3, CONCRETE_COLORS)
    for spot in _grid(site, rows, columns, (across * 1.3,) * 2):
        size = across * rng.choice((1.0, 1.0, 0.75))
        if rng.random() < 0.9:
            site.layout.add("storage-tank", spot, size, size, rng.uniform(0, 2 * np.pi))


def _crossing(site: Site) -> None:
    rng = site.rng
    length = rng.uniform(80, 200) * min(site.scale, 1.1)
    site.flood(1.3 * CELL, 0.75 * length, lobed=True)
    width = length / rng.uniform(4, 8)
    site.layout.add("bridge", site.at(rng.uniform(-30, 30), 0), length, width, site.angle_rad + np.pi / 2)
    _scatter_ships(site, int(rng.integers(0, 3)))


def _yard(site: Site) -> None:
    """Vehicles of all lengths, singly and at any angle."""
    rng = site.rng
    site.pave(CELL * rng.uniform(0.4, 0.8), CELL * rng.uniform(0.3, 0.7), ASPHALT_COLORS)
    for _ in range(int(rng.integers(2, 9))):
        length = 14 * (46 / 14) ** rng.random() * site.scale
        width = min(length * 0.48, 12 * site.scale)
        spot = site.at(*rng.uniform(-0.3, 0.3, 2) * CELL)
        site.layout.add("vehicle", spot, length, width, rng.uniform(0, 2 * np.pi), margin=2)


SITES: dict[str, Callable[[Site], None]] = {
    "parking": _parking,
    "marina": _marina,
    "sea": _sea,
    "airfield": _airfield,
    "sports": _sports,
    "tanks": _tanks,
    "crossing": _crossing,
    "yard": _yard,
}
_SHARES = (0.13, 0.15, 0.08, 0.17, 0.15, 0.14, 0.12, 0.06)  # of the sites, in the order of SITES


def lay_out_site(rng: np.random.Generator, layout: Layout, cell: np.ndarray, scale: float) -> None:
    """Lays out a random site in the grid cell whose upper left corner is at ``cell`` (x, y in pixels)."""
    kind = str(rng.choice(list(SITES), p=_SHARES))
    center = cell + CELL / 2 + rng.uniform(-0.1, 0.1, 2) * CELL
    angle_rad, own_scale = float(rng.uniform(0, 2 * np.pi)), scale * float(np.exp(rng.uniform(-0.15, 0.15)))
    SITES[kind](Site(rng, layout, center, angle_rad, own_scale))
