"""What became of each detection and object of an image: found, missed, or which of five mistakes.

Who finds whom, and the kinds of mistakes, are those of :mod:`rtmdet_lab.analysis.errors` at an overlap of 0.5; here they
become attributes, with what else helps to sort: boundaries of masks, turns of rotated boxes, crowding.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from rtmdet_lab.analysis.errors import FOREGROUND, KINDS, RIGHT
from rtmdet_lab.analysis.errors import judge as judge_pair
from rtmdet_lab.browse.source import KIND, Rows, shapes
from rtmdet_lab.evaluation.matching import ImagePair, Kind, Objects, match_pair, overlaps

BOUNDARY = 0.02  # width of a mask's boundary, of the image's diagonal (Cheng et al. 2021)


def judge(pair: ImagePair, kind: Kind) -> Rows:
    """Returns what is known of an image's detections and objects.

    Detections: "error" (see :data:`~rtmdet_lab.analysis.errors.KINDS`), "iou" with the object it is judged by, and where it
    is a true positive "boundary_iou" of masks; of rotated boxes "offset" (between centers, of the object's size) and
    "angle_error" (radians, up to pi/2) from the object of any class it overlaps most. Objects: "crowding", the largest
    overlap with another object of their class, and whether they are missed: counted, and no true positive on them.

    Args:
        kind: "bbox", "segm" or "rotated".
    """
    found, truth = pair.found, pair.truth
    iou = overlaps(found, truth, kind)
    matched, counted = (part[0] for part in match_pair(pair, iou, kind, np.array([FOREGROUND]))[2:4])
    kinds, objects, used = judge_pair(pair, iou, matched, counted)
    taken = np.where(kinds == RIGHT, objects, -1)
    missed = ~truth.ignore
    missed[taken[taken >= 0]] = False
    told = {KIND: [KINDS[number] for number in kinds], "iou": used.tolist() if len(truth) else [math.nan] * len(found)}
    if kind == "segm":
        told["boundary_iou"] = [
            boundary_iou(found.masks[row], truth.masks[taken[row]]) if taken[row] >= 0 else None for row in range(len(found))
        ]
    if kind == "rotated":
        told |= _turns(found, truth, iou)
    known = {**shapes(truth, pair.size), "crowding": _crowding(truth, kind), "ignored": truth.ignore.tolist()}
    return Rows({**shapes(found, pair.size), **told}, known, missed)


def _crowding(truth: Objects, kind: str) -> list[float]:
    shared = overlaps(truth, Objects(truth.boxes, truth.labels, masks=truth.masks), kind)
    shared = np.where((truth.labels[:, None] == truth.labels[None]) & ~np.eye(len(truth), dtype=bool), shared, 0.0)
    return shared.max(1, initial=0.0).tolist()


def _turns(found: Objects, truth: Objects, iou: np.ndarray) -> dict[str, list[float]]:
    """Returns how far each detection's center and angle are from those of the object it overlaps most; NaN without one."""
    if not iou.size:
        return {"offset": [math.nan] * len(found), "angle_error": [math.nan] * len(found)}
    nearest, touched = iou.argmax(1), iou.max(1) > 0
    boxes, objects = np.asarray(found.boxes, np.float64), np.asarray(truth.boxes, np.float64)[nearest]
    size = np.sqrt(objects[:, 2] * objects[:, 3])
    offset = np.hypot(*(boxes[:, :2] - objects[:, :2]).T) / size
    # A box turned by half a turn is the same; written with its sides exchanged, it is turned by a quarter.
    angles = [box[:, 4] + np.where(box[:, 2] < box[:, 3], np.pi / 2, 0.0) for box in (boxes, objects)]
    turned = np.abs((angles[0] - angles[1] + np.pi / 2) % np.pi - np.pi / 2)
    told = {"offset": offset, "angle_error": turned}
    return {name: np.where(touched, value, np.nan).tolist() for name, value in told.items()}


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
