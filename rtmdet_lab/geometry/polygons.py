"""Object outlines as polygons, for as long as an image is moved about: scaled, shifted, mirrored, cut.

Moving corners costs nothing and loses nothing; only the last step fills pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

Part = np.ndarray  # (K, 2) float64 x, y in pixels, K of at least 3


class Outlines:
    """The outlines of the objects of one image; an object may have several parts. Never changed in place.

    All corners lie in one array, so that an image's outlines move at once: a mosaic has hundreds of parts.
    """

    def __init__(self, objects: Sequence[Sequence[Part]]) -> None:
        parts = [part for own in objects for part in own]
        self._points = np.concatenate(parts) if parts else np.zeros((0, 2))  # (N, 2), part after part
        self._lengths = np.array([len(part) for part in parts], dtype=np.int64)  # (K,) corners of each part
        self._owners = np.repeat(np.arange(len(objects)), [len(own) for own in objects])  # (K,) ascending
        self._count = len(objects)

    @classmethod
    def from_coco(cls, objects: Sequence[Sequence[Sequence[float]]]) -> Outlines:
        """Returns the outlines of COCO polygons, per object a list of [x1, y1, x2, y2, ...]."""
        parts = [part for own in objects for part in own]
        points = np.array(list(chain.from_iterable(parts)), dtype=np.float64).reshape(-1, 2)
        lengths = np.array([len(part) // 2 for part in parts], dtype=np.int64)
        owners = np.repeat(np.arange(len(objects)), [len(own) for own in objects])
        return cls.from_arrays(points, lengths, owners, len(objects))

    @classmethod
    def from_arrays(cls, points: np.ndarray, lengths: np.ndarray, owners: np.ndarray, count: int) -> Outlines:
        """Returns the outlines of ``count`` objects.

        Args:
            points: (N, 2) corners, part after part. lengths: (K,) corners of each part. owners: (K,) its object, ascending.
        """
        outlines = cls.__new__(cls)
        outlines._points, outlines._lengths, outlines._owners, outlines._count = points, lengths, owners, count
        return outlines

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[Part]]:
        """Yields each object's parts, views of the corners."""
        objects: list[list[Part]] = [[] for _ in range(self._count)]
        for owner, part in zip(self._owners.tolist(), self._parts(), strict=True):
            objects[owner].append(part)
        return iter(objects)

    def _parts(self) -> list[Part]:
        ends = self._lengths.cumsum().tolist()
        return [self._points[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _extremes(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest and the highest x, y of each part, (K, 2) both."""
        if not len(self._lengths):
            return np.zeros((0, 2)), np.zeros((0, 2))
        starts = self._lengths.cumsum() - self._lengths
        return np.minimum.reduceat(self._points, starts), np.maximum.reduceat(self._points, starts)

    def select(self, keep: Sequence[bool]) -> Outlines:
        """Returns the objects whose flag is set."""
        kept = np.asarray(keep, dtype=bool)
        if kept.shape != (self._count,):
            raise ValueError(f"{kept.size} flags for {self._count} objects")
        parts = kept[self._owners]
        points = self._points[np.repeat(parts, self._lengths)]
        owners = (kept.cumsum() - 1)[self._owners[parts]]
        return self.from_arrays(points, self._lengths[parts], owners, int(kept.sum()))

    def joined(self, others: Sequence[Outlines]) -> Outlines:
        """Returns these objects followed by those of ``others``."""
        every = [self, *others]
        counts = np.array([len(one) for one in every])
        before = (counts.cumsum() - counts).tolist()
        return self.from_arrays(
            np.concatenate([one._points for one in every]),
            np.concatenate([one._lengths for one in every]),
            np.concatenate([one._owners + first for one, first in zip(every, before, strict=True)]),
            int(counts.sum()),
        )

    def moved(self, scale: tuple[float, float], offset: tuple[float, float]) -> Outlines:
        """Returns the outlines after x, y -> x * scale + offset."""
        return self.from_arrays(self._points * np.array(scale) + np.array(offset), self._lengths, self._owners, self._count)

    def mirrored(self, width: float) -> Outlines:
        """Returns the outlines mirrored left to right on a canvas ``width`` pixels wide."""
        return self.moved((-1.0, 1.0), (width, 0.0))

    def clipped(self, width: float, height: float) -> Outlines:
        """Returns the outlines cut to 0..width, 0..height; objects that lie outside have no parts left."""
        low, high = self._extremes()
        limit = np.array([width, height])
        reaches = np.stack([low < 0, high > limit], axis=2).reshape(-1, 4)  # past the left, right, top, bottom
        meets = ((high > 0) & (low < limit)).all(axis=1)
        # A part that lies inside, if only as a line on the border, stays.
        meets |= ~reaches.any(axis=1)
        if meets.all() and not reaches.any():
            return self
        parts, kept = self._parts(), []
        for number in np.flatnonzero(meets).tolist():
            part = parts[number]
            for (axis, bound, sign), past in zip(_sides(width, height), reaches[number].tolist(), strict=True):
                if past and len(part) >= 3:
                    part = _cut(part, axis, bound, sign)
            if len(part) >= 3:
                kept.append((part, self._owners[number]))
        points = np.concatenate([part for part, _ in kept]) if kept else np.zeros((0, 2))
        lengths = np.array([len(part) for part, _ in kept], dtype=np.int64)
        return self.from_arrays(points, lengths, np.array([owner for _, owner in kept], dtype=np.int64), self._count)

    def boxes(self) -> np.ndarray:
        """Returns the boxes (G, 4) x1 y1 x2 y2 around the outlines; zeros for an object without parts."""
        found = np.zeros((self._count, 4))
        low, high = self._extremes()
        if len(low):
            first = np.flatnonzero(np.diff(self._owners, prepend=-1))  # of each object that has parts
            owners = self._owners[first]
            found[owners, :2], found[owners, 2:] = np.minimum.reduceat(low, first), np.maximum.reduceat(high, first)
        return found


def _sides(width: float, height: float) -> tuple[tuple[int, float, float], ...]:
    """Returns the axis, place and inward direction of the left, right, top and bottom of a canvas."""
    return (0, 0.0, 1.0), (0, width, -1.0), (1, 0.0, 1.0), (1, height, -1.0)


def _cut(part: Part, axis: int, limit: float, sign: float) -> Part:
    """Returns what lies on one side of a line (Sutherland and Hodgman 1974): sign * (coordinate - limit) >= 0."""
    distance = sign * (part[:, axis] - limit)
    inside = distance >= 0
    if inside.all():
        return part
    following, after = np.concatenate([part[1:], part[:1]]), np.concatenate([distance[1:], distance[:1]])
    crosses = inside != (after >= 0)
    share = np.divide(distance, distance - after, out=np.zeros_like(distance), where=crosses)
    crossing = part + share[:, None] * (following - part)
    crossing[:, axis] = limit
    # Each corner that is kept, followed by the crossing on the edge that leaves it.
    both = np.stack([part, crossing], axis=1).reshape(-1, 2)
    return both[np.stack([inside, crosses], axis=1).reshape(-1)]
