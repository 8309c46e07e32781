"""AP from stored matches equals the benchmarks: pycocotools for boxes and masks, our DOTA numbers for rotated boxes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.runs import read_predictions
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.evaluation.average_precision import average_precision
from rtmdet_lab.evaluation.coco_scores import run_coco_eval
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.evaluation.matching import ImagePair, Objects, match_images
from rtmdet_lab.geometry.masks import decode_segmentation

SIZE = (200, 260)
CLASSES = ("cat", "dog", "newt", "owl")  # no object is an owl


def ellipse(box: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    width, height = max(box[2], 1.0), max(box[3], 1.0)
    return ((x - box[0] - width / 2) / (width / 2)) ** 2 + ((y - box[1] - height / 2) / (height / 2)) ** 2 <= 1


def run_lengths(boxes: np.ndarray) -> list[dict]:
    return [coco_mask.encode(np.asfortranarray(ellipse(box), dtype=np.uint8)) for box in boxes]


def made_pairs(seed: int, masks: bool, images: int = 8, most: int = 30) -> list[ImagePair]:
    """Returns images with crowds, equal scores, equal boxes, more detections than count, and images without either."""
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(images):
        count = 0 if number == 0 else int(random.integers(1, 9))
        corner = random.uniform(0, 120, (count, 2))
        truth = np.hstack([corner, random.uniform(4, 130, (count, 2))]).round(1)
        copies = random.integers(0, most, 1)[0] if number != 1 else 0
        source = random.integers(0, max(count, 1), copies)
        noise = random.normal(0, 6, (copies, 4)) * random.integers(0, 2, (copies, 1))
        found = (truth[source] if count else np.full((copies, 4), 50.0)) + noise
        found[:, 2:] = found[:, 2:].clip(2)
        labels = random.integers(0, 3, count)
        guess = np.where(random.random(copies) < 0.8, labels[source] if count else 0, random.integers(0, 4, copies))
        scores = random.integers(1, 12, copies) / 12
        crowd = random.random(count) < 0.2
        encoded = (run_lengths(truth), run_lengths(found)) if masks else (None, None)
        pairs.append(
            ImagePair(
                number + 1,
                None,
                SIZE,
                Objects(truth, labels, None, encoded[0], crowd, areas=truth[:, 2] * truth[:, 3] * 0.7),
                Objects(found, guess.astype(np.int64), scores, encoded[1]),
            )
        )
    return pairs


def pycocotools_says(pairs: list[ImagePair], kind: str) -> dict[str, float]:
    truth = {
        "images": [{"id": one.image_id, "height": SIZE[0], "width": SIZE[1]} for one in pairs],
        "categories": [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)],
        "annotations": [],
        "info": {},
    }
    results = []
    for one in pairs:
        for row in range(len(one.truth)):
            entry = {"id": len(truth["annotations"]) + 1, "image_id": one.image_id, "area": float(one.truth.areas[row])}
            entry |= {"category_id": int(one.truth.labels[row]) + 1, "iscrowd": int(one.truth.ignore[row])}
            entry["bbox"] = one.truth.boxes[row].tolist()
            if kind == "segm":
                entry["segmentation"] = one.truth.masks[row]
            truth["annotations"].append(entry)
        for row in range(len(one.detections)):
            entry = {"image_id": one.image_id, "category_id": int(one.detections.labels[row]) + 1}
            entry |= {"score": float(one.detections.scores[row]), "bbox": one.detections.boxes[row].tolist()}
            if kind == "segm":
                entry["segmentation"] = one.detections.masks[row]
            results.append(entry)
    stats = run_coco_eval(truth, results, kind).stats
    return dict(zip(("AP", "AP50", "AP75", "small", "medium", "large"), map(float, stats[:6]), strict=True))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_numbers_follow_from_the_matches(seed, kind):
    pairs = made_pairs(seed, kind == "segm")
    wanted = pycocotools_says(pairs, kind)
    ours = match_images(pairs, CLASSES, kind).summary()
    for name in ("AP", "AP50", "AP75"):
        assert ours[name] == pytest.approx(wanted[name], abs=1e-9), name
    for size in ("small", "medium", "large"):
        assert match_images(pairs, CLASSES, kind, size=size).summary()["AP"] == pytest.approx(wanted[size], abs=1e-9), size


def test_only_the_hundred_best_of_a_class_count():
    pairs = made_pairs(3, False, images=4, most=600)
    assert max(np.bincount(one.detections.labels).max(initial=0) for one in pairs) > 100
    matches = match_images(pairs, CLASSES, "bbox")
    assert matches.summary()["AP"] == pytest.approx(pycocotools_says(pairs, "bbox")["AP"], abs=1e-9)


def rotated_pairs(seed: int) -> list[ImagePair]:
    random = np.random.default_rng(seed)
    pairs = []
    for number in range(6):
        count = 0 if number == 0 else int(random.integers(1, 8))
        truth = np.hstack([random.uniform(20, 180, (count, 2)), random.uniform(8, 60, (count, 2))])
        truth = np.hstack([truth, random.uniform(-1.5, 1.5, (count, 1))]).astype(np.float32)
        copies = int(random.integers(0, 25)) if number != 1 and count else 0
        source = random.integers(0, max(count, 1), copies)
        noise = random.normal(0, 1, (copies, 5)) * (3, 3, 3, 3, 0.15) * random.integers(0, 2, (copies, 1))
        found = (truth[source] + noise).astype(np.float32) if copies else np.zeros((0, 5), np.float32)
        found[:, 2:4] = found[:, 2:4].clip(1)
        labels = random.integers(0, 3, count)
        guess = np.where(random.random(copies) < 0.8, labels[source], random.integers(0, 4, copies)).astype(np.int64)
        scores = random.integers(1, 12, copies) / 12
        difficult = random.random(count) < 0.25
        pairs.append(
            ImagePair(f"P{number}", None, SIZE, Objects(truth, labels, ignore=difficult), Objects(found, guess, scores))
        )
    return pairs


@pytest.mark.parametrize("seed", range(6))
def test_dota_numbers_follow_from_the_matches(seed):
    pairs = rotated_pairs(seed)
    evaluator = DotaEvaluator(CLASSES)
    for one in pairs:
        meta = ImageMeta(one.image_id)
        rows = one.detections
        found = (torch.from_numpy(rows.boxes), torch.from_numpy(rows.scores), torch.from_numpy(rows.labels))
        truth = (torch.from_numpy(one.truth.boxes), torch.from_numpy(one.truth.labels))
        evaluator.add(
            [Detections(*found, meta=meta)], [Targets(*truth, ignore=torch.from_numpy(one.truth.ignore), meta=meta)]
        )
    ours = match_images(pairs, CLASSES, "rotated").summary()
    for name, value in evaluator.summary().items():
        assert ours[name] == pytest.approx(value, abs=1e-9), name


def test_one_image_by_hand():
    truth = Objects(np.array([[0, 0, 10, 10], [20, 0, 10, 10.0]]), np.array([0, 0]))
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 0, 10, 6.0]])
    found = Objects(boxes, np.array([0, 0, 0]), np.array([0.9, 0.8, 0.7]))
    matches = match_images([ImagePair(7, None, SIZE, truth, found)], ("cat",), "bbox", thresholds=[0.5])
    assert matches.matched.tolist() == [[0, -1, 1]]
    assert matches.objects.tolist() == [2]
    # right, wrong, right: precision 1 up to recall 0.5, then 2 / 3
    assert matches.summary()["AP50"] == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_nothing_found_and_nothing_to_find():
    empty = Objects(np.zeros((0, 4)), np.zeros(0, np.int64))
    none = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), masks=[])
    assert match_images([], CLASSES, "bbox").summary()["AP"] == -1
    assert match_images([ImagePair(1, None, SIZE, empty, none)], CLASSES, "segm").summary()["AP"] == -1
    nothing = average_precision(
        np.zeros(0, int), np.zeros(0), np.zeros((1, 0), bool), np.zeros((1, 0), bool), np.array([2]), np.linspace(0, 1, 5)
    )
    assert nothing.tolist() == [[0.0]]


@pytest.mark.lengthy
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_numbers_of_real_annotations(real_data, tmp_path, kind):
    annotations = real_data / "coco-mini" / "annotations" / "instances_val2017.json"
    truth = json.loads(annotations.read_text())
    sizes = {one["id"]: (one["height"], one["width"]) for one in truth["images"]}
    random = np.random.default_rng(5)
    categories = [one["id"] for one in truth["categories"]]
    results = []
    for one in [one for one in truth["annotations"] for _ in range(2)]:
        box = np.array(one["bbox"]) + random.normal(0, 0.08, 4) * one["bbox"][2] * (random.random() < 0.8)
        category = one["category_id"] if random.random() < 0.85 else int(random.choice(categories))
        entry = {"image_id": one["image_id"], "category_id": category, "bbox": box.clip(0.5).tolist()}
        entry["score"] = round(float(random.random()), 2)  # many are equal
        if kind == "segm":
            size = sizes[one["image_id"]]
            steps = [int(step) for step in random.integers(-3, 4, 2)]
            mask = np.roll(decode_segmentation(one["segmentation"], size), steps, (0, 1))
            encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
            entry["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
        results.append(entry)
    (tmp_path / "found.json").write_text(json.dumps(results))
    source = read_predictions(tmp_path / "found.json", real_data / "coco-mini" / "val2017", annotations)
    assert (source.kind, source.left_out) == (kind, [])
    stats = run_coco_eval(truth, results, kind).stats
    wanted = dict(zip(("AP", "AP50", "AP75", "small", "medium", "large"), map(float, stats[:6]), strict=True))
    assert 0.1 < wanted["AP"] < 0.9
    pairs = sorted(source.pairs, key=lambda pair: pair.image_id)  # pycocotools goes through them so, which settles ties
    ours = match_images(pairs, source.classes, kind).summary()
    ours |= {size: match_images(pairs, source.classes, kind, size=size).summary()["AP"] for size in list(wanted)[3:]}
    assert ours == pytest.approx(wanted, abs=1e-6)


def test_dota_numbers_of_real_annotations(real_data):
    folder = real_data / "dota-sample"
    data = DotaDataset(folder / "images", folder / "labelTxt")
    random = np.random.default_rng(5)
    evaluator, pairs = DotaEvaluator(data.classes), []
    for number in range(len(data)):
        truth = data.truth(number)
        boxes = truth.boxes.numpy()
        found = (boxes + random.normal(0, 1, boxes.shape) * (3, 3, 2, 2, 0.1)).astype(np.float32)
        scores = random.random(len(found)).round(2)
        ignore = random.random(len(found)) < 0.1  # as if difficult
        labels, meta = truth.labels.numpy(), ImageMeta(str(number))
        detections = Detections(torch.from_numpy(found), torch.from_numpy(scores), truth.labels, meta=meta)
        evaluator.add([detections], [Targets(truth.boxes, truth.labels, ignore=torch.from_numpy(ignore), meta=meta)])
        pairs.append(
            ImagePair(str(number), None, SIZE, Objects(boxes, labels, ignore=ignore), Objects(found, labels, scores))
        )
    assert sum(len(one.truth) for one in pairs) == 600
    wanted = evaluator.summary()
    assert 0.05 < wanted["AP"] < 0.95
    ours = match_images(pairs, data.classes, "rotated").summary()
    assert {name: ours[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
