from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_dota import write_dota
from made_sets import annotation, assert_one_sentence, content, image, write_annotations, write_split
from made_sources import write_run
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.runs import data_name, read_predictions, read_run
from rtmdet_lab.core.errors import DataError


def write_coco(folder: Path) -> Path:
    """Two images of 64 x 64, one object each: category 3, "blob"."""
    images = [image(1), image(2)]
    objects = [annotation(1, 1), annotation(2, 2)]
    objects[1]["iscrowd"] = 1
    what = content(images, objects, [{"id": 3, "name": "blob"}, {"id": 7, "name": "other"}])
    write_annotations(folder / "annotations.json", what)
    (folder / "val").mkdir(parents=True, exist_ok=True)
    return folder


def found(image_id: int = 1, category: int = 3, **fields) -> dict:
    return {"image_id": image_id, "category_id": category, "bbox": [8, 8, 32, 16], "score": 0.5, **fields}


def test_a_run_is_read_with_its_classes_and_judged(tmp_path):
    data = write_coco(tmp_path / "set")
    source = read_run(write_run(tmp_path / "k5", data, [found(), found(2)]))
    assert (source.name, source.data, source.classes, source.kind) == ("k5", "set annotations", ("blob",), "bbox")
    assert source.left_out == []
    assert [len(pair.truth) for pair in source.pairs] == [1, 1]
    np.testing.assert_array_equal(source.pairs[0].truth.boxes, [[8, 8, 32, 16]])
    assert [rows.detections["error"] for rows in source.rows] == [["true positive"], ["ignored"]]
    assert [rows.missed.tolist() for rows in source.rows] == [[False], [False]]


def test_strange_images_and_classes_are_left_out_and_named(tmp_path):
    data = write_coco(tmp_path / "set")
    results = [found(), found(99), found(98), found(1, 7)]
    source = read_run(write_run(tmp_path / "k5", data, results))
    assert sum(len(pair.detections) for pair in source.pairs) == 1
    assert len(source.left_out) == 2
    assert "2 detections" in source.left_out[0]
    assert source.left_out[0].endswith("images that the set does not have: 99, 98")
    assert source.left_out[1].endswith("classes that the set does not have: 7")


def test_run_without_detections_or_data_is_refused(tmp_path):
    data = write_coco(tmp_path / "set")
    with pytest.raises(DataError) as failure:
        read_run(write_run(tmp_path / "k5", data, None))
    assert_one_sentence(failure.value, "no predictions.json", "k5")
    run = write_run(tmp_path / "gone", tmp_path / "nowhere", [])
    with pytest.raises(DataError) as failure:
        read_run(run)
    assert_one_sentence(failure.value, "nowhere", "--images")
    assert len(read_run(run, data / "val", data / "annotations.json").pairs) == 2
    with pytest.raises(DataError, match="no record"):
        read_run(tmp_path / "not a run")


def test_paths_of_a_record_hold_from_wherever_it_is_read(tmp_path, monkeypatch):
    data = write_coco(tmp_path / "data" / "set")
    paths = {"data.val_images": "../data/set/val", "data.val_annotations": "../data/set/annotations.json"}
    write_run(tmp_path / "runs" / "k5", data, [found()], **paths)
    monkeypatch.chdir(tmp_path)
    assert len(read_run(Path("runs/k5")).pairs) == 2


@pytest.mark.parametrize("broken", [{}, [1], [{"image_id": 1}], [{**found(), "score": "high"}]])
def test_malformed_detections_are_refused_with_their_file(broken, tmp_path):
    data = write_coco(tmp_path / "set")
    with pytest.raises(DataError) as failure:
        read_run(write_run(tmp_path / "k5", data, broken))
    assert_one_sentence(failure.value, "result")


def with_outlines(annotations: Path) -> dict:
    """Gives every object of an annotation file the outline of its box; returns the content."""
    truth = json.loads(annotations.read_text())
    for one in truth["annotations"]:
        x, y, width, height = one["bbox"]
        one["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    annotations.write_text(json.dumps(truth))
    return truth


def test_masks_are_read_as_run_lengths(tmp_path):
    write_split(tmp_path, "val", 2)
    annotations = tmp_path / "annotations" / "instances_val.json"
    truth = with_outlines(annotations)
    size = truth["images"][0]["height"], truth["images"][0]["width"]
    mask = np.zeros(size, dtype=np.uint8)
    mask[10:20, 10:30] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    packed["counts"] = packed["counts"].decode()
    one = {"image_id": truth["images"][0]["id"], "category_id": truth["categories"][0]["id"], "score": 0.5}
    (tmp_path / "found.json").write_text(json.dumps([one | {"bbox": [10, 10, 20, 10], "segmentation": packed}]))
    source = read_predictions(tmp_path / "found.json", tmp_path / "val", annotations)
    assert source.kind == "segm"
    np.testing.assert_array_equal(coco_mask.decode(source.pairs[0].detections.masks[0]), mask)
    pair = source.pairs[0]
    for number in range(len(pair.truth)):
        area = next(a for a in truth["annotations"] if a["image_id"] == pair.image_id)["area"] if number == 0 else None
        if area:
            assert coco_mask.area(pair.truth.masks[number]) == pytest.approx(area, rel=0.2)


def test_rotated_results_and_label_files_are_read(tmp_path):
    lines = {"P1": ["10 10 50 10 50 30 10 30 ship 0", "60 60 80 60 80 70 60 70 ship 1"], "P2": []}
    images, labels = write_dota(tmp_path / "aerial" / "val", lines)
    rbox = [30, 20, 40, 20, 0.0]
    results = [{"image_id": "P1", "class": "ship", "score": 0.9, "rbox": rbox}]
    results.append({"image_id": "P9", "class": "ship", "score": 0.9, "rbox": rbox})
    (tmp_path / "found.json").write_text(json.dumps(results))
    source = read_predictions(tmp_path / "found.json", images, labels, ("ship",))
    assert source.rotated
    assert source.rows[0].detections["error"] == ["true positive"]
    assert source.pairs[0].truth.ignore.tolist() == [False, True]
    assert source.pairs[0].size == (80, 100)
    assert [len(pair.truth) for pair in source.pairs] == [2, 0]
    assert source.left_out[0].endswith("P9")


def test_real_ships_are_read(real_data):
    folder = real_data / "dota-sample"
    predictions = folder / "labelTxt"
    assert data_name(predictions) == f"{folder.parent.name} dota-sample"
    from rtmdet_lab.browse.runs import _read_rotated

    pairs, names, _, left_out = _read_rotated([], predictions, folder / "images", predictions, None)
    assert left_out == []
    assert sum(int((pair.truth.labels == names.index("ship")).sum()) for pair in pairs) == 531
