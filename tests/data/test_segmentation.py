"""Segmentations of COCO files: every form is read, every fault is named with the annotation's id."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_sets import assert_one_sentence
from pycocotools import mask as coco_mask

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.segmentation import outline_area, outline_box, segmentation_problem
from rtmdet_lab.evaluation.coco import CocoEvaluator, evaluate_coco
from rtmdet_lab.synthetic import generate_scenes
from rtmdet_lab.transforms.masks import FillPolygons

SQUARE = [2.0, 2.0, 8.0, 2.0, 8.0, 8.0, 2.0, 8.0]
BBOX = [2.0, 2.0, 6.0, 6.0]
HEIGHT, WIDTH = 16, 20


def ring() -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:8, 2:8] = 1
    mask[4:6, 4:6] = 0
    return mask


def compressed(mask: np.ndarray) -> dict:
    found = coco_mask.encode(np.asfortranarray(mask))
    return {"size": found["size"], "counts": found["counts"].decode()}


def make_set(folder: Path, segmentation, **changes) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    entry = {"id": 41, "image_id": 1, "category_id": 1, "bbox": BBOX, "area": 36, "iscrowd": 0} | changes
    if segmentation is not None:
        entry["segmentation"] = segmentation
    good = {"id": 7, "image_id": 1, "category_id": 1, "bbox": BBOX, "area": 36, "iscrowd": 0, "segmentation": [SQUARE]}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [good, entry],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return folder, path


UNCOMPRESSED = {"size": [HEIGHT, WIDTH], "counts": [34, 6, 10, 6, 10, 6, 10, 6, 10, 6, 10, 6, 200]}


@pytest.mark.parametrize(
    ("segmentation", "pixels"),
    [
        ([SQUARE], 36),
        ([SQUARE[:], [8.0, 8.0, 10.0, 8.0, 10.0, 10.0, 8.0, 10.0]], 40),
        (UNCOMPRESSED, 36),
        (compressed(ring()), 32),
    ],
    ids=["polygon", "two parts", "run lengths", "compressed, with a hole"],
)
def test_every_form_gives_its_pixels_in_training_and_in_scoring(segmentation, pixels, tmp_path):
    files = make_set(tmp_path, segmentation)
    _, target = CocoDataset(*files, outlines=True).load(0)
    assert int(target["masks"][1].sum()) == pixels
    image, target = CocoDataset(*files, training=True, min_image_size=1, outlines=True).load(0)
    _, found = FillPolygons()(image, target)
    expected = torch.from_numpy(np.stack([CocoDataset(*files, outlines=True).load(0)[1]["masks"][1].numpy()]))
    assert torch.equal(found["masks"][1], expected[0, 2::4, 2::4])


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "has no segmentation"),
        ([], "has no segmentation"),
        ([[1.0, 1.0, 5.0, 5.0]], "2 points, but at least 3"),
        ([[1.0, 1.0, 5.0, 5.0, 6.0]], "finite x, y pairs"),
        ([[1.0, 1.0, 5.0, float("nan"), 6.0, 1.0]], "finite x, y pairs"),
        ([[30.0, 30.0, 35.0, 30.0, 35.0, 35.0]], "outside of its image"),
        ([[2.0, 2.0, 1e9, 2.0, 8.0, 8.0]], "coordinate 1e+09"),
        ([[14.0, 12.0, 19.0, 12.0, 19.0, 15.0]], "disagrees with its bbox"),
        ({"size": [HEIGHT + 1, WIDTH], "counts": [HEIGHT * WIDTH + WIDTH]}, "run lengths of size [17, 20]"),
        ({"size": [HEIGHT, WIDTH], "counts": [5, 5]}, "10 pixels in all"),
        ({"size": [HEIGHT, WIDTH]}, "without a size"),
        ({"size": [HEIGHT, WIDTH], "counts": ""}, "0 pixels in all"),
        ({"size": [HEIGHT, WIDTH], "counts": compressed(ring())["counts"][:-2]}, "pixels in all"),
        ({"size": [HEIGHT, WIDTH], "counts": "P"}, "cannot be unpacked"),
        ({"size": [HEIGHT, WIDTH], "counts": "é\x00"}, "cannot be unpacked"),
        ({"size": [HEIGHT, WIDTH], "counts": "O"}, "not whole numbers"),
    ],
)
def test_faults_are_named_with_file_and_id_or_left_out(segmentation, words, tmp_path):
    files = make_set(tmp_path, segmentation)
    with pytest.raises(DataError) as caught:
        CocoDataset(*files, outlines=True)
    assert "annotation 41 " in str(caught.value)
    assert words in str(caught.value)
    assert "annotations.json" in str(caught.value)
    with pytest.warns(UserWarning, match="left out"):
        data = CocoDataset(*files, outlines=True, on_bad="skip")
    assert len(data.load(0)[1]["labels"]) == 1
    assert len(CocoDataset(*files).load(0)[1]["labels"]) == 2, "detection does not read segmentations"


@pytest.mark.parametrize("training", [False, True])
def test_run_lengths_are_held_against_the_image_where_the_file_has_no_size(training, tmp_path):
    other = np.zeros((HEIGHT + 1, WIDTH), np.uint8)
    folder, path = make_set(tmp_path, compressed(other))
    content = json.loads(path.read_text())
    for name in ("height", "width"):
        del content["images"][0][name]
    path.write_text(json.dumps(content))
    data = CocoDataset(folder, path, training=training, min_image_size=1, outlines=True)
    with pytest.raises(DataError) as caught:
        data.load(0)
    assert_one_sentence(caught.value, str(path), "a.png", "[17, 20]", "[16, 20]")


def found_any(run_lengths: dict) -> bool:
    return bool(coco_mask.area(run_lengths))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_sound_compressed_run_lengths_are_never_refused(density):
    rng = np.random.default_rng(int(100 * density))
    for _ in range(30):
        height, width = rng.integers(1, 300, 2).tolist()
        found = compressed((rng.random((height, width)) < density).astype(np.uint8))
        bbox = coco_mask.toBbox(found).tolist()
        assert segmentation_problem(found, bbox, (height, width)) is None
        around = outline_box(found)
        assert (around is None) == (not found_any(found))
        if around is not None:
            x, y, box_width, box_height = bbox
            assert around == (x, y, x + box_width, y + box_height)
        assert (outline_area(found) or 0) == coco_mask.area(found)


def test_crowds_are_scored_as_ignored_and_never_learned(tmp_path):
    files = make_set(tmp_path, compressed(ring()), iscrowd=1)
    _, target = CocoDataset(*files, outlines=True).load(0)
    assert target["ignore"].tolist() == [False, True]
    _, target = CocoDataset(*files, training=True, min_image_size=1, outlines=True).load(0)
    assert len(target["outlines"]) == len(target["labels"]) == 1


def test_scores_equal_those_of_the_file(tmp_path):
    paths = generate_scenes(tmp_path, train=0, val=6, size=128, difficulty=1.0, progress=False)
    data = CocoDataset(paths["val_images"], paths["val_annotations"], outlines=True)
    generator = torch.Generator().manual_seed(5)
    evaluator = CocoEvaluator(data.classes, kind="segm")
    for index in range(len(data)):
        _, target = data.load(index)
        fields = {name: target[name] for name in ("labels", "ignore", "areas", "masks", "meta")}
        truth = Targets(target["boxes"].as_subclass(torch.Tensor), **fields)
        # Shifted masks with random scores: neither all right nor all wrong.
        masks = truth.masks.roll(int(torch.randint(0, 3, (), generator=generator)), dims=2)
        scores = torch.rand(len(truth), generator=generator)
        evaluator.add([Detections(truth.boxes, scores, truth.labels, masks=masks, meta=truth.meta)], [truth])
    results = [dict(one, category_id=data.category_ids[one["category_id"] - 1]) for one in evaluator.results]
    expected = evaluate_coco(results, paths["val_annotations"], ("bbox", "segm"))
    assert evaluator.summary("segm") == pytest.approx(expected["segm"], abs=1e-9)
    assert evaluator.summary("bbox") == pytest.approx(expected["bbox"], abs=1e-9)
    assert 0.2 < expected["segm"]["AP"] < 1.0
    assert evaluator.summary() == {
        **evaluator.summary("segm"),
        **{f"box_{name}": expected["bbox"][name] for name in ("AP", "AP50", "AP75")},
    }


def test_real_segmentations_have_no_faults(real_data):
    folder = real_data / "coco-mini"
    for split in ("train2017", "val2017"):
        data = CocoDataset(folder / split, folder / "annotations" / f"instances_{split}.json", outlines=True)
        assert not data.file.problems
        _, target = data.load(3)
        assert target["masks"].shape[0] == len(target["labels"])
