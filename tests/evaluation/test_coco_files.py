"""Results and ground truth from files: whatever cannot be scored is named with its file and its number."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_sets import annotation, assert_one_sentence, content, image
from pycocotools import mask as coco_mask

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.coco import evaluate_coco


def run_lengths(height: int = 64, width: int = 64) -> dict:
    mask = np.zeros((height, width), np.uint8, order="F")
    mask[8:24, 8:40] = 1
    found = coco_mask.encode(mask)
    return {"size": list(map(int, found["size"])), "counts": found["counts"].decode()}


TRUTH = content(
    [image(1), image(2)], [annotation(1, 1, segmentation=run_lengths()), annotation(2, 2, 7, segmentation=run_lengths())]
)
GOOD = {"image_id": 1, "category_id": 3, "bbox": [8, 8, 32, 16], "score": 0.9, "segmentation": run_lengths()}


def write(path: Path, what: object) -> Path:
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


def test_sound_results_are_scored_whatever_holds_their_numbers(tmp_path):
    rows = [GOOD, GOOD | {"bbox": np.array([8.0, 8, 32, 16]), "score": np.float32(0.5), "image_id": np.int64(1)}]
    assert evaluate_coco(rows, TRUTH)["bbox"]["AP50"] == pytest.approx(0.5)  # one of the two objects
    files = write(tmp_path / "results.json", [GOOD]), write(tmp_path / "truth.json", TRUTH)
    assert evaluate_coco(*files, kinds=["segm"])["segm"]["AR100"] > 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 12345}, "image 12345, which the ground truth does not have"),
        ({"category_id": 5}, "category 5, which the ground truth does not have"),
        ({"score": None}, "score None"),
        ({"score": float("nan")}, "score nan"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3]"),
        ({"bbox": [1, 2, 3, float("inf")]}, "four finite numbers"),
        ({"bbox": [0, 0, 1e308, 1e308]}, "1,000,000 pixels"),
        ({"bbox": [-2e6, 0, 3, 3]}, "1,000,000 pixels"),
        ({"segmentation": run_lengths(32, 64)}, "size [32, 64], but its image has [64, 64]"),
        ({"segmentation": [[1, 1, 5, 1, 5, 5]]}, "not compressed run lengths"),
    ],
)
def test_result_that_cannot_be_scored_is_named(change, words, tmp_path):
    path = write(tmp_path / "results.json", [GOOD, GOOD | change])
    with pytest.raises(DataError) as error:
        evaluate_coco(path, TRUTH, kinds=["bbox", "segm"])
    assert_one_sentence(error.value, f"results file {path}, result number 2:", words)
    with pytest.raises(DataError) as error:
        evaluate_coco([GOOD | change], TRUTH, kinds=["bbox", "segm"])
    assert_one_sentence(error.value, "the results, result number 1:", words)


@pytest.mark.parametrize("key", ["image_id", "category_id", "score", "bbox", "segmentation"])
def test_only_what_is_scored_must_be_there(key):
    short = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(DataError, match=f"result number 1: has no {key}"):
        evaluate_coco([short], TRUTH, kinds=["bbox", "segm"])
    other = {"bbox": "segm", "segmentation": "bbox"}.get(key)
    if other:
        assert evaluate_coco([short], TRUTH, kinds=[other])[other]["AP"] >= 0


@pytest.mark.parametrize(
    ("truth", "results", "words"),
    [
        (TRUTH, "[{", ("results.json", "not valid JSON")),
        (TRUTH, {"annotations": []}, ("results.json", "list of COCO results")),
        (TRUTH, [5], ("results.json", "result number 1", "a int")),
        ("", [GOOD], ("truth.json", "empty")),
        ({"images": []}, [GOOD], ("truth.json", "no list 'annotations'")),
        (content([image(1)], [annotation(8, 1)]), [GOOD], ("truth.json", "annotation 8", "no segmentation")),
        (content([image(1)], [5]), [GOOD], ("truth.json", "annotation number 1", "no image_id")),
        ([1, 2], [GOOD], ("truth.json", "no list 'images'")),
    ],
)
def test_files_that_are_something_else_are_named(truth, results, words, tmp_path):
    files = write(tmp_path / "results.json", results), write(tmp_path / "truth.json", truth)
    with pytest.raises(DataError) as error:
        evaluate_coco(*files, kinds=["bbox", "segm"])
    assert_one_sentence(error.value, *words)
    with pytest.raises(DataError, match="does not exist"):
        evaluate_coco(tmp_path / "nowhere.json", files[1] if truth is TRUTH else TRUTH)


@pytest.mark.parametrize("flag", ["0", 0.0, False, "false", None])
def test_crowd_flags_of_any_type_count_as_they_mean(flag):
    rows = [annotation(1, 1, iscrowd=flag), annotation(2, 2, 7, iscrowd="1")]
    scores = evaluate_coco([GOOD], content([image(1), image(2)], rows))["bbox"]
    assert scores["AP50"] == pytest.approx(1.0), "the second object is a crowd and counts for nothing"


@pytest.mark.parametrize(
    ("change", "words"),
    [({"iscrowd": "maybe"}, "iscrowd 'maybe'"), ({"area": -9}, "area -9"), ({"bbox": [1, 2, 3]}, "four finite numbers")],
)
def test_truth_that_would_count_for_nothing_is_refused(change, words):
    with pytest.raises(DataError) as error:
        evaluate_coco([GOOD], content([image(1)], [annotation(41, 1) | change]))
    assert_one_sentence(error.value, "annotation 41", words)


def test_masks_are_not_scored_against_truth_without_masks():
    with pytest.raises(DataError) as error:
        evaluate_coco([GOOD], content([image(1)], [annotation(41, 1, segmentation=[])]), ("segm",))
    assert_one_sentence(error.value, "annotation 41", "empty segmentation")
    boxes = torch.tensor([[8.0, 8, 40, 24]])
    labels, masks = torch.zeros(1, dtype=torch.int64), torch.ones(1, 64, 64, dtype=torch.bool)
    found = Detections(boxes, torch.ones(1), labels, masks=masks)
    with pytest.raises(DataError) as error:
        evaluate_coco([found], [Targets(boxes, labels, meta=ImageMeta(7, (64, 64)))], ("segm",))
    assert_one_sentence(error.value, "ground truth of image 7", "masks")


def test_official_example_has_its_published_numbers(real_data):
    folder = real_data / "eval_reference/coco_val2014_100/cocoapi"
    found = {
        kind: evaluate_coco(
            folder / f"instances_val2014_fake{kind}100_results.json", folder / "instances_val2014_100.json", (kind,)
        )[kind]
        for kind in ("bbox", "segm")
    }
    published = {
        "bbox": (0.505, 0.697, 0.573, 0.586, 0.519, 0.501, 0.387, 0.594, 0.595, 0.640, 0.566, 0.564),
        "segm": (0.320, 0.562, 0.299, 0.387, 0.310, 0.327, 0.268, 0.415, 0.417, 0.469, 0.377, 0.381),
    }
    for kind, numbers in published.items():
        assert tuple(round(value, 3) for value in found[kind].values()) == numbers
