"""COCO numbers: against plain loops, by hand, and for sets with gaps, crowds and nothing in them."""

from __future__ import annotations

import copy
import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from slow_ap import outcomes, slow_numbers

from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.coco import METRICS, CocoEvaluator, evaluate_coco, to_coco_results

BOX, ELSEWHERE, THIRD = [10, 10, 60, 50], [100, 100, 160, 150], [200, 0, 230, 90]


def found(boxes=(), scores=None, labels=None) -> Detections:
    """Returns detections, best first, of class 0 unless told otherwise."""
    scores = [0.9 - 0.1 * number for number in range(len(boxes))] if scores is None else scores
    boxes = torch.tensor(list(boxes), dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Detections(boxes, torch.tensor(scores, dtype=torch.float32), labels)


def truth(boxes=(), labels=None, image_id=None, **fields) -> Targets:
    boxes = torch.tensor(list(boxes), dtype=torch.float32).reshape(-1, 4)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    kinds = {"areas": torch.float32, "ignore": torch.bool}
    fields = {name: torch.tensor(value, dtype=kinds[name]) for name, value in fields.items()}
    return Targets(boxes, labels, meta=ImageMeta(image_id, (300, 300)), **fields)


def evaluator_of(detections, targets, names=None) -> CocoEvaluator:
    evaluator = CocoEvaluator(names)
    evaluator.add(detections, targets)
    return evaluator


def score(detections: Detections, target: Targets) -> dict[str, float]:
    return evaluator_of([detections], [target]).summary()


def made_set(seed: int, images: int = 5) -> tuple[list[Detections], list[Targets]]:
    """Returns crowds, twice found, misplaced and missed objects of all sizes; image 1 is empty."""
    rng = np.random.default_rng(seed)
    detections, targets = [], []
    for number in range(images):
        count = 0 if number == 1 else int(rng.integers(0, 8))
        corner, sides = (
            rng.uniform(0, 150, (count, 2)),
            rng.choice([12, 40, 140], (count, 1)) * rng.uniform(0.7, 1.3, (count, 2)),
        )
        boxes, labels = np.hstack([corner, corner + sides]), rng.integers(0, 3, count)
        areas = sides.prod(axis=1) * rng.uniform(0.5, 1, count)
        kept = np.concatenate([np.flatnonzero(rng.random(count) < share) for share in (0.8, 0.4, 0.2)])
        own = boxes[kept] + rng.normal(0, 3, (len(kept), 4))
        extra = int(rng.integers(0, 15))
        stray = rng.uniform(0, 150, (extra, 2))
        own = np.vstack([own, np.hstack([stray, stray + rng.uniform(5, 150, (extra, 2))])])
        own_labels = np.concatenate([labels[kept], rng.integers(0, 3, extra)]).astype(int)
        own_scores = np.sort(rng.random(len(own)))[::-1]
        shuffled = rng.permutation(len(own))
        detections.append(found(own[shuffled].tolist(), own_scores.tolist(), own_labels[shuffled].tolist()))
        targets.append(
            truth(
                boxes.tolist(),
                labels.tolist(),
                7 * number + 3,
                areas=areas.tolist(),
                ignore=(rng.random(count) < 0.2).tolist(),
            )
        )
    return detections, targets


def as_loops_take_it(detections, targets) -> list:
    images = []
    for one, target in zip(detections, targets, strict=True):
        own, known = defaultdict(list), defaultdict(list)
        for label, points, box in zip(one.labels.tolist(), one.scores.tolist(), one.boxes.tolist(), strict=True):
            own[label].append((points, box))
        rows = zip(target.labels.tolist(), target.boxes.tolist(), target.areas.tolist(), target.ignore.tolist(), strict=True)
        for label, box, size, crowd in rows:
            known[label].append((box, size, crowd))
        images.append((own, known))
    return images


# ---- against plain loops


@pytest.mark.parametrize("seed", range(12))
def test_all_twelve_numbers_equal_plain_loops(seed):
    detections, targets = made_set(seed)
    numbers, expected = evaluator_of(detections, targets).summary(), slow_numbers(as_loops_take_it(detections, targets))
    assert numbers.keys() == expected.keys() == set(METRICS)
    for name, value in expected.items():
        assert numbers[name] == pytest.approx(value, abs=1e-9), name


# ---- by hand


def test_perfect_detections_score_one():
    numbers = score(found([BOX, ELSEWHERE, THIRD]), truth([BOX, ELSEWHERE, THIRD]))
    assert [numbers[name] for name in ("AP", "AP50", "AP75", "APm", "AR10", "AR100")] == pytest.approx([1.0] * 6)
    assert numbers["AR1"] == pytest.approx(1 / 3)  # only one detection of the image counts
    assert (numbers["APs"], numbers["APl"]) == (-1, -1)  # there are none


@pytest.mark.parametrize(("boxes", "ap"), [([BOX, ELSEWHERE], 1.0), ([ELSEWHERE, BOX], 0.5)])
def test_false_positive_costs_only_when_it_scores_higher(boxes, ap):
    assert score(found(boxes), truth([BOX]))["AP"] == pytest.approx(ap)


def test_second_detection_of_an_object_is_a_false_positive():
    # recall 0.5 at precision 1 (51 of 101 points), then 1.0 at two of three
    assert score(found([BOX, BOX, ELSEWHERE]), truth([BOX, ELSEWHERE]))["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_looser_box_is_right_up_to_its_overlap():
    numbers = score(found([[0, 0, 100, 62]]), truth([[0, 0, 100, 100]]))
    assert (numbers["AP50"], numbers["AP75"]) == pytest.approx((1.0, 0.0))
    assert numbers["AP"] == pytest.approx(0.3)  # 0.50, 0.55, 0.60 of ten thresholds


def test_wrong_class_is_a_miss_and_a_false_positive():
    numbers = score(found([BOX, BOX], labels=[1, 0]), truth([BOX, ELSEWHERE], labels=[0, 1]))
    assert numbers["AP50"] == pytest.approx(0.5)


def test_crowds_neither_count_as_missed_nor_their_detections_as_false():
    inside = [[20, 20, 40, 40], [30, 20, 50, 40]]
    target = truth([BOX, ELSEWHERE], ignore=[True, False])
    assert score(found([*inside, ELSEWHERE]), target)["AP"] == pytest.approx(1.0)
    assert score(found([ELSEWHERE]), target)["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(("area", "name"), [(1023, "s"), (1025, "m"), (9215, "m"), (9217, "l")])
def test_size_of_an_object_is_its_annotated_area(area, name):
    numbers = score(found([BOX]), truth([BOX], areas=[float(area)]))
    assert {one for one in "sml" if numbers[f"AP{one}"] > -1} == {name}
    assert numbers[f"AP{name}"] == pytest.approx(1.0)


@pytest.mark.parametrize(("better", "numbers"), [(0, (1, 1, 1)), (1, (0, 1, 1)), (10, (0, 0, 1)), (100, (0, 0, 0))])
def test_only_the_best_1_10_and_100_detections_of_an_image_count(better, numbers):
    strays = [[200, number, 220, number + 9] for number in range(better)]
    scores = [0.9] * better + [0.5]
    found_by = score(found([*strays, BOX], scores), truth([BOX]))
    assert tuple(found_by[f"AR{most}"] for most in (1, 10, 100)) == pytest.approx(numbers)


def test_detections_in_an_image_without_objects_are_false():
    alone = evaluator_of([found([BOX], [0.5])], [truth([BOX])]).summary()
    both = evaluator_of([found([BOX], [0.5]), found([BOX], [0.9])], [truth([BOX]), truth()]).summary()
    assert (alone["AP"], both["AP"]) == pytest.approx((1.0, 0.5))


def test_nothing_found_scores_zero_and_nothing_to_find_minus_one():
    assert score(found(), truth([BOX]))["AP"] == 0
    assert set(score(found([BOX]), truth()).values()) == {-1}
    assert set(score(found(), truth()).values()) == {-1}
    assert set(CocoEvaluator().summary().values()) == {-1}


# ---- tables and curves


def test_per_class_rows_follow_the_names_and_count_what_counts():
    target = truth([BOX, ELSEWHERE, THIRD], labels=[2, 0, 0], ignore=[False, False, True])
    rows = evaluator_of([found([BOX], labels=[2])], [target], ["cat", "dog", "eel"]).per_class()
    assert [(row["class"], row["objects"]) for row in rows] == [("cat", 1), ("dog", 0), ("eel", 1)]
    for name in ("AP", "AP50", "AR100"):
        assert [row[name] for row in rows] == pytest.approx([0.0, float("nan"), 1.0], nan_ok=True)


@pytest.mark.parametrize("seed", range(3))
def test_mean_over_the_classes_is_the_summary(seed):
    evaluator = evaluator_of(*made_set(seed))
    rows, numbers = evaluator.per_class(), evaluator.summary()
    for name in ("AP", "AP50", "AR100"):
        assert np.nanmean([row[name] for row in rows]) == pytest.approx(numbers[name])


def test_precision_falls_along_the_recall_where_the_false_positive_comes():
    target = truth([BOX, ELSEWHERE], labels=[1, 1])
    evaluator = evaluator_of([found([BOX, THIRD, ELSEWHERE], labels=[1, 1, 1])], [target], ["cat", "dog"])
    recall, precision = evaluator.precision_recall()
    assert recall.tolist() == pytest.approx(np.linspace(0, 1, 101).tolist())
    assert precision[:, 1].tolist() == pytest.approx([1.0] * 51 + [2 / 3] * 50)
    assert np.isnan(precision[:, 0]).all()


def test_precision_recall_takes_the_threshold_it_is_asked_for():
    evaluator = evaluator_of([found([[0, 0, 100, 62]])], [truth([[0, 0, 100, 100]])])
    assert [evaluator.precision_recall(iou)[1].mean() for iou in (0.5, 0.6, 0.65, 0.95)] == pytest.approx([1, 1, 0, 0])


def test_images_come_by_the_share_of_their_objects_that_was_found_worst_first():
    detections = [found([BOX]), found([BOX, ELSEWHERE]), found([BOX]), found([BOX]), found([BOX], labels=[1]), found()]
    targets = [
        truth([BOX], image_id=50),
        truth([BOX, ELSEWHERE, THIRD], image_id=9),
        truth(image_id=8),  # nothing to find
        truth([ELSEWHERE, BOX], image_id=70, ignore=[True, False]),  # the crowd does not count
        truth([BOX], image_id=1),  # another class
        truth([BOX, ELSEWHERE], labels=[0, 1], image_id=30),
    ]
    rows = evaluator_of(detections, targets).recall_by_image()
    assert [index for index, _ in rows] == [5, 4, 1, 0, 3]  # of two shares of 0 the one with more objects
    assert [share for _, share in rows] == pytest.approx([0, 0, 2 / 3, 1, 1])


def test_share_found_depends_on_the_threshold_and_not_on_the_size():
    evaluator = evaluator_of([found([[0, 0, 100, 62], [200, 0, 210, 10]])], [truth([[0, 0, 100, 100], [200, 0, 210, 10]])])
    assert [evaluator.recall_by_image(iou) for iou in (0.5, 0.75)] == [[(0, 1.0)], [(0, 0.5)]]


@pytest.mark.parametrize("seed", range(3))
def test_shares_found_add_up_to_the_recall_of_plain_loops(seed):
    detections, targets = made_set(seed)
    shares = dict(evaluator_of(detections, targets).recall_by_image())
    for number, (one, target) in enumerate(zip(detections, targets, strict=True)):
        count = int((~target.ignore).sum())
        assert (number in shares) == (count > 0)
        if count:
            ((own, known),) = as_loops_take_it([one], [target])
            hits = [outcomes(own[label], known[label], 0.5, (0, 1e10))[0] for label in list(known)]
            assert shares[number] * count == pytest.approx(sum(is_right for rows in hits for _, is_right in rows))


# ---- collecting


def test_batches_and_processes_add_up_to_the_whole():
    detections, targets = made_set(1, images=6)
    whole = evaluator_of(detections, targets)
    batched, parts = CocoEvaluator(), []
    for start in range(0, 6, 2):
        one = slice(start, start + 2)
        batched.add(detections[one], targets[one])
        batched.summary()  # what is added later still counts
        # The last process saw image 0 again, as one does that fills up its share.
        again = slice(0, 1 if start == 4 else 0)
        parts.append(evaluator_of(detections[one] + detections[again], targets[one] + targets[again]).state())
    merged = CocoEvaluator()
    merged.summary()
    merged.merge(parts)
    assert batched.summary() == whole.summary() == merged.summary()
    assert batched.recall_by_image() == whole.recall_by_image() == merged.recall_by_image()
    assert len({one["id"] for one in merged.annotations}) == len(merged.annotations) == len(whole.annotations)


@pytest.mark.parametrize("name", [None, "a.png"])
def test_images_without_a_number_are_counted_in_order(name):
    detections, targets = made_set(2)
    numbered = evaluator_of(detections, targets)
    for one in targets:
        one.meta = None if name is None else ImageMeta(name)
    assert evaluator_of(detections, targets).summary() == numbered.summary()


# ---- files


CATEGORIES = [3, 7, 90]  # gaps, as in the real files


def as_files(detections, targets) -> tuple[dict, list]:
    """Returns COCO ground truth whose object ids start at 0, and results."""
    annotations = []
    for number, one in enumerate(targets):
        rows = zip(one.boxes.double().tolist(), one.labels.tolist(), one.areas.tolist(), one.ignore.tolist(), strict=True)
        for (x1, y1, x2, y2), label, size, crowd in rows:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 100 * number,
                    "category_id": CATEGORIES[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": size,
                    "iscrowd": int(crowd),
                }
            )
    images = [{"id": 100 * number, "height": 300, "width": 300} for number in range(len(targets))]
    categories = [{"id": number, "name": str(number)} for number in CATEGORIES]
    results = [row for number, one in enumerate(detections) for row in to_coco_results(one, 100 * number, CATEGORIES)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


@pytest.mark.parametrize("seed", range(3))
def test_records_mappings_and_files_score_the_same_with_gaps_in_the_ids(seed, tmp_path):
    detections, targets = made_set(seed)
    content, results = as_files(detections, targets)
    for name, what in (("truth", content), ("results", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    expected = evaluator_of(detections, targets).summary()
    assert evaluate_coco(detections, targets) == {"bbox": expected}
    assert evaluate_coco(results, content)["bbox"] == pytest.approx(expected)
    assert evaluate_coco(tmp_path / "results.json", str(tmp_path / "truth.json"))["bbox"] == pytest.approx(expected)


def test_object_with_the_id_zero_can_be_found():
    content, results = as_files([found([BOX])], [truth([BOX], areas=[100.0], ignore=[False])])
    assert content["annotations"][0]["id"] == 0
    assert evaluate_coco(results, content)["bbox"]["AP"] == pytest.approx(1.0)


def test_scoring_does_not_write_into_what_it_is_given():
    content, results = as_files(*made_set(1))
    before = copy.deepcopy((content, results))
    evaluate_coco(results, content)
    assert (content, results) == before


def test_results_of_a_label_take_its_category_or_the_next_number():
    detections = found([[1, 2, 4, 8]], labels=[2])
    (row,) = to_coco_results(detections, 5)
    assert (row["image_id"], row["category_id"], row["bbox"]) == (5, 3, [1, 2, 3, 6])
    assert to_coco_results(detections, 5, CATEGORIES)[0]["category_id"] == 90


def test_no_results_at_all_score_zero():
    content, _ = as_files(*made_set(1))
    assert evaluate_coco([], content)["bbox"]["AP"] == 0


def test_detections_and_ground_truth_of_different_forms_are_refused(tmp_path):
    detections, targets = made_set(1)
    content, results = as_files(detections, targets)
    for one, other in ((detections, content), (results, targets), (tmp_path / "results.json", targets)):
        with pytest.raises(ValueError, match="different forms"):
            evaluate_coco(one, other)
    with pytest.raises(ValueError):
        evaluate_coco(detections[:2], targets)
