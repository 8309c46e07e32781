"""From a pixel mask to COCO's two segmentation forms, both exact: filling them gives the mask back, pixel for pixel.

Polygons follow the edges of the pixels, so their corners are whole numbers. A hole is joined to the outline around it by a
cut walked in both directions (a keyhole): a polygon list cannot mark holes in any other way, and readers that know only
polygons then still leave the hole out.
"""

from __future__ import annotations

import cv2
import numpy as np

# Headings along pixel edges with the inside on the right: right, down, left, up.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def mask_to_polygons(mask: np.ndarray, left: int = 0, top: int = 0) -> list[list[float]]:
    """Returns the polygons [x1, y1, x2, y2, ...] of a mask, one per part (parts that touch at a corner are two).

    Args:
        mask: (h, w) bool.
        left, top: position of the mask's first pixel in its image, in pixels.

    >>> mask_to_polygons(np.array([[True, True]]), left=3)
    [[3.0, 0.0, 5.0, 0.0, 5.0, 1.0, 3.0, 1.0]]
    """
    loops = _trace(mask)
    outer = [loop for loop in loops if _signed_area(loop) > 0]
    holes = [loop for loop in loops if _signed_area(loop) < 0]
    holes_of: list[list[np.ndarray]] = [[] for _ in outer]
    for hole in holes:
        holes_of[_around(outer, hole)].append(hole)
    polygons = []
    for loop, inside in zip(outer, holes_of, strict=True):
        corners = _without_straight(_join_holes(loop, inside)) + np.array([left, top])
        polygons.append([float(value) for value in corners.ravel()])
    return polygons


def mask_to_rle(mask: np.ndarray) -> dict[str, list[int]]:
    """Returns a mask (H, W) bool of a whole image as COCO's uncompressed run lengths, column by column, zeros first.

    >>> mask_to_rle(np.array([[False, True], [True, True]]))
    {'counts': [1, 3], 'size': [2, 2]}
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    if flat.size and flat[0]:
        counts = [0, *counts]
    return {"counts": counts, "size": list(mask.shape)}


def _trace(mask: np.ndarray) -> list[np.ndarray]:
    """Returns every closed loop of pixel edges, (N, 2) in unit steps, clockwise on the screen; holes run the other way."""
    padded = np.pad(mask.astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    # For each heading: the neighbour on the edge's outer side, and where the edge of pixel (x, y) starts.
    sides = (
        (padded[:-2, 1:-1], 0, 0),
        (padded[1:-1, 2:], 1, 0),
        (padded[2:, 1:-1], 1, 1),
        (padded[1:-1, :-2], 0, 1),
    )
    leaving: dict[tuple[int, int], list[int]] = {}
    for heading, (neighbour, right, down) in enumerate(sides):
        rows, columns = np.nonzero(inside & ~neighbour)
        for point in zip((columns + right).tolist(), (rows + down).tolist(), strict=True):
            leaving.setdefault(point, []).append(heading)
    loops = []
    while leaving:
        start, headings = next(iter(leaving.items()))
        point, heading, loop = start, headings[0], []
        while point in leaving:
            options = leaving[point]
            # Where two pixels touch at a corner, the right turn stays on the same pixel.
            heading = options[0] if len(options) == 1 else next(h for h in ((heading + 1) % 4, options[0]) if h in options)
            options.remove(heading)
            if not options:
                del leaving[point]
            loop.append(point)
            point = (point[0] + _STEPS[heading][0], point[1] + _STEPS[heading][1])
            if point == start:
                break
        loops.append(np.array(loop))
    return loops


def _signed_area(loop: np.ndarray) -> float:
    x, y = loop.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _around(outer: list[np.ndarray], hole: np.ndarray) -> int:
    """Returns the index of the smallest outer loop that encloses ``hole``."""
    point = tuple(float(value) for value in hole[0])
    enclosing = [
        (_signed_area(loop), index)
        for index, loop in enumerate(outer)
        if cv2.pointPolygonTest(loop.astype(np.float32), point, measureDist=False) > 0
    ]
    return min(enclosing)[1]


def _join_holes(loop: np.ndarray, holes: list[np.ndarray]) -> np.ndarray:
    """Returns one loop that walks to each hole, around it and back. The nearest hole first: its cut meets no other."""
    holes = list(holes)
    while holes:
        gaps = []
        for number, hole in enumerate(holes):
            distance = np.abs(loop[:, None] - hole[None]).sum(2)  # (outer points, hole points)
            at, entry = np.unravel_index(distance.argmin(), distance.shape)
            gaps.append((int(distance[at, entry]), number, int(at), int(entry)))
        _, number, at, entry = min(gaps)
        hole = holes.pop(number)
        around = np.concatenate([np.roll(hole, -entry, axis=0), hole[entry : entry + 1]])
        loop = np.concatenate([loop[: at + 1], around, loop[at:]])
    return loop


def _without_straight(loop: np.ndarray) -> np.ndarray:
    before = loop - np.roll(loop, 1, axis=0)
    after = np.roll(loop, -1, axis=0) - loop
    return loop[(before != after).any(axis=1)]
