"""Average precision of oriented boxes against plain loops and by hand; submission files."""

from __future__ import annotations

import math
import zipfile

import numpy as np
import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.dota import DotaEvaluator, evaluate_dota, write_submission
from rtmdet_lab.geometry.rotated import rotated_iou

CLASSES = ("ship", "harbor", "plane")


def box(x, y=50.0, w=20.0, h=10.0, angle=0.0):
    return [float(x), float(y), float(w), float(h), angle]


def found(boxes, scores, labels=None, name=None):
    labels = [0] * len(boxes) if labels is None else labels
    meta = None if name is None else ImageMeta(name)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return Detections(boxes, torch.tensor(scores, dtype=torch.float32), torch.tensor(labels, dtype=torch.int64), meta=meta)


def truth(boxes, labels=None, ignore=None, name=None):
    labels = [0] * len(boxes) if labels is None else labels
    meta = None if name is None else ImageMeta(name)
    ignore = None if ignore is None else torch.tensor(ignore, dtype=torch.bool)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    return Targets(boxes, torch.tensor(labels, dtype=torch.int64), ignore=ignore, meta=meta)


def slow_ap(images, label, threshold, use_07_metric):
    """Returns AP of one class in plain loops from the definition; None without objects. ``images``: (found, truth)."""
    rows, total = [], 0
    for number, (detections, objects) in enumerate(images):
        mine = [index for index in range(len(objects)) if objects.labels[index] == label]
        ignored = {index for index in mine if objects.ignore is not None and objects.ignore[index]}
        total += len(mine) - len(ignored)
        for index in range(len(detections)):
            if detections.labels[index] == label:
                overlaps = {
                    other: float(rotated_iou(detections.boxes[index : index + 1], objects.boxes[other : other + 1]))
                    for other in mine
                }
                rows.append((float(detections.scores[index]), number, overlaps, ignored))
    if not total:
        return None
    taken, results = set(), []
    for _, number, overlaps, ignored in sorted(rows, key=lambda row: -row[0]):
        best = max(overlaps, key=overlaps.get, default=None)
        if best is None or overlaps[best] < threshold:
            results.append(False)
        elif best not in ignored:
            results.append((number, best) not in taken)
            taken.add((number, best))
    curve, right = [], 0
    for count, hit in enumerate(results, start=1):
        right += hit
        curve.append((right / total, right / count))
    if use_07_metric:
        levels = [step * 0.1 for step in range(11)]
        return sum(max((p for r, p in curve if r >= level), default=0.0) for level in levels) / 11
    area, last = 0.0, 0.0
    for index, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[index:])
        last = recall
    return area


def made_images(seed, count=6):
    generator = torch.Generator().manual_seed(seed)
    images = []
    for number in range(count):
        size = int(torch.randint(0, 12, (), generator=generator))
        boxes = torch.rand(size, 5, generator=generator) * torch.tensor([200, 200, 40, 20, 3.0]) + torch.tensor(
            [0, 0, 10, 5, -1.5]
        )
        labels = torch.randint(0, 2, (size,), generator=generator)  # class 2 never occurs
        ignore = torch.rand(size, generator=generator) < 0.25
        noise = torch.randn(2 * size, 5, generator=generator) * torch.tensor([2, 2, 2, 1, 0.05])
        guesses = torch.cat([boxes, boxes]) + noise
        guesses[:, 2:4].clamp_(min=2)
        flips = torch.rand(2 * size, generator=generator) < 0.15
        names = torch.where(flips, 2, torch.cat([labels, labels]))
        scores = torch.rand(2 * size, generator=generator)
        meta = ImageMeta(f"P{number:04d}")
        images.append((Detections(guesses, scores, names, meta=meta), Targets(boxes, labels, ignore=ignore, meta=meta)))
    return images


@pytest.mark.parametrize("use_07_metric", [True, False])
@pytest.mark.parametrize("threshold", [0.5, 0.75])
def test_numbers_equal_plain_loops(use_07_metric, threshold):
    for seed in range(4):
        images = made_images(seed)
        result = evaluate_dota(*zip(*images, strict=True), 3, threshold, use_07_metric)
        want = [slow_ap(images, label, threshold, use_07_metric) for label in range(3)]
        assert want[2] is None
        assert np.isnan(result["AP"][2])
        assert result["AP"][:2] == pytest.approx(want[:2], abs=1e-9)
        assert result["mAP"] == pytest.approx(sum(want[:2]) / 2, abs=1e-9)


def test_ground_truth_as_detections_is_perfect():
    objects = [truth([box(20), box(90, angle=0.4)], [0, 1])]
    assert evaluate_dota([found([box(20), box(90, angle=0.4)], [0.5, 0.6], [0, 1])], objects, 2)["mAP"] == 1.0
    assert evaluate_dota([found([], [])], objects, 2)["mAP"] == 0.0
    assert np.isnan(evaluate_dota([found([box(20)], [0.5])], [truth([])], 2)["mAP"])


def test_by_hand():
    # Right, double, right, wrong; of 4 objects 2 are found: precision 1 up to recall 1/4, then 2/3 up to 1/2.
    objects = [truth([box(20), box(60), box(100), box(140)])]
    guesses = [found([box(20), box(20.5), box(60), box(400)], [0.9, 0.8, 0.7, 0.6])]
    area = evaluate_dota(guesses, objects, 1, use_07_metric=False)
    assert area["AP"] == [pytest.approx(1 / 4 + 1 / 4 * 2 / 3)]
    eleven = evaluate_dota(guesses, objects, 1)
    assert eleven["AP"] == [pytest.approx((3 + 3 * 2 / 3) / 11)]


def test_difficult_objects_neither_help_nor_harm():
    guesses = [found([box(20), box(100), box(100.5)], [0.5, 0.9, 0.8])]
    assert evaluate_dota(guesses, [truth([box(20), box(100)], ignore=[False, True])], 1)["mAP"] == 1.0
    assert evaluate_dota(guesses, [truth([box(20)])], 1, use_07_metric=False)["mAP"] == pytest.approx(1 / 3)
    assert np.isnan(evaluate_dota(guesses, [truth([box(100)], ignore=[True])], 1)["mAP"])


def test_images_are_matched_by_id_in_any_order():
    objects = [truth([box(20)], name="a"), truth([box(60)], name="b"), truth([box(90)], name="c")]
    guesses = [found([box(60)], [0.9], name="b"), found([box(20)], [0.9], name="a")]
    assert evaluate_dota(guesses, objects, 1, use_07_metric=False)["mAP"] == pytest.approx(2 / 3)


def test_unknown_or_double_images_are_named():
    objects = [truth([box(20)], name="P0001"), truth([], name="P0002")]
    with pytest.raises(DataError) as error:
        evaluate_dota([found([box(20)], [0.9], name="P0003")], objects, 1)
    assert_one_sentence(error.value, "'P0003'", "2 targets")
    with pytest.raises(DataError) as error:
        evaluate_dota([found([], [], name="P0001")] * 2, objects, 1)
    assert_one_sentence(error.value, "'P0001' has two detections")
    with pytest.raises(DataError) as error:
        DotaEvaluator(CLASSES).add([found([], [], name="x")], [truth([], name="y")])
    assert_one_sentence(error.value, "'x'", "'y'")


@pytest.mark.parametrize("place", range(5))
def test_object_that_is_nowhere_is_named_and_such_a_detection_is_wrong(place):
    nowhere = box(20)
    nowhere[place] = float("nan")
    with pytest.raises(DataError) as error:
        evaluate_dota([found([box(20)], [0.9], name="P1")], [truth([box(60), nowhere], name="P1")], 1)
    assert_one_sentence(error.value, "object number 2 of image 'P1'", "nan")
    assert evaluate_dota([found([nowhere], [0.9])], [truth([box(20)])], 1)["mAP"] == 0
    assert evaluate_dota([found([box(20), nowhere], [0.9, 0.8])], [truth([box(20)])], 1)["mAP"] == 1


def test_angles_of_other_turns_and_boxes_without_width_are_scored_as_what_they_are():
    turned = box(20)
    turned[4] += 7 * math.pi
    flat = [*box(20)[:2], 0.0, *box(20)[3:]]
    assert evaluate_dota([found([turned], [0.9])], [truth([box(20)])], 1)["mAP"] == 1
    assert evaluate_dota([found([box(20)], [0.9])], [truth([turned])], 1)["mAP"] == 1
    assert evaluate_dota([found([flat], [0.9])], [truth([box(20)])], 1)["mAP"] == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="1 detections and 2 targets"):
        evaluate_dota([found([], [])], [truth([])] * 2, 1)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        evaluate_dota([found([box(20)], [0.9], [1])], [truth([])], 1)
    with pytest.raises(ValueError, match="oriented"):
        evaluate_dota([found([], [])], [Targets.empty()], 1)


def test_evaluator_averages_over_overlaps():
    images = made_images(7)
    evaluator = DotaEvaluator(CLASSES)
    for start in (0, 3):
        evaluator.add(*zip(*images[start : start + 3], strict=True))
    detections, targets = zip(*images, strict=True)
    each = [evaluate_dota(detections, targets, 3, 0.5 + 0.05 * step)["mAP"] for step in range(10)]
    summary = evaluator.summary()
    assert set(summary) == {"AP", "AP50", "AP75"}
    assert summary["AP"] == pytest.approx(np.mean(each), abs=1e-9)
    assert (summary["AP50"], summary["AP75"]) == (pytest.approx(each[0]), pytest.approx(each[5]))
    rows = evaluator.per_class()
    assert [row["class"] for row in rows] == list(CLASSES)
    assert [row["objects"] for row in rows] == [
        sum(int(((one.labels == label) & ~one.ignore).sum()) for one in targets) for label in range(3)
    ]
    assert np.isnan(rows[2]["AP"])
    area = DotaEvaluator(CLASSES, use_07_metric=False)
    area.add(detections, targets)
    assert area.summary()["AP50"] == pytest.approx(evaluate_dota(detections, targets, 3, 0.5, False)["mAP"])


def test_both_definitions_of_precision_come_from_one_evaluator():
    # One of two objects found: recalls 0 to 0.5 are reached, 6 of 11; the area is 1/2.
    evaluator = DotaEvaluator(["ship"])
    evaluator.add([found([box(20)], [0.9])], [truth([box(20), box(70)])])
    assert evaluator.summary()["AP50"] == pytest.approx(6 / 11)
    assert evaluator.summary(use_07_metric=False)["AP50"] == pytest.approx(1 / 2)
    assert evaluator.summary()["AP50"] == pytest.approx(6 / 11)
    evaluator.add([found([box(20)], [0.9])], [truth([box(20)])])
    assert evaluator.summary(use_07_metric=False)["AP50"] == pytest.approx(2 / 3)


def test_evaluators_of_several_processes_are_united():
    images = made_images(3, count=5)
    alone = DotaEvaluator(CLASSES)
    alone.add(*zip(*images, strict=True))
    parts = [DotaEvaluator(CLASSES), DotaEvaluator(CLASSES)]
    parts[0].add(*zip(*images[:3], strict=True))
    parts[1].add(*zip(*images[2:], strict=True))  # the third image counts once
    parts[0].merge([part.state() for part in parts])
    assert parts[0].summary() == pytest.approx(alone.summary())


def test_nothing_to_score_is_minus_one():
    assert DotaEvaluator(CLASSES).summary() == {"AP": -1.0, "AP50": -1.0, "AP75": -1.0}


def test_submission_has_a_file_per_class(tmp_path):
    detections = [found([box(50, 40), box(9, 9)], [0.75, 0.5], [1, 0], name="P0001"), found([], [], name="P0002")]
    path = write_submission(detections, CLASSES, tmp_path / "new" / "task1.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["Task1_ship.txt", "Task1_harbor.txt", "Task1_plane.txt"]
        (line,) = archive.read("Task1_harbor.txt").decode().splitlines()
        assert archive.read("Task1_plane.txt") == b""
    name, score, *corners = line.split()
    assert (name, float(score)) == ("P0001", 0.75)
    points = {(float(x), float(y)) for x, y in zip(corners[::2], corners[1::2], strict=True)}
    assert points == {(40, 35), (60, 35), (60, 45), (40, 45)}
    data = path.read_bytes()
    assert write_submission(detections, CLASSES, path).read_bytes() == data


@pytest.mark.parametrize("name", [None, "", "two words"])
def test_submission_needs_image_names(tmp_path, name):
    with pytest.raises(DataError) as error:
        write_submission([found([box(9)], [0.5], name=name)], CLASSES, tmp_path / "task1.zip")
    assert_one_sentence(error.value, "image id")
    assert not (tmp_path / "task1.zip").exists()


def test_submission_needs_a_name_for_every_label(tmp_path):
    with pytest.raises(DataError) as error:
        write_submission([found([box(9)], [0.5], [3], name="a")], CLASSES, tmp_path / "task1.zip")
    assert_one_sentence(error.value, "label 3")


def test_curves_and_least_found_images_by_hand():
    evaluator = DotaEvaluator(CLASSES)
    ships = [box(20), box(60), box(100)]
    # Right, wrong, right; the third ship is difficult and its detection does not count.
    first = found([box(20), box(300), box(60), box(100)], [0.9, 0.8, 0.7, 0.95], name="a")
    evaluator.add([first], [truth(ships, ignore=[0, 0, 1], name="a")])
    evaluator.add([found([], [], name="b")], [truth([box(20), box(60)], labels=[0, 1], name="b")])
    evaluator.add([found([box(20)], [0.5], name="c")], [truth([], name="c")])
    recall, precision = evaluator.precision_recall()
    assert recall.shape == (101,)
    assert precision.shape == (101, 3)
    ship = precision[:, 0]  # three ships count: precision 1 up to recall 1/3, 2/3 up to 2/3, then never
    assert (ship[recall <= 1 / 3] == 1).all()
    np.testing.assert_allclose(ship[(recall > 1 / 3) & (recall <= 2 / 3)], 2 / 3)
    assert (ship[recall > 2 / 3] == 0).all()
    assert (precision[:, 1] == 0).all()
    assert np.isnan(precision[:, 2]).all()
    assert evaluator.recall_by_image() == [(1, 0.0), (0, 1.0)]


@pytest.mark.parametrize("seed", range(5))
def test_curves_agree_with_the_average_precision(seed):
    generator = np.random.default_rng(seed)
    evaluator = DotaEvaluator(CLASSES)
    pairs = []
    for number in range(6):
        boxes = [box(x, y, 20, 8, a) for x, y, a in generator.uniform([0, 0, -1.5], [150, 150, 1.5], (8, 3))]
        labels = generator.integers(0, 3, 8).tolist()
        moved = [box(x + generator.normal(0, 2), y, w, h, a + generator.normal(0, 0.1)) for x, y, w, h, a in boxes]
        name = str(number)
        pairs.append(
            (found(moved, generator.uniform(0, 1, 8), labels, name), truth(boxes, labels, generator.random(8) < 0.2, name))
        )
    for one, objects in pairs:
        evaluator.add([one], [objects])
    _, precision = evaluator.precision_recall(0.5)
    ap = evaluate_dota([one for one, _ in pairs], [one for _, one in pairs], 3)["AP"]
    elevenths = np.nanmean(precision[::10], axis=0)
    np.testing.assert_allclose(elevenths, ap, atol=0.1)  # recall 0.3 is a hair over 3 / 10 in the published sampling
    shares = [share for _, share in evaluator.recall_by_image()]
    assert shares == sorted(shares)
