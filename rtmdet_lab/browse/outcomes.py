"""What became of each detection and object of an image: found, missed, or which of five mistakes.

The kinds of mistakes are those of TIDE (Bolya et al. 2020), with the overlap of the task: boxes, masks (a crowd's is the
share of the detection inside it) or rotated boxes. Who finds whom follows the benchmarks at an overlap of 0.5: in COCO a
detection, best first, takes the free object of its class it overlaps most; in DOTA it belongs to the one it overlaps most,
free or not.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.source import KIND, ImagePair, Objects, Rows, shapes
from rtmdet_lab.geometry.rotated import rotated_iou

FOREGROUND = 0.5  # least overlap of a detection that found its object
BACKGROUND = 0.1  # least overlap of a detection that has to do with an object at all
BOUNDARY = 0.02  # width of a mask's boundary, of the image's diagonal (Cheng et al. 2021)


def judge(pair: ImagePair, kind: str) -> Rows:
    """Returns what is known of an image's detections and objects.

    Detections: "error" (see :data:`~rtmdet_lab.browse.source.KINDS`), "iou" with the object it is judged by, and where it is
    a true positive "boundary_iou" of masks; of rotated boxes "offset" (between centers, of the object's size) and
    "angle_error" (radians, up to pi/2) from the object of any class it overlaps most. Objects: "crowding", the largest
    overlap with another object of their class, and whether they are missed: counted, and no true positive on them.

    Args:
        kind: "bbox", "segm" or "rotated".
    """
    found, truth = pair.found, pair.truth
    iou = overlaps(found, truth, kind)
    same = found.labels[:, None] == truth.labels[None]
    ignore = np.zeros(len(truth), dtype=bool) if truth.ignore is None else truth.ignore
    kinds, used, taken = [""] * len(found), np.full(len(found), np.nan), np.full(len(found), -1)
    free = ~ignore
    for row in np.argsort(-found.scores, kind="stable").tolist():
        kinds[row], used[row], taken[row] = _judge_one(iou[row], same[row], ignore, free, kind == "rotated")
        if taken[row] >= 0:
            free[taken[row]] = False
    told = {KIND: kinds, "iou": used.tolist()}
    if kind == "segm":
        told["boundary_iou"] = [
            boundary_iou(found.masks[row], truth.masks[taken[row]]) if taken[row] >= 0 else None for row in range(len(found))
        ]
    if kind == "rotated":
        told |= _turns(found, truth, iou)
    objects = {**shapes(truth, pair.size), "crowding": _crowding(truth, kind), "ignored": ignore.tolist()}
    return Rows({**shapes(found, pair.size), **told}, objects, free)


def _judge_one(
    iou: np.ndarray, same: np.ndarray, ignore: np.ndarray, free: np.ndarray, rotated: bool
) -> tuple[str, float, int]:
    """Returns (kind, overlap, object taken or -1) of a detection from its overlaps (G,) and which objects are free (G,)."""
    if not len(iou):
        return "background", math.nan, -1
    own = np.where(same, iou, 0.0)
    if rotated:
        best = int(own.argmax())
        if own[best] >= FOREGROUND and (free[best] or ignore[best]):
            return ("ignored", own[best], -1) if ignore[best] else ("true positive", own[best], best)
    else:
        open_to_it = np.where(free, own, 0.0)
        best = int(open_to_it.argmax())
        if open_to_it[best] >= FOREGROUND:
            return "true positive", open_to_it[best], best
        if (own[ignore] >= FOREGROUND).any():
            return "ignored", own[ignore].max(), -1
    own, other = own[~ignore].max(initial=0.0), np.where(same | ignore, 0.0, iou).max()
    if own >= FOREGROUND:
        return "duplicate", own, -1
    if other >= FOREGROUND:
        return "class", other, -1
    if own >= BACKGROUND:
        return "localization", own, -1
    if other >= BACKGROUND:
        return "class and localization", other, -1
    return "background", max(own, other), -1


def overlaps(found: Objects, truth: Objects, kind: str) -> np.ndarray:
    """Returns the overlap (D, G) of every detection with every object, classes aside."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    if kind == "rotated":
        boxes = (torch.from_numpy(np.asarray(one.boxes, dtype=np.float32)) for one in (found, truth))
        return rotated_iou(*boxes).numpy().astype(np.float64)
    crowd = [0] * len(truth) if truth.ignore is None else truth.ignore.astype(np.uint8).tolist()
    if kind == "segm":
        return np.asarray(coco_mask.iou(found.masks, truth.masks, crowd))
    return np.asarray(coco_mask.iou(np.asarray(found.boxes, np.float64), np.asarray(truth.boxes, np.float64), crowd))


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
