"""COCO segmentations as they come in files: polygons, run lengths, compressed or not; what makes one unusable."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rtmdet_lab.geometry.masks import Polygons, decode_segmentation
from rtmdet_lab.geometry.tracing import mask_to_polygons

_MAX_COORDINATE = 1e6  # pixels; pycocotools walks along every edge, and crashes where it is too long for it
LEAST_AGREEMENT = 0.1  # IoU of the annotated box with the box around the polygons; below, one of the two is wrong


def to_polygons(segmentation: Any, size: tuple[int, int]) -> Polygons:
    """Returns the polygons of a checked segmentation; run lengths are traced along their pixels, holes included."""
    if isinstance(segmentation, Mapping):
        return mask_to_polygons(decode_segmentation(segmentation, size))
    return segmentation


def segmentation_problem(segmentation: Any, bbox: Sequence[float], size: tuple[int, int] | None) -> str | None:
    """Returns what makes a segmentation unusable, or None.

    Args:
        bbox: x, y, width, height of the annotation.
        size: (height, width) of the image, None where it is not known.
    """
    if isinstance(segmentation, Mapping):
        return _run_length_problem(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return "has no segmentation: polygons or run lengths are needed for the task 'instance'"
    for part in segmentation:
        if not isinstance(part, list) or len(part) % 2 or not all(_is_number(value) for value in part):
            return "has a polygon that is not a list of finite x, y pairs"
        if len(part) < 6:
            return f"has a polygon of {len(part) // 2} points, but at least 3 are needed"
    x = [value for part in segmentation for value in part[::2]]
    y = [value for part in segmentation for value in part[1::2]]
    far = max(x + y, key=abs)
    if abs(far) > _MAX_COORDINATE:
        return f"has a polygon with the coordinate {far:g}, which is no place in an image"
    if size is not None and (min(x) >= size[1] or min(y) >= size[0] or max(x) <= 0 or max(y) <= 0):
        return "has a polygon outside of its image"
    # A pixel of slack to each side: thin objects are often drawn as a line.
    around = (min(x) - 1, min(y) - 1, max(x) + 1, max(y) + 1)
    box = (bbox[0] - 1, bbox[1] - 1, bbox[0] + bbox[2] + 1, bbox[1] + bbox[3] + 1)
    if _iou(around, box) < LEAST_AGREEMENT:
        return "has a polygon that disagrees with its bbox"
    return None


def _run_length_problem(segmentation: Mapping[str, Any], size: tuple[int, int] | None) -> str | None:
    own, counts = segmentation.get("size"), segmentation.get("counts")
    whole = isinstance(own, list) and len(own) == 2 and all(type(side) is int and side > 0 for side in own)
    if not whole or not isinstance(counts, (list, str)):
        return "has run lengths without a size of two whole numbers and counts"
    if size is not None and tuple(own) != tuple(size):
        return f"has run lengths of size {own}, but its image has {list(size)}"
    if isinstance(counts, str):
        counts = _unpacked(counts)
        if counts is None:
            return "has compressed run lengths that cannot be unpacked"
    if not all(type(count) is int and count >= 0 for count in counts):
        return "has run lengths that are not whole numbers"
    if sum(counts) != own[0] * own[1]:
        return f"has run lengths of {sum(counts)} pixels in all, but {own[0]} x {own[1]} are needed"
    return None


def _unpacked(text: str) -> list[int] | None:
    """Returns the counts in COCO's compressed text, None where a character is none of its own or a number has no end.

    A character holds five bits, lowest first, above 48; bit 5 says that more follow, bit 4 of the last is the sign. From
    the fourth count on, the difference to the last but one is kept. pycocotools decodes a text that is too short without
    a word and leaves the other pixels as they were in memory.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return None if shift else counts


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
