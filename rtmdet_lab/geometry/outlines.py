"""Object outlines as polygons, for as long as an image is moved about: scaled, shifted, mirrored, cut.

Moving corners costs nothing and loses nothing; only the last step fills pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Part = np.ndarray  # (K, 2) float64 x, y in pixels, K of at least 3


class Outlines:
    """The outlines of the objects of one image; an object may have several parts. Never changed in place."""

    def __init__(self, objects: Sequence[Sequence[Part]]) -> None:
        self.objects = [list(parts) for parts in objects]

    @classmethod
    def from_coco(cls, objects: Sequence[Sequence[Sequence[float]]]) -> Outlines:
        """Returns the outlines of COCO polygons, per object a list of [x1, y1, x2, y2, ...]."""
        return cls([[np.asarray(part, float).reshape(-1, 2) for part in parts] for parts in objects])

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[list[Part]]:
        return iter(self.objects)

    def select(self, keep: Sequence[bool]) -> Outlines:
        """Returns the objects whose flag is set."""
        return Outlines([parts for parts, kept in zip(self.objects, keep, strict=True) if kept])

    def joined(self, others: Sequence[Outlines]) -> Outlines:
        """Returns these objects followed by those of ``others``."""
        return Outlines(sum((one.objects for one in others), self.objects))

    def moved(self, scale: tuple[float, float], offset: tuple[float, float]) -> Outlines:
        """Returns the outlines after x, y -> x * scale + offset."""
        factor, shift = np.array(scale), np.array(offset)
        return Outlines([[part * factor + shift for part in parts] for parts in self.objects])

    def mirrored(self, width: float) -> Outlines:
        """Returns the outlines mirrored left to right on a canvas ``width`` pixels wide."""
        return self.moved((-1.0, 1.0), (width, 0.0))

    def clipped(self, width: float, height: float) -> Outlines:
        """Returns the outlines cut to 0..width, 0..height; objects that lie outside have no parts left."""
        return Outlines([[cut for part in parts for cut in _clip(part, width, height)] for parts in self.objects])

    def boxes(self) -> np.ndarray:
        """Returns the boxes (G, 4) x1 y1 x2 y2 around the outlines; zeros for an object without parts."""
        found = np.zeros((len(self), 4))
        for box, parts in zip(found, self.objects, strict=True):
            if parts:
                points = np.concatenate(parts)
                box[:2], box[2:] = points.min(0), points.max(0)
        return found


def _clip(part: Part, width: float, height: float) -> list[Part]:
    """Returns the part inside the canvas, as no or one polygon (edges along the border may run to and fro)."""
    low, high = part.min(0), part.max(0)
    if low[0] >= 0 and low[1] >= 0 and high[0] <= width and high[1] <= height:
        return [part]
    if high[0] <= 0 or high[1] <= 0 or low[0] >= width or low[1] >= height:
        return []
    for axis, limit, sign in ((0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)):
        part = _cut(part, axis, limit, sign)
        if len(part) < 3:
            return []
    return [part]


def _cut(part: Part, axis: int, limit: float, sign: float) -> Part:
    """Returns what lies on one side of a line (Sutherland and Hodgman 1974): sign * (coordinate - limit) >= 0."""
    distance = sign * (part[:, axis] - limit)
    inside = distance >= 0
    if inside.all():
        return part
    following, after = np.roll(part, -1, axis=0), np.roll(distance, -1)
    crosses = inside != (after >= 0)
    share = np.divide(distance, distance - after, out=np.zeros_like(distance), where=crosses)
    crossing = part + share[:, None] * (following - part)
    crossing[:, axis] = limit
    # Each corner that is kept, followed by the crossing on the edge that leaves it.
    both = np.stack([part, crossing], axis=1).reshape(-1, 2)
    return both[np.stack([inside, crosses], axis=1).reshape(-1)]
