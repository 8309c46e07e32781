"""COCO segmentations as they come in files: polygons, run lengths, compressed or not; what makes one unusable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtmdet_lab.core.fields import MAX_COORDINATE, is_number
from rtmdet_lab.data.plausibility import AGREEMENT, disagreement
from rtmdet_lab.geometry.masks import Polygons, decode_segmentation
from rtmdet_lab.geometry.run_lengths import unpack_counts
from rtmdet_lab.geometry.tracing import mask_to_polygons


def to_polygons(segmentation: Any, size: tuple[int, int]) -> Polygons:
    """Returns the polygons of a checked segmentation; run lengths are traced along their pixels, holes included."""
    if isinstance(segmentation, Mapping):
        return mask_to_polygons(decode_segmentation(segmentation, size))
    return segmentation


def without_scraps(segmentation: Any) -> tuple[Any, int]:
    """Returns a segmentation without polygons of fewer than three points, and their number.

    Drawing tools leave such parts beside good ones; the published loader drops them, too. Where there are no others, all
    stay, and :func:`segmentation_problem` names them.
    """
    if not isinstance(segmentation, list):
        return segmentation, 0
    kept = [part for part in segmentation if not (isinstance(part, list) and len(part) < 6 and all(map(is_number, part)))]
    return (kept, len(segmentation) - len(kept)) if kept else (segmentation, 0)


def segmentation_problem(segmentation: Any, bbox: Sequence[float], size: tuple[int, int] | None) -> str | None:
    """Returns what makes a segmentation unusable, or None.

    Args:
        bbox: x, y, width, height of the annotation.
        size: (height, width) of the image, None where it is not known.
    """
    if isinstance(segmentation, Mapping):
        problem = _run_length_problem(segmentation, size)
    else:
        problem = _polygon_problem(segmentation, size)
    if problem:
        return problem
    around = outline_box(segmentation)
    if around is None:
        return None
    iou = disagreement(np.array([bbox], dtype=np.float64), np.array([around], dtype=np.float64))[0]
    if iou < AGREEMENT:
        kind = "run lengths" if isinstance(segmentation, Mapping) else "a polygon"
        return f"has {kind} that disagrees with its bbox (IoU {iou:.2f})"
    return None


def _polygon_problem(segmentation: Any, size: tuple[int, int] | None) -> str | None:
    if not isinstance(segmentation, list) or not segmentation:
        return "has no segmentation: polygons or run lengths are needed for the task 'instance'"
    for part in segmentation:
        if not isinstance(part, list) or len(part) % 2 or not all(map(is_number, part)):
            return "has a polygon that is not a list of finite x, y pairs"
        if len(part) < 6:
            return f"has a polygon of {len(part) // 2} points, but at least 3 are needed"
    x = [value for part in segmentation for value in part[::2]]
    y = [value for part in segmentation for value in part[1::2]]
    far = max(x + y, key=abs)
    if abs(far) > MAX_COORDINATE:  # pycocotools walks along every edge, and crashes where it is too long for it
        return f"has a polygon with the coordinate {far:g}, which is no place in an image"
    if size is not None and (min(x) >= size[1] or min(y) >= size[0] or max(x) <= 0 or max(y) <= 0):
        return "has a polygon outside of its image"
    return None


def _run_length_problem(segmentation: Mapping[str, Any], size: tuple[int, int] | None) -> str | None:
    own, counts = segmentation.get("size"), segmentation.get("counts")
    whole = isinstance(own, list) and len(own) == 2 and all(type(side) is int and side > 0 for side in own)
    if not whole or not isinstance(counts, (list, str)):
        return "has run lengths without a size of two whole numbers and counts"
    if size is not None and tuple(own) != tuple(size):
        return f"has run lengths of size {own}, but its image has {list(size)}"
    if isinstance(counts, str):
        unpacked, _, damaged = unpack_counts([counts])
        if damaged[0]:
            return "has compressed run lengths that cannot be unpacked"
        counts = unpacked.tolist()
    if not all(type(count) is int and count >= 0 for count in counts):
        return "has run lengths that are not whole numbers"
    if sum(counts) != own[0] * own[1]:
        return f"has run lengths of {sum(counts)} pixels in all, but {own[0]} x {own[1]} are needed"
    return None


def outline_box(segmentation: Any) -> tuple[float, float, float, float] | None:
    """Returns x1 y1 x2 y2 around a segmentation; None where there is nothing to go by.

    Nothing is checked: of a malformed segmentation, which a detector does not read, comes None or some box.
    """
    try:
        if isinstance(segmentation, Mapping):
            return _run_length_box(segmentation)
        x = [value for part in segmentation for value in part[::2]]
        y = [value for part in segmentation for value in part[1::2]]
        around = float(min(x)), float(min(y)), float(max(x)), float(max(y))
    except (TypeError, ValueError, OverflowError):
        return None
    return around if around[0] < around[2] and around[1] < around[3] else None


def outline_area(segmentation: Any) -> float | None:
    """Returns a segmentation's area in pixels^2, as COCO has it: of polygons by their corners, of run lengths by counting.

    None where it has none or is malformed.
    """
    try:
        if isinstance(segmentation, Mapping):
            return float(sum(_counts(segmentation)[1::2])) or None
        area = 0.0
        for part in segmentation:
            x, y = np.array(part[::2], dtype=np.float64), np.array(part[1::2], dtype=np.float64)
            area += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    except (TypeError, ValueError, OverflowError):
        return None
    return area if 0 < area < np.inf else None


def _run_length_box(segmentation: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Returns x1 y1 x2 y2 around the pixels of run lengths, which go down column by column."""
    height = segmentation["size"][0]
    ends = np.cumsum(_counts(segmentation))
    starts, ends = ends[::2][: len(ends) // 2], ends[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if not len(starts):
        return None
    several = starts // height < (ends - 1) // height  # runs over the foot of a column reach its top and its foot
    top = 0 if several.any() else (starts % height).min()
    foot = height if several.any() else ((ends - 1) % height).max() + 1
    return float((starts // height).min()), float(top), float(((ends - 1) // height).max() + 1), float(foot)


def _counts(segmentation: Mapping[str, Any]) -> list[int]:
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts, _, damaged = unpack_counts([counts])
        counts = None if damaged[0] else counts.tolist()
    if not isinstance(counts, list):
        raise ValueError("no run lengths")
    return counts
