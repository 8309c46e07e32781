"""Is a difference real? Means and intervals over seeds, and a paired bootstrap over validation images.

AP is no mean over images, so its spread over images is found by drawing the images again and again and scoring each draw.
What a detection matched does not depend on the other images; it is found once, and a draw only weighs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rtmdet_lab.evaluation.matching import Matches

CONFIDENCE = 0.95
LEAST_SEEDS = 3  # fewer say nothing about the spread between runs

Verdict = Literal["supported", "contradicted", "not decidable at this scale"]


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
    runs: Sequence[Matches],
    others: Sequence[Matches],
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
    if any(run.images != images for run in (*runs, *others)):
        raise ValueError("the runs were scored on different images")
    # The first of the draws is every image once.
    weights = np.concatenate([np.ones((1, len(images)), dtype=np.float32), draw_images(len(images), draws, seed)])
    drawn = [np.array([run.drawn_precision().average_precision(weights) for run in rows]) for rows in (runs, others)]
    own, theirs = (scores[:, 0] for scores in drawn)
    mean = float(own.mean() - theirs.mean())
    spread = drawn[0][:, 1:].mean(axis=0) - drawn[1][:, 1:].mean(axis=0)
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
        return "not decidable at this scale"
    bound = -margin if at_least_as_good else 0.0
    if difference.low > bound:
        return "supported"
    if difference.high < bound:
        return "contradicted"
    return "not decidable at this scale"


def _t_quantile(confidence: float, freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.5 + confidence / 2, freedom))
