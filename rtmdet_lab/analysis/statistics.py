"""Is a difference real? Means and intervals over seeds, and a paired bootstrap over validation images.

AP is no mean over images, so its spread over images is found by drawing the images again and again and scoring each draw.
What a detection matched does not depend on the other images; it is found once, and a draw only weighs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rtmdet_lab.evaluation.dota import IOU_THRESHOLDS, DotaEvaluator, answers

CONFIDENCE = 0.95
LARGEST_TABLE = 8_000_000  # numbers of draws times detections that are held at once
LEAST_SEEDS = 3  # fewer say nothing about the spread between runs

Verdict = Literal["supported", "contradicted", "not decidable at this budget"]


@dataclass(frozen=True)
class ImageMatches:
    """What the detections of a run matched, class by class, ready to be scored on any draw of the images.

    ``classes`` holds per class (scores (D,) best first, image (D,), right (T, D), counts (T, D), objects (images,)), where
    T are overlap thresholds, "right" are true positives and "counts" all but the ignored ones (on crowds and difficult
    objects); ``recalls`` are where precision is read.
    """

    images: tuple[Any, ...]  # ids, in the order the draws refer to
    classes: tuple[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], ...]
    recalls: np.ndarray

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Returns AP (B,), mean over thresholds and classes, where image i occurs ``weights[b, i]`` times in draw b.

        Classes without objects in a draw are left out of its mean; NaN where that leaves none. Exact but for detections of
        one image with the very same score, whose copies a real repetition would sort in between.
        """
        weights = np.asarray(weights, dtype=np.float32)
        largest = max((len(scores) for scores, *_ in self.classes), default=0)
        chunk = max(LARGEST_TABLE // max(largest, 1), 1)
        return np.concatenate([self._drawn(part) for part in np.split(weights, range(chunk, len(weights), chunk))])

    def _drawn(self, weights: np.ndarray) -> np.ndarray:
        total = np.zeros(len(weights))
        counted = np.zeros(len(weights))
        for scores, image, right, counts, objects in self.classes:
            positives = weights @ objects.astype(np.float32)  # (B,)
            counted += positives > 0
            if not len(scores):
                continue
            heavy = weights[:, image]  # (B, D): a detection counts as often as its image was drawn
            ranked = np.cumsum(heavy, axis=1)  # whole numbers: float32 holds them exactly
            for hit, count in zip(right, counts, strict=True):
                total += self._one(heavy, ranked, positives, hit, count) / len(right)
        return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)

    def _one(
        self, heavy: np.ndarray, ranked: np.ndarray, positives: np.ndarray, right: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """Returns the AP (B,) of one class at one threshold, 0 where it has no objects.

        Precision is highest, and recall grows, at the right detections alone: only there are the two looked at.
        """
        at, ignored = np.flatnonzero(right), np.flatnonzero(~counts)
        if not len(at):
            return np.zeros(len(heavy))
        true = np.cumsum(heavy[:, at], axis=1)
        seen = ranked[:, at]
        if len(ignored):
            before = np.pad(np.cumsum(heavy[:, ignored], axis=1), ((0, 0), (1, 0)))
            seen = seen - before[:, np.searchsorted(ignored, at)]
        envelope = np.maximum.accumulate((true / np.maximum(seen, 1))[:, ::-1], axis=1)[:, ::-1]
        recall = true.astype(np.float64) / np.maximum(positives, 1)[:, None]
        reached = np.searchsorted(self.recalls, recall, side="right")  # recalls read up to each right detection
        return (envelope * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(self.recalls)


def coco_matches(scored: Any) -> ImageMatches:
    """Returns the matches of a finished ``COCOeval``, over all areas and with its largest number of detections."""
    params = scored.params
    images = list(params.imgIds)
    areas, number = len(params.areaRng), len(images)
    classes = []
    for category in range(len(params.catIds)):
        start = category * areas * number
        entries = scored.evalImgs[start : start + number]  # area range 0 is "all"
        scores, image, right, counts = [], [], [], []
        objects = np.zeros(number)
        for position, entry in enumerate(entries):
            if entry is None:
                continue
            kept = min(len(entry["dtScores"]), params.maxDets[-1])
            ignored = np.asarray(entry["dtIgnore"], dtype=bool).reshape(len(params.iouThrs), -1)[:, :kept]
            matched = np.asarray(entry["dtMatches"]).reshape(len(params.iouThrs), -1)[:, :kept] > 0
            scores.append(np.asarray(entry["dtScores"], dtype=np.float64)[:kept])
            image.append(np.full(kept, position))
            right.append(matched & ~ignored)
            counts.append(~ignored)
            objects[position] = (~np.asarray(entry["gtIgnore"], dtype=bool)).sum()
        classes.append(_sorted(scores, image, right, counts, objects, len(params.iouThrs)))
    return ImageMatches(tuple(images), tuple(classes), np.asarray(params.recThrs))


def dota_matches(evaluator: DotaEvaluator) -> ImageMatches:
    """Returns the matches of an evaluator of rotated boxes, at its overlaps, precision read at 11 recalls (VOC 2007)."""
    images = list(evaluator.images)
    classes = []
    for label in range(len(evaluator.classes)):
        scores, image, right, counts = [], [], [], []
        objects = np.zeros(len(images))
        for position, name in enumerate(images):
            one = evaluator.images[name].get(label)
            if one is None:
                continue
            found = [answers(one, threshold) for threshold in IOU_THRESHOLDS]
            scores.append(np.asarray(one.scores, dtype=np.float64))
            image.append(np.full(len(one.scores), position))
            right.append(np.stack([hit for hit, _ in found]))
            counts.append(np.stack([counted for _, counted in found]))
            objects[position] = (~one.difficult).sum()
        classes.append(_sorted(scores, image, right, counts, objects, len(IOU_THRESHOLDS)))
    # As the evaluation has it: its 0.3 is a hair over the recall 3 / 10.
    return ImageMatches(tuple(images), tuple(classes), np.arange(0, 1 + 1e-3, 0.1))


def _sorted(scores: list, image: list, right: list, counts: list, objects: np.ndarray, thresholds: int) -> tuple:
    if not scores:
        empty = np.zeros((thresholds, 0), dtype=bool)
        return np.zeros(0), np.zeros(0, dtype=np.int64), empty, empty, objects
    flat = np.concatenate(scores)
    order = np.argsort(-flat, kind="stable")  # ties in the order of the images, as the benchmarks have it
    both = (np.concatenate(part, axis=1)[:, order] for part in (right, counts))
    return flat[order], np.concatenate(image)[order].astype(np.int64), *both, objects


def draw_images(images: int, draws: int, seed: int = 0) -> np.ndarray:
    """Returns how often each image occurs in each draw with replacement, (draws, images)."""
    chosen = np.random.default_rng(seed).integers(0, images, (draws, images))
    return np.stack([np.bincount(row, minlength=images) for row in chosen]).astype(np.float32)


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; NaN bounds where one value alone says nothing about the spread."""

    mean: float
    low: float
    high: float
    count: int


def seed_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Returns mean and t-interval over the runs of different seeds."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Interval(float(array.mean()) if len(array) else math.nan, math.nan, math.nan, len(array))
    half = _t_quantile(confidence, len(array) - 1) * array.std(ddof=1) / math.sqrt(len(array))
    return Interval(float(array.mean()), float(array.mean() - half), float(array.mean() + half), len(array))


@dataclass(frozen=True)
class Difference:
    """A row minus another: what was measured, and how far chance could have made it."""

    mean: float
    low: float  # 95 % over images and seeds together
    high: float
    images_low: float  # 95 % over images alone, the trained networks taken as they are
    images_high: float
    images: int
    seeds: tuple[int, int]  # runs of the row, runs of the other
    draws: int


def compare_runs(
    runs: Sequence[ImageMatches],
    others: Sequence[ImageMatches],
    draws: int = 500,
    seed: int = 0,
    confidence: float = CONFIDENCE,
) -> Difference:
    """Returns the difference in AP between the runs of one row and those of another, paired over images.

    Each draw of images scores all runs of both rows, so that hard images hit both. The spread between seeds is that of the
    runs themselves; both variances add, with Welch's degrees of freedom for the seeds.

    Raises:
        ValueError: no runs, or runs on different images.
    """
    if not runs or not others:
        raise ValueError("no runs to compare")
    images = runs[0].images
    if any(one.images != images for one in (*runs, *others)):
        raise ValueError("the runs were scored on different images")
    whole = np.ones((1, len(images)))
    weights = draw_images(len(images), draws, seed)
    own = np.array([one.average_precision(whole)[0] for one in runs])
    theirs = np.array([one.average_precision(whole)[0] for one in others])
    mean = float(own.mean() - theirs.mean())
    spread = np.mean([one.average_precision(weights) for one in runs], axis=0) - np.mean(
        [one.average_precision(weights) for one in others], axis=0
    )
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(spread, [tail, 1 - tail])
    variances = [part.var(ddof=1) / len(part) if len(part) > 1 else math.nan for part in (own, theirs)]
    half = _welch_half_width(variances, (len(own), len(theirs)), confidence)
    return Difference(
        mean,
        low=mean - math.hypot(max(mean - low, 0.0), half),
        high=mean + math.hypot(max(high - mean, 0.0), half),
        images_low=float(low),
        images_high=float(high),
        images=len(images),
        seeds=(len(own), len(theirs)),
        draws=draws,
    )


def compare_values(values: Sequence[float], others: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Returns the difference between a number of one row's runs and of another's, which does not come from images.

    Welch's interval over the seeds; ``images`` and ``draws`` are 0.

    Raises:
        ValueError: no values.
    """
    if not len(values) or not len(others):
        raise ValueError("no runs to compare")
    both = [np.asarray(part, dtype=np.float64) for part in (values, others)]
    mean = float(both[0].mean() - both[1].mean())
    variances = [part.var(ddof=1) / len(part) if len(part) > 1 else math.nan for part in both]
    counts = (len(both[0]), len(both[1]))
    half = _welch_half_width(variances, counts, confidence)
    return Difference(mean, mean - half, mean + half, math.nan, math.nan, images=0, seeds=counts, draws=0)


def _welch_half_width(variances: Sequence[float], counts: Sequence[int], confidence: float) -> float:
    """Returns half the interval of a difference of two means, of which the variances are given; NaN where one is."""
    total = sum(variances)
    if math.isnan(total) or total == 0:
        return total
    parts = sum(variance**2 / (count - 1) for variance, count in zip(variances, counts, strict=True))
    return _t_quantile(confidence, total**2 / parts) * math.sqrt(total)


def verdict(difference: Difference, margin: float = 0.0, at_least_as_good: bool = False) -> Verdict:
    """Returns what a difference says of the claim that the row is better, or not worse by more than ``margin``.

    Fewer than three seeds decide nothing: the spread between runs is not known.
    """
    if min(difference.seeds) < LEAST_SEEDS or math.isnan(difference.low):
        return "not decidable at this budget"
    bound = -margin if at_least_as_good else 0.0
    if difference.low > bound:
        return "supported"
    if difference.high < bound:
        return "contradicted"
    return "not decidable at this budget"


def _t_quantile(confidence: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, freedom))
