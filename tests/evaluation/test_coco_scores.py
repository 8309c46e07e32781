"""Both engines give the same numbers, and the slower one takes over where the faster one cannot."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rtmdet_lab.evaluation import coco_scores
from rtmdet_lab.evaluation.coco_scores import Scores, _copied, run_coco_eval, score_coco

SIZE = (120, 160)


def run_lengths(box) -> dict:
    mask = np.zeros(SIZE, dtype=np.uint8)
    x, y, width, height = (int(value) for value in box)
    mask[y : y + height, x : x + width] = 1
    found = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def outline(box) -> list[list[float]]:
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def made(seed: int, most: int = 40, names: int = 3) -> tuple[dict, list[dict]]:
    """Returns ground truth and results with crowds, equal scores, polygons and run lengths, images without either."""
    random = np.random.default_rng(seed)
    annotations, results = [], []
    for image in range(8):
        boxes = random.uniform((0, 0, 3, 3), (100, 80, 60, 40), (random.integers(0, 7) if image else 0, 4))
        for box in boxes:
            crowd = bool(random.random() < 0.2)
            entry = {"id": len(annotations), "image_id": image, "category_id": int(random.integers(1, names + 1))}
            entry |= {"bbox": box.tolist(), "area": float(box[2] * box[3] * 0.8), "iscrowd": int(crowd)}
            annotations.append({**entry, "segmentation": run_lengths(box) if crowd else outline(box.tolist())})
        for _ in range(random.integers(0, most)):
            box = (boxes[random.integers(len(boxes))] if len(boxes) else np.array([10, 10, 20, 20])) + random.normal(0, 3, 4)
            box = np.maximum(box, (0, 0, 1, 1))
            entry = {"image_id": image, "category_id": int(random.integers(1, names + 1)), "bbox": box.tolist()}
            results.append({**entry, "score": int(random.integers(1, 9)) / 8, "segmentation": run_lengths(box)})
    images = [{"id": number, "height": SIZE[0], "width": SIZE[1]} for number in range(8)]
    categories = [{"id": number, "name": f"c{number}"} for number in range(1, names + 1)]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}, results


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(("seed", "most", "names"), [(0, 40, 3), (1, 40, 3), (2, 40, 5), (3, 400, 1), (4, 3, 2)])
def test_engines_agree(kind, seed, most, names):
    pytest.importorskip("hotcoco")
    truth, results = made(seed, most, names)
    fast = score_coco(truth, results, kind, "hotcoco")
    slow = run_coco_eval(truth, results, kind)
    np.testing.assert_allclose(fast.stats, slow.stats, atol=1e-12)
    for name in ("precision", "recall"):
        np.testing.assert_allclose(fast.eval[name], slow.eval[name], atol=1e-12)
    assert list(fast.params.catIds) == list(slow.params.catIds)


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_nothing_found_and_nothing_to_find(engine):
    pytest.importorskip("hotcoco")
    truth, results = made(0)
    assert score_coco(truth, [], "bbox", engine).stats.tolist()[0] == 0
    empty = {**truth, "annotations": []}
    for some in (results, []):
        assert score_coco(empty, some, "bbox", engine).stats.tolist() == [-1.0] * 12


def test_the_faster_engine_is_taken_where_it_can_be(monkeypatch):
    pytest.importorskip("hotcoco")
    truth, results = made(1)
    assert isinstance(score_coco(truth, results, "bbox"), Scores)
    names = {**truth, "images": [{**one, "id": f"P{one['id']}"} for one in truth["images"]]}
    names["annotations"] = [{**one, "image_id": f"P{one['image_id']}"} for one in truth["annotations"]]
    named = [{**one, "image_id": f"P{one['image_id']}"} for one in results]
    by_name = score_coco(names, named, "bbox")
    assert not isinstance(by_name, Scores)
    np.testing.assert_allclose(by_name.stats[:6], score_coco(truth, results, "bbox").stats[:6], atol=1e-12)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not isinstance(score_coco(truth, results, "bbox"), Scores)


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("bbox", ["bbox"]),
        ("bbox", ["bbox", "segmentation"]),
        ("segm", ["segmentation"]),
        ("segm", ["bbox", "segmentation"]),
    ],
)
def test_what_is_scored_stays_as_it_was(engine, kind, fields):
    pytest.importorskip("hotcoco")
    truth, results = made(2)
    results = [{key: one[key] for key in ("image_id", "category_id", "score", *fields)} for one in results]
    before = repr((truth, results))
    stats = score_coco(truth, results, kind, engine).stats
    assert repr((truth, results)) == before
    np.testing.assert_array_equal(score_coco(truth, tuple(results), kind, engine).stats, stats)


@pytest.mark.parametrize(("fields", "copies"), [(["bbox"], 0), (["bbox", "segmentation"], 1)])
def test_only_results_with_more_than_is_read_are_copied(monkeypatch, fields, copies):
    pytest.importorskip("hotcoco")
    truth, results = made(2)
    results = [{key: one[key] for key in ("image_id", "category_id", "score", *fields)} for one in results]
    made_copies = []
    monkeypatch.setattr(coco_scores, "_copied", lambda *given: made_copies.append(1) or _copied(*given))
    score_coco(truth, results, "bbox", "hotcoco")
    assert len(made_copies) == copies
