"""Average precision from who matched whom: the one implementation for everything that COCO's libraries do not score.

Detections count best first; ties in score keep the order of the rows. Precision at a recall is the best one there or further
on. It is read at given recalls (COCO: 101, VOC 2007 and DOTA: 11), or its area is taken (VOC 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LARGEST_TABLE = 8_000_000  # numbers of draws times detections that are held at once


@dataclass(frozen=True)
class Curve:
    """Recall (D,) after each of D detections that count, and the best precision (D,) at that recall or a larger one."""

    recall: np.ndarray
    precision: np.ndarray

    def at(self, recalls: np.ndarray) -> np.ndarray:
        """Returns the precision at each of ``recalls``; 0 where it is never reached."""
        return np.append(self.precision, 0.0)[np.searchsorted(self.recall, recalls, side="left")]

    @property
    def area(self) -> float:
        return float((np.diff(self.recall, prepend=0.0) * self.precision).sum())


def precision_recall(right: np.ndarray, objects: int) -> Curve:
    """Returns the curve of detections that count.

    Args:
        right: (D,) bool, best first.
        objects: how many there are to find, at least 1.
    """
    true = np.cumsum(right)
    precision = true / np.arange(1, len(true) + 1)
    return Curve(true / objects, np.maximum.accumulate(precision[::-1])[::-1])


def best_first(labels: np.ndarray, scores: np.ndarray, classes: int) -> list[np.ndarray]:
    """Returns the rows of each class's detections, best first."""
    order = np.argsort(-scores, kind="stable")
    short = labels[order].astype(np.min_scalar_type(classes))  # short integers are sorted several times as fast
    order = order[np.argsort(short, kind="stable")]
    return np.split(order, np.searchsorted(labels[order], np.arange(1, classes))) if classes else []


def average_precision(
    labels: np.ndarray,
    scores: np.ndarray,
    right: np.ndarray,
    counted: np.ndarray,
    objects: np.ndarray,
    recalls: np.ndarray | None,
) -> np.ndarray:
    """Returns AP (T, C) at T overlaps; NaN for classes without objects.

    Args:
        labels, scores: (D,) of detections; labels in [0, C).
        right, counted: (T, D) bool: true positives, and which count at all.
        objects: (C,) how many there are to find.
        recalls: where precision is read; None takes the area.
    """
    result = np.tile(np.where(objects > 0, 0.0, np.nan), (len(right), 1))
    for label, rows in enumerate(best_first(labels, scores, len(objects))):
        if not objects[label]:
            continue
        for overlap in np.flatnonzero(right[:, rows].any(1)):
            chosen = rows[counted[overlap, rows]]
            curve = precision_recall(right[overlap, chosen], objects[label])
            result[overlap, label] = curve.area if recalls is None else curve.at(recalls).mean()
    return result


def mean_of_known(values: np.ndarray, otherwise: float = np.nan) -> float:
    """Returns the mean of what is not NaN."""
    values = np.asarray(values)
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else otherwise


@dataclass(frozen=True)
class _Ranked:
    """The D detections of one class that count at any overlap, best first."""

    image: np.ndarray  # (D,)
    right: np.ndarray  # (T, D)
    counted: np.ndarray  # (T, D)
    objects: np.ndarray  # (I,) float32: how many each image has to find


class DrawnPrecision:
    """AP of any draw of the images with replacement. What a detection matched does not change with it: a draw only weighs.

    Args:
        labels, scores, image: (D,) of detections; ``image`` is the number of each one's image, in [0, images).
        right, counted: (T, D) as :func:`average_precision` takes them.
        objects: (C, images) how many there are to find.
        recalls: where precision is read.
    """

    def __init__(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        image: np.ndarray,
        right: np.ndarray,
        counted: np.ndarray,
        objects: np.ndarray,
        recalls: np.ndarray,
    ) -> None:
        self.recalls = recalls
        self.classes = []
        anywhere = counted.any(0)
        for label, rows in enumerate(best_first(labels, scores, len(objects))):
            rows = rows[anywhere[rows]]
            found = _Ranked(image[rows], right[:, rows], counted[:, rows], objects[label].astype(np.float32))
            self.classes.append(found)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Returns AP (B,), mean over overlaps and classes, where image i occurs ``weights[b, i]`` times in draw b.

        Classes without objects in a draw are left out of its mean; NaN where that leaves none. Exact but for detections of
        one image with the very same score, whose copies a real repetition would sort in between.
        """
        weights = np.asarray(weights, dtype=np.float32)
        largest = max((len(ranked.image) for ranked in self.classes), default=0)
        chunk = max(LARGEST_TABLE // max(largest, 1), 1)
        return np.concatenate([self._of_draws(part) for part in np.split(weights, range(chunk, len(weights), chunk))])

    def _of_draws(self, weights: np.ndarray) -> np.ndarray:
        total, counted = np.zeros(len(weights)), np.zeros(len(weights))
        for ranked in self.classes:
            positives = weights @ ranked.objects  # (B,)
            counted += positives > 0
            if not len(ranked.image):
                continue
            heavy = weights[:, ranked.image]  # (B, D): a detection counts as often as its image was drawn
            seen = np.cumsum(heavy, axis=1)  # whole numbers: float32 holds them exactly
            for right, counts in zip(ranked.right, ranked.counted, strict=True):
                total += self._of_class(heavy, seen, positives, right, counts) / len(ranked.right)
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)

    def _of_class(
        self, heavy: np.ndarray, seen: np.ndarray, positives: np.ndarray, right: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """Returns the AP (B,) of one class at one overlap, 0 where it has no objects.

        Precision is highest, and recall grows, at the right detections alone: only there are the two looked at.
        """
        at, ignored = np.flatnonzero(right), np.flatnonzero(~counts)
        if not len(at):
            return np.zeros(len(heavy))
        true = np.cumsum(heavy[:, at], axis=1)
        seen = seen[:, at]
        if len(ignored):
            before = np.pad(np.cumsum(heavy[:, ignored], axis=1), ((0, 0), (1, 0)))
            seen = seen - before[:, np.searchsorted(ignored, at)]
        envelope = np.maximum.accumulate((true / np.maximum(seen, 1))[:, ::-1], axis=1)[:, ::-1]
        recall = true.astype(np.float64) / np.maximum(positives, 1)[:, None]
        reached = np.searchsorted(self.recalls, recall, side="right")  # recalls read up to each right detection
        return (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(self.recalls)
