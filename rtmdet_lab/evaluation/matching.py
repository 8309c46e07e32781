"""Who matched whom: detections and objects of boxes, masks and rotated boxes, kept so that AP can be computed again.

One matcher with the rules of two benchmarks. COCO: a detection, best first, takes the free object of its class it overlaps
most. DOTA: it belongs to the object it overlaps most, free or not. The overlap is that of the task: boxes, masks (a crowd's
is the share of the detection inside it), or rotated boxes. Numbers equal those of pycocotools and of
:mod:`rtmdet_lab.evaluation.dota`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.evaluation.dota import IOU_THRESHOLDS as DOTA_THRESHOLDS
from rtmdet_lab.geometry.rotated import rotated_iou

Kind = Literal["bbox", "segm", "rotated"]
# In the benchmarks' own floating point numbers: an overlap of exactly 0.6 must fall on the same side.
THRESHOLDS = {"bbox": np.linspace(0.5, 0.95, 10), "segm": np.linspace(0.5, 0.95, 10), "rotated": np.array(DOTA_THRESHOLDS)}
RECALLS = {"bbox": np.linspace(0, 1, 101), "segm": np.linspace(0, 1, 101), "rotated": np.arange(0, 1 + 1e-3, 0.1)}
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # pixels^2, as in COCO
MOST = {"bbox": 100, "segm": 100, "rotated": None}  # detections per image and class that count


@dataclass
class Objects:
    """Objects or detections of one image, N of them, in the order of their file."""

    boxes: np.ndarray  # (N, 4) float64 x y width height, or (N, 5) float32 cx cy w h angle; pixels, radians
    labels: np.ndarray  # (N,) int64
    scores: np.ndarray | None = None  # (N,) of detections
    masks: list[dict[str, Any]] | None = None  # N compressed run lengths
    ignore: np.ndarray | None = None  # (N,) bool of ground truth: crowd or difficult; None for none
    areas: np.ndarray | None = None  # (N,) float64 pixels^2 as annotated; None: of the masks, or of the boxes
    ids: Sequence[Any] | None = None  # of annotations: their ids in a COCO file, their lines in a label file

    def __post_init__(self) -> None:
        if self.ignore is None:
            self.ignore = np.zeros(len(self.boxes), dtype=bool)
        if self.areas is None and self.masks:
            self.areas = np.asarray(coco_mask.area(self.masks), dtype=np.float64)
        elif self.areas is None:
            self.areas = self.boxes[:, 2].astype(np.float64) * self.boxes[:, 3]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass
class ImagePair:
    """The ground truth and the detections of one image."""

    image_id: Any
    path: str | None
    size: tuple[int, int]  # height, width
    truth: Objects
    found: Objects


def overlaps(found: Objects, truth: Objects, kind: Kind) -> np.ndarray:
    """Returns the overlap (D, G) of every detection with every object, classes aside."""
    if not len(found) or not len(truth):
        return np.zeros((len(found), len(truth)))
    if kind == "rotated":
        boxes = (torch.from_numpy(np.asarray(one.boxes, dtype=np.float32)) for one in (found, truth))
        return rotated_iou(*boxes).numpy()
    crowd = truth.ignore.astype(np.uint8).tolist()
    if kind == "segm":
        return np.asarray(coco_mask.iou(found.masks, truth.masks, crowd))
    boxes = (np.asarray(one.boxes, dtype=np.float64) for one in (found, truth))
    return np.asarray(coco_mask.iou(*boxes, crowd))


@dataclass
class Matches:
    """What D detections matched among G objects, over all images. Rows follow the images, then their files.

    ``matched`` is the row of the object a detection took at each threshold, -1 where it took none; a detection that took an
    ignored object, or is over the benchmark's limit, does not count.
    """

    kind: Kind
    classes: tuple[str, ...]
    thresholds: np.ndarray  # (T,)
    image: np.ndarray  # (D,) number of the image
    labels: np.ndarray  # (D,)
    scores: np.ndarray  # (D,)
    matched: np.ndarray  # (T, D) int64
    counted: np.ndarray  # (T, D) bool
    truth_image: np.ndarray  # (G,)
    truth_labels: np.ndarray  # (G,)
    ignored: np.ndarray  # (G,) bool: crowd, difficult, or not of the size that is looked at

    @property
    def right(self) -> np.ndarray:
        """(T, D) bool: true positives."""
        return (self.matched >= 0) & self.counted

    @property
    def objects(self) -> np.ndarray:
        """(C,) objects that count, by class."""
        return np.bincount(self.truth_labels[~self.ignored], minlength=len(self.classes))

    def average_precision(self) -> np.ndarray:
        """Returns AP (T, C); NaN for classes without objects."""
        right = self.right
        rows = [
            average_precision(self.labels, self.scores, right[t], self.counted[t], self.objects, RECALLS[self.kind])
            for t in range(len(self.thresholds))
        ]
        return np.array(rows).reshape(len(self.thresholds), len(self.classes))

    def summary(self) -> dict[str, float]:
        """Returns AP (mean over the thresholds) and AP50, AP75 where those were matched; -1 without objects."""
        ap = self.average_precision()
        numbers = {"AP": ap} | {
            f"AP{round(100 * value)}": ap[number]
            for number, value in enumerate(self.thresholds)
            if round(100 * value) in (50, 75)
        }
        return {name: _mean(values) for name, values in numbers.items()}


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else -1.0


def average_precision(
    labels: np.ndarray,
    scores: np.ndarray,
    right: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
    recalls: np.ndarray,
) -> np.ndarray:
    """Returns AP (C,) from D detections: the mean over ``recalls`` of the best precision there or further on.

    Args:
        labels, scores, right, counted: (D,); ties in score keep the order of the rows.
        objects: (C,) how many there are to find; NaN where none.
    """
    result = np.where(objects > 0, 0.0, np.nan)
    rows = np.flatnonzero(counted)
    rows = rows[np.argsort(-scores[rows], kind="stable")]
    by_class = np.argsort(labels[rows], kind="stable")
    rows = rows[by_class]
    ends = np.searchsorted(labels[rows], np.arange(len(objects) + 1))
    for label in np.flatnonzero(objects > 0):
        true = np.cumsum(right[rows[ends[label] : ends[label + 1]]])
        if len(true) and true[-1]:
            precision = true / np.arange(1, len(true) + 1)
            envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
            result[label] = envelope[np.searchsorted(true / objects[label], recalls, side="left")].mean()
    return result


def match_images(
    pairs: Iterable[ImagePair],
    classes: Sequence[str],
    kind: Kind,
    thresholds: Sequence[float] | None = None,
    size: str | None = None,
) -> Matches:
    """Returns the matches of all images.

    Args:
        pairs: in the order of ascending image ids, as pycocotools has them; ties between images are broken by it.
        thresholds: least overlaps; None takes the benchmark's ten.
        size: "small", "medium" or "large": objects of other sizes become ignored, unmatched detections of other sizes
            do not count, as in COCO's APs, APm, APl (for rotated boxes by the area of the box).
    """
    at = THRESHOLDS[kind] if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    parts = [match_pair(pair, overlaps(pair.found, pair.truth, kind), kind, at, size) for pair in pairs]
    return join_matches(parts, classes, kind, at)


PairMatch = tuple[Objects, Objects, np.ndarray, np.ndarray, np.ndarray]  # found, truth, matched, counted, ignored


def match_pair(pair: ImagePair, iou: np.ndarray, kind: Kind, thresholds: np.ndarray, size: str | None = None) -> PairMatch:
    """Returns (found, truth, matched (T, D), counted (T, D), ignored (G,)) of one image, from its overlaps (D, G)."""
    found, truth = pair.found, pair.truth
    low, high = SIZES[size] if size else (0.0, np.inf)
    ignored = truth.ignore | (truth.areas < low) | (truth.areas > high)
    matched = np.full((len(thresholds), len(found)), -1, dtype=np.int64)
    counted = np.zeros((len(thresholds), len(found)), dtype=bool)
    best_first = np.argsort(-found.scores, kind="stable")
    for label in np.unique(found.labels):
        rows = best_first[found.labels[best_first] == label][: MOST[kind]]
        objects = np.flatnonzero(truth.labels == label)
        objects = objects[np.argsort(ignored[objects], kind="stable")]  # those that count come first
        take = _take_argmax if kind == "rotated" else _take_free
        block = iou[np.ix_(rows, objects)]
        taken, doubles = take(block, ignored[objects], truth.ignore[objects], thresholds)
        hit = taken >= 0
        index = np.where(hit, objects[taken] if len(objects) else -1, -1)
        outside = (found.areas[rows] < low) | (found.areas[rows] > high)
        matched[:, rows] = index
        counted[:, rows] = np.where(hit, ~ignored[index] if len(ignored) else False, ~outside | doubles)
    return found, truth, matched, counted, ignored


def _take_free(
    iou: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the object (T, D) each detection, best first, takes among those free: COCO's rule; -1 for none.

    Objects that count are taken before ignored ones, crowds any number of times; of equal overlaps the last wins.
    """
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    taken = np.full((len(thresholds), len(iou)), -1, dtype=np.int64)
    if not iou.size:
        return taken, np.zeros_like(taken, dtype=bool)
    free = np.ones((len(thresholds), iou.shape[1]), dtype=bool)
    last = iou.shape[1] - 1
    every = np.arange(len(thresholds))
    for number in np.flatnonzero(iou.max(1) >= least[0]):
        fits = (iou[number] >= least) & free
        counting = fits & ~ignored
        fits = np.where(counting.any(1)[:, None], counting, fits)
        best = last - np.where(fits, iou[number], -1.0)[:, ::-1].argmax(1)
        hit = fits[every, best]
        taken[hit, number] = best[hit]
        free[every[hit], best[hit]] = crowd[best[hit]]
    return taken, np.zeros_like(taken, dtype=bool)


def _take_argmax(
    iou: np.ndarray, ignored: np.ndarray, crowd: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the object (T, D) each detection takes and which are further ones of it: DOTA's rule.

    A detection belongs to the object it overlaps most; the first gets it, those after it are wrong. Ignored objects take
    any number.
    """
    taken = np.full((len(thresholds), len(iou)), -1, dtype=np.int64)
    doubles = np.zeros_like(taken, dtype=bool)
    if not iou.size:
        return taken, doubles
    most, owner = iou.max(1), iou.argmax(1)
    for number, least in enumerate(thresholds.tolist()):
        hit = np.flatnonzero(most >= least)
        taken[number, hit] = owner[hit]
        first = np.zeros(len(iou), dtype=bool)
        first[hit[np.unique(owner[hit], return_index=True)[1]]] = True
        doubles[number, hit] = ~first[hit] & ~ignored[owner[hit]]
    taken[doubles] = -1
    return taken, doubles


def join_matches(parts: Sequence[PairMatch], classes: Sequence[str], kind: Kind, thresholds: np.ndarray) -> Matches:
    """Returns the matches of all images from those of each."""

    def joined(arrays: list[np.ndarray], dtype: Any, axis: int = 0) -> np.ndarray:
        empty = np.zeros((len(thresholds), 0) if axis else 0, dtype)
        return np.concatenate([empty, *arrays], axis=axis).astype(dtype)

    starts = np.cumsum([0] + [len(truth) for _, truth, *_ in parts])
    shifted = [np.where(part[2] >= 0, part[2] + starts[number], -1) for number, part in enumerate(parts)]
    return Matches(
        kind,
        tuple(classes),
        np.asarray(thresholds),
        joined([np.full(len(part[0]), number) for number, part in enumerate(parts)], np.int64),
        joined([part[0].labels for part in parts], np.int64),
        joined([part[0].scores for part in parts], np.float64),
        joined(shifted, np.int64, 1),
        joined([part[3] for part in parts], bool, 1),
        joined([np.full(len(part[1]), number) for number, part in enumerate(parts)], np.int64),
        joined([part[1].labels for part in parts], np.int64),
        joined([part[4] for part in parts], bool),
    )
