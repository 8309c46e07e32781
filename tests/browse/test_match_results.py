from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.analysis.errors import KINDS, find_errors
from rtmdet_lab.browse.match_results import boundary_iou, describe
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.evaluation.matching import ImagePair, Objects

SIZE = (100, 200)


def judge(pair: ImagePair, kind: str):
    return describe(find_errors([pair], ("a", "b"), kind))[0]


def objects(rows: list[tuple], kind: str, scores=None, ignore=None) -> Objects:
    """Returns objects from (label, x, y, width, height), upright whatever the kind."""
    labels = np.array([row[0] for row in rows], dtype=np.int64)
    boxes = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4)
    masks = None
    if kind == "segm":
        masks = []
        for x, y, width, height in boxes.astype(int):
            mask = np.zeros(SIZE, dtype=np.uint8)
            mask[y : y + height, x : x + width] = 1
            masks.append(coco_mask.encode(np.asfortranarray(mask)))
    if kind == "rotated":
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        boxes = np.concatenate([centers, boxes[:, 2:], np.zeros((len(boxes), 1))], axis=1).astype(np.float32)
    return Objects(boxes, labels, None if scores is None else np.array(scores, dtype=float), masks, ignore)


@pytest.mark.parametrize("kind", ["bbox", "segm", "rotated"])
def test_every_kind_once(kind):
    truth = [(0, 10, 10, 20, 20), (1, 50, 10, 20, 20), (0, 90, 10, 20, 20), (0, 130, 10, 20, 20), (0, 10, 60, 30, 20)]
    found = [
        (0, 10, 10, 20, 20),  # on the first
        (0, 12, 10, 20, 20),  # 18 / 22 of the first, which is found already
        (0, 50, 10, 20, 18),  # 0.9 of the second, of another class
        (0, 100, 10, 20, 20),  # 10 / 30 of the third
        (1, 140, 10, 20, 20),  # 10 / 30 of the fourth, of another class
        (0, 160, 70, 10, 10),  # on nothing
        (0, 10, 60, 30, 20),  # on an ignored object
    ]
    ignore = np.array([False, False, False, False, True])
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]
    rows = judge(ImagePair(1, None, SIZE, objects(truth, kind, ignore=ignore), objects(found, kind, scores)), kind)
    expected = ["true positive", "duplicate", "class", "localization", "class and localization", "background", "ignored"]
    assert rows.detections["error"] == expected
    assert set(rows.detections["error"]) == set(KINDS)
    np.testing.assert_allclose(rows.detections["iou"], [1, 18 / 22, 0.9, 1 / 3, 1 / 3, 0, 1], atol=1e-5)
    assert rows.missed.tolist() == [False, True, True, True, False]


def test_best_detection_takes_the_object_whatever_the_order_of_the_rows():
    truth, found = [(0, 10, 10, 20, 20)], [(0, 12, 10, 20, 20), (0, 10, 10, 20, 20)]
    rows = judge(ImagePair(1, None, SIZE, objects(truth, "bbox"), objects(found, "bbox", [0.2, 0.9])), "bbox")
    assert rows.detections["error"] == ["duplicate", "true positive"]


def test_second_best_object_is_taken_in_coco_and_not_in_dota():
    truth = [(0, 10, 10, 20, 20), (0, 16, 10, 20, 20)]
    found = [(0, 10, 10, 20, 20), (0, 12, 10, 20, 20)]  # the second lies 18 / 22 on the first, 16 / 24 on the second
    for kind, second in (("bbox", "true positive"), ("segm", "true positive"), ("rotated", "duplicate")):
        rows = judge(ImagePair(1, None, SIZE, objects(truth, kind), objects(found, kind, [0.9, 0.8])), kind)
        assert rows.detections["error"] == ["true positive", second], kind


@pytest.mark.parametrize("kind", ["bbox", "segm", "rotated"])
def test_without_objects_all_is_background_and_without_detections_all_is_missed(kind):
    some, none = [(0, 10, 10, 20, 20)], []
    rows = judge(ImagePair(1, None, SIZE, objects(none, kind), objects(some, kind, [0.5])), kind)
    assert rows.detections["error"] == ["background"]
    assert rows.missed.tolist() == []
    rows = judge(ImagePair(1, None, SIZE, objects(some, kind), objects(none, kind, [])), kind)
    assert rows.detections["error"] == []
    assert rows.missed.tolist() == [True]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_true_positives_are_those_of_pycocotools(kind, seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(seed)

    def draw(count):
        corners = random.integers(0, 40, (count, 2))
        return [
            (int(label), *map(int, corner), 30, 20)
            for label, corner in zip(random.integers(0, 2, count), corners, strict=True)
        ]

    truth_rows, found_rows = draw(12), draw(25)
    ignore, scores = random.random(12) < 0.2, random.permutation(25) / 25
    truth, found = objects(truth_rows, kind, ignore=ignore), objects(found_rows, kind, scores)
    rows = judge(ImagePair(1, None, SIZE, truth, found), kind)

    def annotation(one: Objects, row: int) -> dict:
        x = {"bbox": one.boxes[row].tolist(), "category_id": int(one.labels[row]) + 1, "image_id": 1, "id": row + 1}
        return x | ({"segmentation": one.masks[row]} if kind == "segm" else {})

    api = COCO()
    api.dataset = {
        "images": [{"id": 1, "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [annotation(truth, row) | {"area": 600, "iscrowd": int(ignore[row])} for row in range(12)],
    }
    api.createIndex()
    results = [annotation(found, row) | {"score": float(scores[row])} for row in range(25)]
    for one in results:
        one.pop("id")
    evaluation = COCOeval(api, api.loadRes(results), kind)
    evaluation.evaluate()
    right, passed = set(), set()
    for image in evaluation.evalImgs:
        if image and image["aRng"] == [0, 1e10]:  # any size
            for number, row in enumerate(image["dtIds"]):
                if image["dtIgnore"][0][number]:
                    passed.add(row - 1)
                elif image["dtMatches"][0][number]:
                    right.add(row - 1)
    assert {row for row, one in enumerate(rows.detections["error"]) if one == "true positive"} == right
    assert {row for row, one in enumerate(rows.detections["error"]) if one == "ignored"} == passed


@pytest.mark.parametrize("seed", range(3))
def test_true_positives_give_the_ap_of_the_dota_evaluation(seed):
    random = np.random.default_rng(seed)
    boxes = np.stack([*random.uniform(20, 80, (2, 10)), *random.uniform(15, 30, (2, 10)), random.uniform(-1.5, 1.5, 10)], 1)
    shifted = np.repeat(boxes, 2, 0) + random.normal(0, 2, (20, 5)) * [1, 1, 1, 1, 0.02]
    truth = Objects(boxes.astype(np.float32), np.zeros(10, np.int64), ignore=random.random(10) < 0.2)
    found = Objects(shifted.astype(np.float32), np.zeros(20, np.int64), random.permutation(20) / 20)
    rows = judge(ImagePair(1, None, SIZE, truth, found), "rotated")
    evaluator = DotaEvaluator(("ship",))
    meta = ImageMeta(1, SIZE)
    detections = Detections(*(torch.from_numpy(one) for one in (found.boxes, found.scores, found.labels)), meta=meta)
    targets = Targets(torch.from_numpy(truth.boxes), torch.from_numpy(truth.labels), ignore=torch.from_numpy(truth.ignore))
    targets.meta = meta
    evaluator.add([detections], [targets])
    order = np.argsort(-found.scores)
    counted = [rows.detections["error"][row] for row in order if rows.detections["error"][row] != "ignored"]
    right = np.cumsum([one == "true positive" for one in counted])
    recall, precision = right / max((~truth.ignore).sum(), 1), right / np.arange(1, len(right) + 1)
    ap = np.mean([precision[recall >= level].max(initial=0) for level in np.arange(0, 1.01, 0.1)])
    assert evaluator.summary()["AP50"] == pytest.approx(ap, abs=1e-6)


def test_attributes_of_place_and_shape():
    truth = [(0, 0, 10, 40, 20), (0, 20, 10, 40, 20), (1, 60, 30, 100, 99.5)]
    rows = judge(ImagePair(1, None, (200, 200), objects(truth, "bbox"), objects([], "bbox", [])), "bbox")
    assert rows.truth["truncated"] == [True, False, False]
    assert rows.truth["aspect"] == pytest.approx([2, 2, 100 / 99.5])
    assert rows.truth["size"] == ["small", "small", "large"]
    assert rows.truth["crowding"] == pytest.approx([1 / 3, 1 / 3, 0])


def test_offset_and_angle_of_rotated_boxes():
    truth = Objects(np.array([[50, 50, 40, 10, 0.0]], np.float32), np.array([0]))
    boxes = np.array([[50, 50, 40, 10, 0.3], [54, 53, 40, 10, 0], [50, 50, 10, 40, np.pi / 2 - 0.2], [150, 50, 40, 10, 0]])
    found = Objects(boxes.astype(np.float32), np.zeros(4, np.int64), np.array([0.9, 0.8, 0.7, 0.6]))
    rows = judge(ImagePair(1, None, SIZE, truth, found), "rotated")
    np.testing.assert_allclose(rows.detections["angle_error"], [0.3, 0, 0.2, np.nan], atol=1e-5)
    np.testing.assert_allclose(rows.detections["offset"], [0, 5 / 20, 0, np.nan], atol=1e-5)


def test_boundary_iou_of_squares_worked_by_hand():
    def square(low: int, side: int) -> dict:
        mask = np.zeros((300, 400), dtype=np.uint8)  # diagonal 500, boundary 10 pixels
        mask[low : low + side, low : low + side] = 1
        return coco_mask.encode(np.asfortranarray(mask))

    assert boundary_iou(square(50, 100), square(50, 100)) == 1.0
    # Rings of 100^2 - 80^2 = 3600 and 80^2 - 60^2 = 2800 pixels that do not touch.
    assert boundary_iou(square(50, 100), square(60, 80)) == 0.0
    # Shifted by 90: the squares share a corner of 10 x 10, all boundary.
    assert boundary_iou(square(50, 100), square(140, 100)) == pytest.approx(100 / (2 * 3600 - 100))
