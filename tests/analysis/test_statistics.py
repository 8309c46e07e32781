"""Scores of drawn images equal those of the evaluations; intervals and verdicts say what the numbers allow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rtmdet_lab.analysis.statistics import (
    Difference,
    compare_runs,
    compare_values,
    draw_images,
    seed_interval,
    verdict,
)
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation import average_precision
from rtmdet_lab.evaluation.coco import CocoEvaluator
from rtmdet_lab.evaluation.dota import DotaEvaluator


def scene(rng, index, noise, rotated=False, classes=3, ties=False):
    """One image's objects and noisy detections of them, some twice, some of another class, some of nothing."""
    count = int(rng.integers(0, 6))
    centers, sides = rng.uniform(20, 180, (count, 2)), rng.uniform(8, 60, (count, 2))
    angle = rng.uniform(-1.5, 1.5, (count, 1))
    labels = rng.integers(0, classes, count)
    ignore = rng.random(count) < 0.15

    def boxes(middle, side, turn):
        if rotated:
            return torch.tensor(np.hstack([middle, side, turn]).reshape(-1, 5), dtype=torch.float32)
        return torch.tensor(np.hstack([middle - side / 2, middle + side / 2]).reshape(-1, 4), dtype=torch.float32)

    picked = rng.integers(0, count, int(rng.integers(0, 9))) if count else np.zeros(0, dtype=int)
    moved = centers[picked] + rng.normal(0, noise, (len(picked), 2))
    found = boxes(moved, sides[picked] * np.exp(rng.normal(0, 0.02 * noise, (len(picked), 2))), angle[picked])
    other = np.where(rng.random(len(picked)) < 0.2, rng.integers(0, classes, len(picked)), labels[picked])
    scores = rng.random(len(picked))
    scores = np.round(scores, 1) if ties else scores
    meta = ImageMeta(index, (200, 200))
    truth = Targets(boxes(centers, sides, angle), torch.tensor(labels), ignore=torch.tensor(ignore), meta=meta)
    return Detections(found, torch.tensor(scores, dtype=torch.float32), torch.tensor(other), meta=meta), truth


def evaluator_of(scenes, kind):
    evaluator = DotaEvaluator(["a", "b", "c"]) if kind == "rotated" else CocoEvaluator(["a", "b", "c"])
    for found, truth in scenes:
        evaluator.add([found], [truth])
    return evaluator


def matches_of(scenes, kind):
    return evaluator_of(scenes, kind).matches()


def precision_of(scenes, kind):
    return matches_of(scenes, kind).drawn_precision()


def renamed(pair, number):
    found, truth = pair
    meta = ImageMeta(number, (200, 200))
    fields = {"scores": found.scores, "labels": found.labels}
    return Detections(found.boxes, **fields, meta=meta), Targets(truth.boxes, truth.labels, ignore=truth.ignore, meta=meta)


@pytest.mark.parametrize("kind", ["bbox", "rotated"])
@pytest.mark.parametrize("seed", range(4))
def test_every_image_once_is_the_score_of_the_evaluation(kind, seed):
    rng = np.random.default_rng(seed)
    scenes = [scene(rng, index, 2.0 + seed, kind == "rotated", ties=True) for index in range(25)]
    expected = evaluator_of(scenes, kind).summary()["AP"]
    assert 0.02 < expected < 0.98
    found = precision_of(scenes, kind).average_precision(np.ones((1, 25)))
    assert found[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["bbox", "rotated"])
def test_a_draw_is_the_score_of_the_set_with_images_left_out_and_repeated(kind):
    rng = np.random.default_rng(7)
    scenes = [scene(rng, index, 3.0, kind == "rotated") for index in range(15)]
    matches = precision_of(scenes, kind)
    weights = draw_images(15, 6, seed=3)
    for row, found in zip(weights, matches.average_precision(weights), strict=True):
        drawn = [scenes[index] for index in range(15) for _ in range(int(row[index]))]
        copies = [renamed(pair, number) for number, pair in enumerate(drawn)]
        assert found == pytest.approx(evaluator_of(copies, kind).summary()["AP"], abs=1e-6)


@pytest.mark.parametrize("kind", ["bbox", "rotated"])
def test_draws_are_scored_in_parts_where_all_at_once_would_be_too_large(kind, monkeypatch):
    rng = np.random.default_rng(5)
    matches = precision_of([scene(rng, index, 3.0, kind == "rotated") for index in range(20)], kind)
    weights = draw_images(20, 11, seed=1)
    whole = matches.average_precision(weights)
    for table in (1, 3 * max(len(ranked.image) for ranked in matches.classes)):
        monkeypatch.setattr(average_precision, "LARGEST_TABLE", table)
        assert np.array_equal(matches.average_precision(weights), whole)
    assert len(np.unique(whole)) == 11


def test_draws_without_objects_have_no_score_and_without_detections_none_right():
    rng = np.random.default_rng(0)
    scenes = [scene(rng, index, 1.0) for index in range(6)]
    matches = precision_of(scenes, "bbox")
    assert math.isnan(matches.average_precision(np.zeros((1, 6)))[0])
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    blind = precision_of([(nothing, truth) for _, truth in scenes], "bbox")
    assert blind.average_precision(np.ones((1, 6)))[0] == 0


def test_draws_repeat_with_their_seed_and_have_as_many_images_as_the_set():
    assert np.array_equal(draw_images(20, 5, 1), draw_images(20, 5, 1))
    assert not np.array_equal(draw_images(20, 5, 1), draw_images(20, 5, 2))
    assert draw_images(20, 50).sum(1).tolist() == [20] * 50


def test_interval_over_seeds_by_hand():
    """0.4, 0.5, 0.6: mean 0.5, deviation 0.1, t(2) = 4.303: 0.5 +- 4.303 * 0.1 / sqrt(3) = 0.248."""
    found = seed_interval([0.4, 0.5, 0.6])
    assert (found.mean, found.count) == (pytest.approx(0.5), 3)
    assert (found.low, found.high) == (pytest.approx(0.2516, abs=1e-4), pytest.approx(0.7484, abs=1e-4))
    alone = seed_interval([0.4])
    assert alone.mean == 0.4
    assert math.isnan(alone.low)


def runs_of(noises, images=40, base_seed=0):
    """Runs on the same images, each with errors of its own."""
    runs = []
    for number, noise in enumerate(noises):
        scenes = []
        for index in range(images):
            truth = scene(np.random.default_rng([base_seed, index]), index, 0.0)[1]
            rng = np.random.default_rng([base_seed, index, number, int(noise * 1000)])
            boxes = truth.boxes + torch.tensor(rng.normal(0, noise, truth.boxes.shape), dtype=torch.float32)
            scores = torch.tensor(rng.random(len(truth)), dtype=torch.float32)
            scenes.append((Detections(boxes, scores, truth.labels, meta=truth.meta), truth))
        runs.append(matches_of(scenes, "bbox"))
    return runs


def test_a_real_difference_is_seen_and_its_opposite_contradicted():
    good, bad = runs_of([1.0, 1.1, 0.9]), runs_of([4.0, 4.1, 3.9])
    difference = compare_runs(good, bad, draws=100)
    assert difference.low > 0.05
    assert (difference.images, difference.seeds, difference.draws) == (40, (3, 3), 100)
    assert difference.low <= difference.images_low <= difference.mean <= difference.images_high <= difference.high
    assert verdict(difference) == "supported"
    assert verdict(compare_runs(bad, good, draws=100)) == "contradicted"
    assert verdict(compare_runs(bad, good, draws=100), margin=0.9, at_least_as_good=True) == "supported"


def test_no_difference_is_not_made_one():
    assert verdict(compare_runs(runs_of([2.0, 2.01, 1.99]), runs_of([2.02, 1.98, 2.03]), draws=100)) == (
        "not decidable at this scale"
    )


def test_one_seed_decides_nothing_however_large_the_difference():
    difference = compare_runs(runs_of([0.5]), runs_of([8.0]), draws=50)
    assert difference.images_low > 0
    assert math.isnan(difference.low)
    assert verdict(difference) == "not decidable at this scale"


@pytest.mark.parametrize(
    ("low", "high", "good_enough", "expected"),
    [
        (0.01, 0.05, False, "supported"),
        (-0.01, 0.05, False, "not decidable at this scale"),
        (-0.05, -0.01, False, "contradicted"),
        (-0.004, 0.05, True, "supported"),
        (-0.006, 0.05, True, "not decidable at this scale"),
        (-0.02, -0.006, True, "contradicted"),
        (-0.02, 0.0, True, "not decidable at this scale"),
    ],
)
def test_verdicts_by_hand(low, high, good_enough, expected):
    difference = Difference((low + high) / 2, low, high, low, high, 10, (3, 3), 100)
    assert verdict(difference, margin=0.005, at_least_as_good=good_enough) == expected


def test_runs_on_other_images_are_refused():
    with pytest.raises(ValueError, match="different images"):
        compare_runs(runs_of([1.0], images=5), runs_of([1.0], images=6))
    with pytest.raises(ValueError, match="no runs"):
        compare_runs([], runs_of([1.0], images=5))


def test_difference_of_values_by_hand():
    """10, 12, 14 against 20, 21, 22: variances 4 / 3 and 1 / 3, freedom (5 / 3)^2 / (8 / 9 + 1 / 18) = 2.94, t = 3.219."""
    found = compare_values([10, 12, 14], [20, 21, 22])
    assert (found.mean, found.seeds, found.images, found.draws) == (-9, (3, 3), 0, 0)
    assert found.high + 9 == pytest.approx(3.219 * math.sqrt(5 / 3), abs=2e-3)
    assert found.low + found.high == pytest.approx(-18)
    assert verdict(found) == "contradicted"
    assert verdict(compare_values([20, 21, 22], [10, 12, 14])) == "supported"
    assert math.isnan(compare_values([1.0], [2.0, 3.0]).low)
    assert verdict(compare_values([9.0], [2.0])) == "not decidable at this scale"
    assert compare_values([1.0, 1.0], [2.0, 2.0]).high == -1.0
    with pytest.raises(ValueError, match="no runs"):
        compare_values([], [1.0])


@pytest.mark.slow
def test_intervals_cover_what_they_promise():
    """Rows of equal quality: an interval of 95 % misses zero about once in twenty times; at most five of forty here."""
    missed = 0
    for trial in range(40):
        own, theirs = runs_of([2.0, 2.01, 2.02], 15, trial), runs_of([2.005, 2.015, 1.995], 15, trial)
        difference = compare_runs(own, theirs, draws=60, seed=trial)
        missed += not difference.low <= 0 <= difference.high
    assert missed <= 5
