"""Each kind of error on hand-made cases of all three tasks, and what it costs against pycocotools on mended detections."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rtmdet_lab.analysis.errors import FIXED, KINDS, disagreements, error_costs, find_errors
from rtmdet_lab.evaluation.coco_scores import run_coco_eval
from rtmdet_lab.evaluation.matching import ImagePair, Objects

SIZE = (120, 160)
CLASSES = ("cat", "dog", "newt")
EMPTY = np.zeros((0, 4))


def run_lengths(box) -> dict:
    x, y, width, height = (round(value) for value in box)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[y : y + height, x : x + width] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def objects(kind: str, boxes, labels, scores=None, ignore=None) -> Objects:
    """Returns objects of corner boxes x y w h, upright, in the form of ``kind``."""
    boxes = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    masks = [run_lengths(box) for box in boxes] if kind == "segm" else None
    if kind == "rotated":
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        boxes = np.hstack([centers, boxes[:, 2:], np.zeros((len(boxes), 1))]).astype(np.float32)
    ignore = None if ignore is None else np.array(ignore)
    return Objects(boxes, np.array(labels, np.int64), None if scores is None else np.array(scores, float), masks, ignore)


TRUTH = [[10, 10, 20, 20], [60, 10, 20, 20], [10, 60, 20, 20], [60, 60, 20, 20], [110, 10, 40, 40]]
CASES = [  # box, label, score, kind, object
    ([10, 10, 20, 20], 0, 0.9, "true positive", 0),
    ([10, 10, 20, 18], 0, 0.8, "duplicate", 0),
    ([60, 10, 20, 19], 1, 0.7, "class", 1),
    ([10, 60, 20, 8], 0, 0.6, "localization", 2),
    ([60, 60, 20, 8], 1, 0.5, "class and localization", 3),
    ([100, 90, 20, 20], 0, 0.4, "background", -1),
    ([110, 10, 40, 38], 2, 0.3, "ignored", 4),
]


@pytest.mark.parametrize("kind", ["bbox", "segm", "rotated"])
def test_each_kind_of_error(kind):
    truth = objects(kind, TRUTH, [0, 0, 0, 0, 2], ignore=[False, False, False, False, True])
    found = objects(kind, *map(list, list(zip(*CASES, strict=True))[:3]))
    errors = find_errors([ImagePair("a", None, SIZE, truth, found)], CLASSES, kind)
    assert [KINDS[number] for number in errors.kinds] == [case[3] for case in CASES]
    assert errors.objects.tolist() == [case[4] for case in CASES]
    assert errors.ious[:4] == pytest.approx([1, 0.9, 0.95, 0.4], abs=1e-5)
    assert errors.missed.tolist() == [False, True, True, True, False]
    assert errors.found_by.tolist() == [0, -1, -1, -1, -1]
    counts = errors.counts()
    assert counts["class"].tolist() == [0, 1, 0]
    assert counts["missed"].tolist() == [3, 0, 0]
    sizes = errors.counts_by_size()
    assert {name: rows.sum() for name, rows in sizes.items()} == {name: rows.sum() for name, rows in counts.items()}
    assert (sizes["background"].tolist(), sizes["ignored"].tolist()) == ([1, 0, 0], [0, 1, 0])
    assert sizes["missed"].tolist() == [3, 0, 0]


def test_the_larger_overlap_decides_then_the_right_class():
    truth = objects("bbox", [[0, 0, 20, 20], [0, 0, 20, 10]], [0, 1])
    found = objects("bbox", [[0, 0, 20, 9], [0, 0, 20, 14], [0, 0, 20, 4]], [0, 1, 1], [0.9, 0.8, 0.7])
    errors = find_errors([ImagePair(1, None, SIZE, truth, found)], CLASSES, "bbox")
    # 0.45 of its class, 0.9 of another: confused; 0.7 of another, 0.71 of its own: found; 0.4 of its own: poorly placed
    assert [KINDS[number] for number in errors.kinds] == ["class", "true positive", "localization"]
    assert errors.objects.tolist() == [1, 1, 1]


def random_pairs(seed: int, images: int = 10) -> list[ImagePair]:
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(images):
        count = int(random.integers(0, 7))
        truth = np.hstack([random.uniform(0, 70, (count, 2)), random.uniform(10, 60, (count, 2))])
        copies = int(random.integers(0, 20)) if count else 0
        source = random.integers(0, max(count, 1), copies)
        found = (truth[source] if count else EMPTY) + random.normal(0, 7, (copies, 4))
        found[:, 2:] = found[:, 2:].clip(3)
        labels = random.integers(0, 3, count)
        guess = np.where(random.random(copies) < 0.7, labels[source] if count else 0, random.integers(0, 3, copies))
        pairs.append(
            ImagePair(
                number + 1,
                None,
                SIZE,
                objects("bbox", truth, labels, ignore=random.random(count) < 0.15),
                objects("bbox", found, guess, random.permutation(copies) / 20 + random.random(copies) / 1000),
            )
        )
    return pairs


def oracle_ap50(pairs: list[ImagePair]) -> float:
    """Returns pycocotools' AP50."""
    annotations, results = [], []
    for one in pairs:
        for box, label, crowd in zip(one.truth.boxes, one.truth.labels, one.truth.ignore, strict=True):
            entry = {"id": len(annotations) + 1, "image_id": one.image_id, "category_id": int(label), "iscrowd": int(crowd)}
            annotations.append({**entry, "bbox": box.tolist(), "area": float(box[2] * box[3])})
        for box, label, score in zip(one.detections.boxes, one.detections.labels, one.detections.scores, strict=True):
            entry = {"image_id": one.image_id, "category_id": int(label), "score": float(score)}
            results.append({**entry, "bbox": box.tolist()})
    truth = {
        "images": [{"id": one.image_id, "height": SIZE[0], "width": SIZE[1]} for one in pairs],
        "annotations": annotations,
        "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES)],
        "info": {},
    }
    return float(run_coco_eval(truth, results, "bbox").stats[1])


def mended(errors, kind: str) -> list[ImagePair]:
    """Returns the images with one kind of error put right in the detections themselves, slowly."""
    rows = [row for row in np.argsort(-errors.matches.scores, kind="stable") if KINDS[errors.kinds[row]] == kind]
    taken, moved, dropped = set(errors.objects[errors.kinds == 0].tolist()), {}, set()
    for row in rows:
        target = int(errors.objects[row])
        if kind in ("class", "localization") and target not in taken:
            taken.add(target)
            moved[int(row)] = target
        else:
            dropped.add(int(row))
    answered = {
        int(target)
        for target, number in zip(errors.objects, errors.kinds, strict=True)
        if KINDS[number] in ("class", "localization", "true positive")
    }
    result = []
    for number, pair in enumerate(errors.pairs):
        found, truth = errors.rows_of(number)
        boxes, labels = pair.detections.boxes.copy(), pair.detections.labels.copy()
        for row in range(found.start, found.stop):
            if row in moved:
                boxes[row - found.start] = pair.truth.boxes[moved[row] - truth.start]
                labels[row - found.start] = pair.truth.labels[moved[row] - truth.start]
        keep = np.array([row not in dropped for row in range(found.start, found.stop)], dtype=bool)
        gone = kind == "missed"
        left = np.array(
            [not gone or row in answered or errors.matches.ignored[row] for row in range(truth.start, truth.stop)],
            dtype=bool,
        )
        result.append(
            ImagePair(
                pair.image_id,
                None,
                SIZE,
                objects("bbox", pair.truth.boxes[left], pair.truth.labels[left], ignore=pair.truth.ignore[left]),
                objects("bbox", boxes[keep], labels[keep], pair.detections.scores[keep]),
            )
        )
    return result


@pytest.mark.parametrize("seed", range(5))
def test_costs_are_what_mended_detections_gain(seed):
    pairs = random_pairs(seed)
    errors = find_errors(pairs, CLASSES, "bbox")
    assert {KINDS[kind] for kind in errors.kinds} >= {"true positive", "class", "localization", "background"}
    costs = error_costs(errors)
    assert costs.total == pytest.approx(oracle_ap50(pairs), abs=1e-9)
    for kind in FIXED:
        assert costs.total + costs.gain(kind) == pytest.approx(oracle_ap50(mended(errors, kind)), abs=1e-9), kind


def test_costs_by_size_are_of_those_objects_alone():
    truth = objects("bbox", [[0, 0, 10, 10], [20, 0, 50, 50]], [0, 0])
    found = objects("bbox", [[0, 0, 10, 10], [20, 0, 50, 20]], [0, 0], [0.9, 0.8])
    errors = find_errors([ImagePair(1, None, SIZE, truth, found)], CLASSES, "bbox")
    assert error_costs(errors, "small").total == pytest.approx(1)
    assert error_costs(errors, "small").gain("localization") == pytest.approx(0)
    medium = error_costs(errors, "medium")
    assert (medium.total, medium.gain("localization")) == (pytest.approx(0), pytest.approx(1))
    assert np.isnan(error_costs(errors, "large").total)


def test_confusion_counts_what_was_found_where():
    truth = objects("bbox", TRUTH[:3], [0, 1, 2])
    boxes = [TRUTH[0], TRUTH[1], [100, 90, 20, 20]]
    found = objects("bbox", boxes, [0, 0, 1], [0.9, 0.8, 0.7])
    errors = find_errors([ImagePair(1, None, SIZE, truth, found)], CLASSES, "bbox")
    table = errors.confusion()
    assert table.tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert errors.confusion(score=0.95)[:3, 3].tolist() == [1, 1, 1]


def test_what_only_one_of_two_runs_found():
    truth = objects("bbox", TRUTH[:3], [0, 1, 2])
    runs = [
        find_errors([ImagePair(1, None, SIZE, truth, objects("bbox", boxes, labels, [0.9, 0.8]))], CLASSES, "bbox")
        for boxes, labels in (([TRUTH[0], TRUTH[1]], [0, 1]), ([TRUTH[0], TRUTH[2]], [0, 2]))
    ]
    first, second = disagreements(*runs)
    assert (first.tolist(), second.tolist()) == ([1], [2])
    other = find_errors([ImagePair(2, None, SIZE, truth, objects("bbox", EMPTY, [], []))], CLASSES, "bbox")
    with pytest.raises(ValueError, match="same images"):
        disagreements(runs[0], other)


def test_empty_images_and_no_images():
    assert len(find_errors([], CLASSES, "segm").kinds) == 0
    truth, found = objects("bbox", EMPTY, []), objects("bbox", [[0, 0, 5, 5]], [1], [0.5])
    errors = find_errors(
        [ImagePair(1, None, SIZE, truth, found), ImagePair(2, None, SIZE, truth, objects("bbox", EMPTY, [], []))],
        CLASSES,
        "bbox",
    )
    assert [KINDS[kind] for kind in errors.kinds] == ["background"]
    assert errors.rows_of(1) == (slice(1, 1), slice(0, 0))
    assert np.isnan(error_costs(errors).total)
    with pytest.raises(ValueError, match="background < foreground"):
        find_errors([], CLASSES, "bbox", foreground=0.1, background=0.5)
