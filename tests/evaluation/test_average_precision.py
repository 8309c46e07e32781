"""The one matcher and the one average precision against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from slow_ap import slow_numbers

from rtmdet_lab.evaluation.average_precision import DrawnPrecision, average_precision, precision_recall
from rtmdet_lab.evaluation.matching import ImagePair, Objects, _accepted, match_images

CLASSES = ("a", "b", "c")


def made_pairs(seed: int, images: int = 6) -> list[ImagePair]:
    """Returns images with crowds, more detections than objects, and images without either."""
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(images):
        count = int(random.integers(0, 7))
        boxes = np.hstack([random.integers(0, 40, (count, 2)), random.integers(8, 120, (count, 2))]).astype(float)
        copies = int(random.integers(0, 20)) if count else 2
        source = random.integers(0, max(count, 1), copies)
        found = (boxes[source] if count else np.full((copies, 4), 30.0)) + random.normal(0, 3, (copies, 4))
        found[:, 2:] = found[:, 2:].clip(3)
        labels = random.integers(0, 3, count)
        guess = np.where(random.random(copies) < 0.8, labels[source] if count else 0, random.integers(0, 3, copies))
        truth = Objects(boxes, labels, ignore=random.random(count) < 0.2)
        pairs.append(ImagePair(number, None, (200, 200), truth, Objects(found, guess, random.permutation(copies) / 20)))
    return pairs


def corners(boxes: np.ndarray) -> list[list[float]]:
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).tolist()


def as_loops_take_it(pair: ImagePair) -> tuple[dict, dict]:
    detections, truth = {}, {}
    for label, score, box in zip(
        pair.detections.labels, pair.detections.scores, corners(pair.detections.boxes), strict=True
    ):
        detections.setdefault(int(label), []).append((float(score), box))
    objects = zip(pair.truth.labels, corners(pair.truth.boxes), pair.truth.areas, pair.truth.ignore, strict=True)
    for label, box, area, crowd in objects:
        truth.setdefault(int(label), []).append((box, float(area), bool(crowd)))
    return detections, truth


@pytest.mark.parametrize("seed", range(8))
def test_numbers_are_those_of_plain_loops(seed):
    pairs = made_pairs(seed)
    # Scores of different images are made different: the loops and the matcher need not order equal ones alike.
    for number, pair in enumerate(pairs):
        pair.detections.scores = pair.detections.scores + number / 1000
    wanted = slow_numbers([as_loops_take_it(pair) for pair in pairs])
    ours = match_images(pairs, CLASSES, "bbox").summary()
    for name in ("AP", "AP50", "AP75"):
        assert ours[name] == pytest.approx(wanted[name], abs=1e-9), name
    for size in ("small", "medium", "large"):
        ours = match_images(pairs, CLASSES, "bbox", size=size).summary()["AP"]
        assert ours == pytest.approx(wanted[f"AP{size[0]}"], abs=1e-9), size


@pytest.mark.parametrize("seed", range(20))
def test_targets_go_to_whoever_would_choose_first(seed):
    random = np.random.default_rng(seed)
    people, targets = int(random.integers(0, 30)), 8
    wishes = [random.permutation(targets)[: random.integers(1, 6)] for _ in range(people)]
    sharing = random.random(targets) < 0.2
    free, wanted, number = np.ones(targets, dtype=bool), [], 0
    for wish in wishes:
        for target in wish:
            if free[target]:
                free[target] = sharing[target]
                wanted.append(number + int(np.flatnonzero(wish == target)[0]))
                break
        number += len(wish)
    proposer = np.repeat(np.arange(people), [len(wish) for wish in wishes])
    target = np.concatenate([np.zeros(0, int), *wishes])
    assert _accepted(proposer, target, sharing[target]).tolist() == wanted


def test_curve_by_hand():
    curve = precision_recall(np.array([True, False, True, False]), 4)
    assert curve.recall.tolist() == [0.25, 0.25, 0.5, 0.5]
    assert curve.precision == pytest.approx([1, 2 / 3, 2 / 3, 0.5])
    assert curve.at(np.array([0, 0.25, 0.3, 0.5, 0.6])) == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])
    assert curve.area == pytest.approx(0.25 + 0.25 * 2 / 3)


def test_classes_without_objects_have_no_precision_and_those_without_detections_none_right():
    labels, scores = np.array([0, 1]), np.array([0.9, 0.8])
    right, counted = np.array([[True, False]]), np.ones((1, 2), dtype=bool)
    for recalls in (None, np.linspace(0, 1, 11)):
        ap = average_precision(labels, scores, right, counted, np.array([1, 0, 3]), recalls)
        np.testing.assert_array_equal(ap, [[1, np.nan, 0]])


def test_a_draw_of_every_image_once_is_the_precision_itself():
    matches = match_images(made_pairs(3), CLASSES, "bbox")
    drawn = matches.drawn_precision()
    assert isinstance(drawn, DrawnPrecision)
    assert drawn.average_precision(np.ones((1, 6)))[0] == pytest.approx(matches.summary()["AP"], abs=1e-6)
