"""Who matched whom: detections and objects of boxes, masks and rotated boxes, kept so that AP can be computed again.

One matcher with the rules of two benchmarks. Each detection has an order of preference among the objects of its class that
it overlaps enough; better detections choose before others. COCO: all of them, the one it overlaps most first. DOTA: only the
one it overlaps most, free or not. The overlap is that of the task: boxes, masks (a crowd's is the share of the detection
inside it), or rotated boxes. Numbers equal those of pycocotools and of the published DOTA evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.evaluation.average_precision import (
    Curve,
    DrawnPrecision,
    average_precision,
    best_first,
    mean_of_known,
    precision_recall,
)
from rtmdet_lab.geometry.rotated import rotated_iou

# What is scored, as benchmarks and files of results call it; no names of tasks.
Kind = Literal["bbox", "segm", "rotated"]
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}  # pixels^2, as in COCO


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

    def shapes(self, rows: np.ndarray) -> Objects:
        """Returns the boxes, masks and crowds of some rows: what overlaps are made of."""
        masks = None if self.masks is None else [self.masks[row] for row in rows]
        return Objects(self.boxes[rows], self.labels[rows], None, masks, self.ignore[rows], self.areas[rows])


@dataclass
class ImagePair:
    """The ground truth and the detections of one image."""

    image_id: Any
    path: str | None
    size: tuple[int, int]  # height, width
    truth: Objects
    detections: Objects


def _box_overlaps(detections: Objects, truth: Objects) -> np.ndarray:
    boxes = (np.asarray(objects.boxes, dtype=np.float64) for objects in (detections, truth))
    return np.asarray(coco_mask.iou(*boxes, truth.ignore.astype(np.uint8).tolist()))


def _mask_overlaps(detections: Objects, truth: Objects) -> np.ndarray:
    return np.asarray(coco_mask.iou(detections.masks, truth.masks, truth.ignore.astype(np.uint8).tolist()))


def _rotated_overlaps(detections: Objects, truth: Objects) -> np.ndarray:
    boxes = (torch.from_numpy(np.asarray(objects.boxes, dtype=np.float32)) for objects in (detections, truth))
    return rotated_iou(*boxes).numpy()


@dataclass(frozen=True)
class Benchmark:
    """The rules a kind of shapes is scored by."""

    thresholds: np.ndarray  # (T,) least overlaps
    recalls: np.ndarray  # where precision is read
    overlap: Callable[[Objects, Objects], np.ndarray]
    nearest_alone: bool  # DOTA's rule: a detection belongs to the object it overlaps most, or to none
    most: int | None  # detections per image and class that count


# In the benchmarks' own floating point numbers: an overlap of exactly 0.6 must fall on the same side. COCO compares in
# float64, with 1 - 1e-10 for 1; DOTA in float32. DOTA's recall of 0.3 is a hair over 3 / 10, which does not reach it.
_COCO = (np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101))
_DOTA = (np.array([round(0.5 + 0.05 * step, 2) for step in range(10)]), np.arange(0, 1 + 1e-3, 0.1))
BENCHMARKS: dict[Kind, Benchmark] = {
    "bbox": Benchmark(*_COCO, _box_overlaps, nearest_alone=False, most=100),
    "segm": Benchmark(*_COCO, _mask_overlaps, nearest_alone=False, most=100),
    "rotated": Benchmark(*_DOTA, _rotated_overlaps, nearest_alone=True, most=None),
}


def overlaps(detections: Objects, truth: Objects, kind: Kind) -> np.ndarray:
    """Returns the overlap (D, G) of every detection with every object, classes aside."""
    if not len(detections) or not len(truth):
        return np.zeros((len(detections), len(truth)))
    return BENCHMARKS[kind].overlap(detections, truth)


def class_overlaps(detections: Objects, truth: Objects, kind: Kind) -> np.ndarray:
    """Returns the same, 0 where the classes differ."""
    iou = np.zeros((len(detections), len(truth)))
    for label in np.intersect1d(detections.labels, truth.labels):
        rows, columns = np.flatnonzero(detections.labels == label), np.flatnonzero(truth.labels == label)
        iou[np.ix_(rows, columns)] = overlaps(detections.shapes(rows), truth.shapes(columns), kind)
    return iou


@dataclass(frozen=True)
class Candidates:
    """What matching needs of one image: D detections, G objects, and the K pairs of them that may match."""

    labels: np.ndarray  # (D,)
    scores: np.ndarray  # (D,)
    areas: np.ndarray  # (D,) pixels^2
    truth_labels: np.ndarray  # (G,)
    ignore: np.ndarray  # (G,) bool: crowd or difficult
    truth_areas: np.ndarray  # (G,) pixels^2
    rows: np.ndarray  # (K,) of detections
    columns: np.ndarray  # (K,) of objects
    iou: np.ndarray  # (K,) over 0


def candidates(detections: Objects, truth: Objects, kind: Kind, iou: np.ndarray | None = None) -> Candidates:
    """Returns which detections and objects of an image may match.

    Args:
        iou: (D, G) of :func:`overlaps`, where they are known already.
    """
    if iou is None:
        iou = class_overlaps(detections, truth, kind)
    else:
        iou = np.where(detections.labels[:, None] == truth.labels, iou, 0.0)
    chosen = iou > 0
    if BENCHMARKS[kind].nearest_alone:  # several where they overlap by exactly as much: which one depends on what counts
        chosen &= iou == iou.max(1, keepdims=True, initial=0.0)
    rows, columns = chosen.nonzero()
    return Candidates(
        detections.labels,
        np.asarray(detections.scores, dtype=np.float64),
        detections.areas,
        truth.labels,
        truth.ignore,
        truth.areas,
        rows,
        columns,
        iou[rows, columns],
    )


@dataclass
class Matches:
    """What D detections matched among G objects, over all images. Rows follow the images, then their files.

    ``matched`` is the row of the object a detection took at each threshold, -1 where it took none; a detection that took an
    ignored object, or is over the benchmark's limit, does not count.
    """

    kind: Kind
    classes: tuple[str, ...]
    images: tuple[Any, ...]  # their ids
    thresholds: np.ndarray  # (T,)
    image: np.ndarray  # (D,) number of the image
    labels: np.ndarray  # (D,)
    scores: np.ndarray  # (D,)
    matched: np.ndarray  # (T, D) int64
    iou: np.ndarray  # (T, D) with the object matched, 0 where there is none
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

    def average_precision(self, area: bool = False) -> np.ndarray:
        """Returns AP (T, C), at the benchmark's recalls or as the area under the curve; NaN for classes without objects."""
        recalls = None if area else BENCHMARKS[self.kind].recalls
        return average_precision(self.labels, self.scores, self.right, self.counted, self.objects, recalls)

    def drawn_precision(self) -> DrawnPrecision:
        """Returns what scores draws of the images."""
        objects = np.zeros((len(self.classes), len(self.images)))
        np.add.at(objects, (self.truth_labels[~self.ignored], self.truth_image[~self.ignored]), 1)
        recalls = BENCHMARKS[self.kind].recalls
        return DrawnPrecision(self.labels, self.scores, self.image, self.right, self.counted, objects, recalls)

    def curves(self) -> list[Curve | None]:
        """Returns precision over recall at the first threshold, by class; None for classes without objects."""
        right, counted = self.right[0], self.counted[0]
        rows = best_first(self.labels, self.scores, len(self.classes))
        return [
            precision_recall(right[some[counted[some]]], objects) if objects else None
            for some, objects in zip(rows, self.objects, strict=True)
        ]

    def recall_by_image(self) -> list[tuple[int, float]]:
        """Returns (number of the image, share of its objects found) at the first threshold, worst first.

        Of two images with the same share, the one with more objects comes first; images without objects are left out.
        """
        found = np.bincount(self.image[self.right[0]], minlength=len(self.images))
        objects = np.bincount(self.truth_image[~self.ignored], minlength=len(self.images))
        share = found / np.maximum(objects, 1)
        order = np.lexsort((-objects, share))
        return [(int(number), float(share[number])) for number in order if objects[number]]

    def summary(self) -> dict[str, float]:
        """Returns AP (mean over the thresholds) and AP50, AP75 where those were matched; -1 without objects."""
        ap = self.average_precision()
        numbers = {"AP": ap} | {
            f"AP{round(100 * value)}": ap[number]
            for number, value in enumerate(self.thresholds)
            if round(100 * value) in (50, 75)
        }
        return {name: mean_of_known(values, otherwise=-1.0) for name, values in numbers.items()}


def match_images(
    pairs: Iterable[ImagePair],
    classes: Sequence[str],
    kind: Kind,
    thresholds: Sequence[float] | None = None,
    size: str | None = None,
) -> Matches:
    """Returns the matches of all images, see :func:`match_candidates`.

    Args:
        pairs: in the order of ascending image ids, as pycocotools has them; ties between images are broken by it.
    """
    pairs = list(pairs)
    images = [candidates(pair.detections, pair.truth, kind) for pair in pairs]
    return match_candidates(images, [pair.image_id for pair in pairs], classes, kind, thresholds, size)


def match_candidates(
    images: Sequence[Candidates],
    ids: Sequence[Any],
    classes: Sequence[str],
    kind: Kind,
    thresholds: Sequence[float] | None = None,
    size: str | None = None,
) -> Matches:
    """Returns the matches of all images.

    Args:
        ids: of the images.
        thresholds: least overlaps; None takes the benchmark's ten.
        size: "small", "medium" or "large": objects of other sizes become ignored, unmatched detections of other sizes
            do not count, as in COCO's APs, APm, APl (for rotated boxes by the area of the box).
    """
    rules = BENCHMARKS[kind]
    thresholds = rules.thresholds if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    least = thresholds.astype(np.float32) if rules.nearest_alone else np.minimum(thresholds, 1 - 1e-10)
    low, high = SIZES[size] if size else (0.0, np.inf)

    labels = _joined([entry.labels for entry in images], np.int64)
    scores = _joined([entry.scores for entry in images], np.float64)
    areas = _joined([entry.areas for entry in images], np.float64)
    ignore = _joined([entry.ignore for entry in images], bool)
    truth_areas = _joined([entry.truth_areas for entry in images], np.float64)
    image = np.repeat(np.arange(len(images)), [len(entry.labels) for entry in images])
    truth_image = np.repeat(np.arange(len(images)), [len(entry.truth_labels) for entry in images])
    ignored = ignore | (truth_areas < low) | (truth_areas > high)

    place, rank = _places(image, labels, scores)
    within = rank < (len(labels) if rules.most is None else rules.most)
    rows, columns = _rows_of_pairs(images)
    iou = _joined([entry.iou for entry in images], np.float64)
    usable = within[rows] & (iou >= least.min(initial=np.inf))
    rows, columns, iou = rows[usable], columns[usable], iou[usable]
    # Better detections first; of one, objects that count, then larger overlaps, then COCO's last and DOTA's first of equals.
    order = np.lexsort((columns if rules.nearest_alone else -columns, -iou, ignored[columns], place[rows]))
    rows, columns, iou = rows[order], columns[order], iou[order]
    if rules.nearest_alone:
        first = np.diff(rows, prepend=-1) != 0
        rows, columns, iou = rows[first], columns[first], iou[first]
    number, pair = np.nonzero(iou >= least[:, None])
    shared = ignored if rules.nearest_alone else ignore  # crowds take any number, in DOTA all that does not count
    accepted = _accepted(
        number * len(labels) + place[rows[pair]], number * len(ignored) + columns[pair], shared[columns[pair]]
    )

    shape = (len(thresholds), len(labels))
    matched, overlap, tried = np.full(shape, -1, dtype=np.int64), np.zeros(shape), np.zeros(shape, dtype=bool)
    tried[number, rows[pair]] = True
    number, pair = number[accepted], pair[accepted]
    matched[number, rows[pair]], overlap[number, rows[pair]] = columns[pair], iou[pair]
    inside = (areas >= low) & (areas <= high)
    if rules.nearest_alone:  # further detections of an object are wrong, whatever their size
        inside = inside | tried
    counted = np.where(matched >= 0, ~np.append(ignored, False)[matched], inside) & within
    return Matches(
        kind,
        tuple(classes),
        tuple(ids),
        thresholds,
        image,
        labels,
        scores,
        matched,
        overlap,
        counted,
        truth_image,
        _joined([entry.truth_labels for entry in images], np.int64),
        ignored,
    )


def _joined(arrays: Sequence[np.ndarray], dtype: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays]).astype(dtype)


def _rows_of_pairs(images: Sequence[Candidates]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of all pairs' detections and objects, counted over all images."""
    counts = np.array([(len(entry.labels), len(entry.truth_labels)) for entry in images], dtype=np.int64).reshape(-1, 2)
    starts = np.repeat(counts.cumsum(0) - counts, [len(entry.rows) for entry in images], axis=0)
    return (
        _joined([entry.rows for entry in images], np.int64) + starts[:, 0],
        _joined([entry.columns for entry in images], np.int64) + starts[:, 1],
    )


def _places(image: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each detection's place among all, by image, class and score, and its rank in its image and class."""
    order = np.lexsort((-scores, labels, image))
    numbers = np.arange(len(order))
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (np.diff(image[order]) != 0) | (np.diff(labels[order]) != 0)
    place, rank = np.empty_like(numbers), np.empty_like(numbers)
    place[order] = numbers
    rank[order] = numbers - np.maximum.accumulate(np.where(begins, numbers, 0))
    return place, rank


def _accepted(proposer: np.ndarray, target: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Returns the numbers of the proposals by which proposers get a target, where smaller proposers choose first.

    All propose at once; a target keeps the smallest, and whoever is refused proposes to its next: who gets what is the same
    as if they chose one after the other (Gale and Shapley 1962), in a few rounds instead of one per detection.

    Args:
        proposer: (P,) ascending; each one's proposals in the order of its preference.
        target: (P,) whom a proposal goes to.
        shared: (P,) bool: the target takes all who ask.
    """
    starts = np.flatnonzero(np.diff(proposer, prepend=-1))
    ends = np.append(starts[1:], len(proposer))
    cursor = starts.copy()
    nobody = len(starts)
    holder = np.full(target.max(initial=-1) + 1, nobody)
    active = np.arange(len(starts))
    while len(active):
        active = active[~shared[cursor[active]]]
        wanted = target[cursor[active]]
        before = holder[wanted]
        np.minimum.at(holder, wanted, active)
        now = holder[wanted]
        lost = np.unique(np.concatenate([active[now != active], before[(before != nobody) & (before != now)]]))
        cursor[lost] += 1
        active = lost[cursor[lost] < ends[lost]]
    return cursor[cursor < ends]
