"""What became of each detection and object of an image: found, missed, or which of five mistakes.

Who finds whom, and the kinds of mistakes, are those of :mod:`rtmdet_lab.analysis.errors` at an overlap of 0.5; here they
become attributes, with what else helps to sort: boundaries of masks, turns of rotated boxes, crowding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from rtmdet_lab.analysis.errors import KINDS, RIGHT, Errors
from rtmdet_lab.evaluation.matching import SIZES, Kind, Objects, class_overlaps
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of

KIND = "error"  # attribute of a detection, one of KINDS
BOUNDARY = 0.02  # width of a mask's boundary, of the image's diagonal (Cheng et al. 2021)

Columns = Mapping[str, Sequence[Any]]  # attribute -> a value per row; None or NaN where a row has none


@dataclass
class Rows:
    """What is known of one image's detections and objects, one value per row each."""

    detections: Columns
    truth: Columns
    missed: np.ndarray  # (G,) bool


def describe(errors: Errors) -> list[Rows]:
    """Returns what is known of each image's detections and objects.

    Detections: "error" (see :data:`~rtmdet_lab.analysis.errors.KINDS`), "iou" with the object it is judged by, and where it
    is a true positive "boundary_iou" of masks; of rotated boxes "offset" (between centers, of the object's size) and
    "angle_error" (radians, up to pi/2) from the object of any class it overlaps most. Objects: "crowding", the largest
    overlap with another object of their class, and whether they are missed: counted, and no true positive on them.
    """
    return [_describe_image(errors, number) for number in range(len(errors.pairs))]


def _describe_image(errors: Errors, number: int) -> Rows:
    pair, kind = errors.pairs[number], errors.matches.kind
    detections, truth = pair.detections, pair.truth
    rows, truth_rows = errors.rows_of(number)
    kinds, ious = errors.kinds[rows], errors.ious[rows]
    told: dict[str, Sequence[Any]] = {KIND: [KINDS[kind_number] for kind_number in kinds]}
    told["iou"] = ious.tolist() if len(truth) else [math.nan] * len(detections)
    if detections.masks is not None and truth.masks is not None and kind == "segm":
        taken = np.where(kinds == RIGHT, errors.objects[rows] - truth_rows.start, -1)
        told["boundary_iou"] = [
            boundary_iou(detections.masks[row], truth.masks[target]) if target >= 0 else None
            for row, target in enumerate(taken)
        ]
    if kind == "rotated":
        told |= _turns(detections, truth, np.maximum(errors.nearest[rows] - truth_rows.start, -1))
    known = {**shapes(truth, pair.size), "crowding": _crowding(truth, kind), "ignored": np.asarray(truth.ignore).tolist()}
    return Rows({**shapes(detections, pair.size), **told}, known, errors.missed[truth_rows])


def _crowding(truth: Objects, kind: Kind) -> list[float]:
    alike = Objects(truth.boxes, truth.labels, masks=truth.masks)  # crowds aside
    shared = class_overlaps(truth, alike, kind)
    np.fill_diagonal(shared, 0.0)
    return shared.max(1, initial=0.0).tolist()


def _turns(detections: Objects, truth: Objects, nearest: np.ndarray) -> dict[str, list[float]]:
    """Returns how far each detection's center and angle are from those of the object it overlaps most; NaN without one.

    Args:
        nearest: (D,) rows of the objects, -1 for none.
    """
    offset, turned = np.full(len(detections), np.nan), np.full(len(detections), np.nan)
    touching = np.flatnonzero(nearest >= 0)
    boxes = np.asarray(detections.boxes, np.float64)[touching]
    objects = np.asarray(truth.boxes, np.float64)[nearest[touching]]
    offset[touching] = np.hypot(*(boxes[:, :2] - objects[:, :2]).T) / np.sqrt(objects[:, 2] * objects[:, 3])
    # A box turned by half a turn is the same; written with its sides exchanged, it is turned by a quarter.
    angle, wanted = (box[:, 4] + np.where(box[:, 2] < box[:, 3], np.pi / 2, 0.0) for box in (boxes, objects))
    turned[touching] = np.abs((angle - wanted + np.pi / 2) % np.pi - np.pi / 2)
    return {"offset": offset.tolist(), "angle_error": turned.tolist()}


def boundary_iou(one: dict, other: dict) -> float:
    """Returns the overlap of two masks' inner boundaries, 2 % of the image's diagonal wide (Boundary IoU).

    Args:
        one, other: compressed run lengths of the same size.
    """
    height, width = one["size"]
    distance = max(round(BOUNDARY * math.hypot(height, width)), 1)
    first, second = (_boundary(mask, distance) for mask in (one, other))
    union = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / union) if union else 0.0


def _boundary(mask: dict, distance: int) -> np.ndarray:
    # The border of the image counts as outside, as published.
    padded = np.pad(coco_mask.decode(mask), 1)
    inside = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return (padded - inside)[1:-1, 1:-1].astype(bool)


def wrong_rows(rows: Rows) -> np.ndarray:
    """Returns which detections (D,) of an image are wrong, of whatever kind."""
    return np.array([kind not in ("true positive", "ignored") for kind in rows.detections[KIND]], dtype=bool)


def shapes(objects: Objects, size: tuple[int, int]) -> dict[str, list[Any]]:
    """Returns what the boxes alone tell: "size" by area as in COCO, "aspect" (longer over shorter side, at least 1) and
    "truncated" (within a pixel of the image's border, or beyond).

    Args:
        size: (height, width) of the image.
    """
    boxes = np.asarray(objects.boxes, dtype=np.float64)
    if not len(boxes):
        return {"size": [], "aspect": [], "truncated": []}
    width, height = boxes[:, 2], boxes[:, 3]
    names = list(SIZES)
    buckets = np.searchsorted([largest for _, largest in SIZES.values()][:-1], width * height, side="right")
    short, long = np.minimum(width, height), np.maximum(width, height)
    aspect = np.divide(long, short, out=np.full(len(boxes), np.nan), where=short > 0)
    if kind_of(boxes) is ROTATED:
        cos, sin = np.abs(np.cos(boxes[:, 4])), np.abs(np.sin(boxes[:, 4]))
        half = np.stack([width * cos + height * sin, width * sin + height * cos], 1) / 2
        low, high = boxes[:, :2] - half, boxes[:, :2] + half
    else:
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]
    truncated = (low < 1).any(1) | (high > np.array(size[::-1]) - 1).any(1)
    return {"size": [names[bucket] for bucket in buckets], "aspect": aspect.tolist(), "truncated": truncated.tolist()}
