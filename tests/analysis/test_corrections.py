"""Corrected annotation files hold the corrections, and everything else as it was."""

from __future__ import annotations

import json

import pytest

from rtmdet_lab.analysis.corrections import Correction, write_corrected_coco, write_corrected_labels
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.data.label_file import read_label_file

COCO = {
    "info": {"description": "ours", "more": [1]},
    "images": [{"id": 7, "file_name": "a.jpg", "width": 100, "height": 80, "license": 3}],
    "annotations": [
        {"id": 40, "image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 90, "iscrowd": 0, "score": 1},
        {
            "id": 12,
            "image_id": 7,
            "category_id": 5,
            "bbox": [20, 0, 10, 10],
            "area": 90,
            "iscrowd": 0,
            "segmentation": [[1]],
        },
        {"id": 13, "image_id": 7, "category_id": 5, "bbox": [50, 0, 10, 10], "area": 90, "iscrowd": 1},
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 5, "name": "dog"}],
}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(COCO))
    return path


def test_coco_objects_change_come_and_go(source, tmp_path):
    corrections = [
        Correction(7, 40, label="dog"),
        Correction(7, 12, box=[22, 1, 8, 8]),
        Correction(7, 13, drop=True),
        Correction(7, label="cat", box=[70, 10, 20, 5]),
    ]
    content = json.loads(write_corrected_coco(source, corrections, tmp_path / "new" / "truth.json").read_text())
    assert {key: content[key] for key in ("info", "images", "categories")} == {
        key: COCO[key] for key in ("info", "images", "categories")
    }
    assert content["annotations"] == [
        {**COCO["annotations"][0], "category_id": 5},
        {"id": 12, "image_id": 7, "category_id": 5, "bbox": [22, 1, 8, 8], "area": 64, "iscrowd": 0},
        {"id": 41, "image_id": 7, "iscrowd": 0, "category_id": 1, "bbox": [70, 10, 20, 5], "area": 100},
    ]
    assert json.loads(source.read_text()) == COCO
    assert len(read_coco(tmp_path / "new" / "truth.json").images[0].boxes) == 3


def test_an_outline_comes_with_its_box(source, tmp_path):
    outline = [[22, 1, 30, 1, 30, 9]]
    correction = Correction(7, 12, box=[22, 1, 8, 8], segmentation=outline)
    content = json.loads(write_corrected_coco(source, [correction], tmp_path / "new.json").read_text())
    assert content["annotations"][1]["segmentation"] == outline


@pytest.mark.parametrize(
    ("correction", "words"),
    [
        (Correction(8, 1, drop=True), "no image 8"),
        (Correction(7, 99, drop=True), "no object 99"),
        (Correction(7, 40, label="cow"), "no class 'cow': it has cat, dog"),
        (Correction(7, 40, box=[1, 2, 3]), "4 finite numbers"),
        (Correction(7, 40, box=[1, 2, 3, float("nan")]), "4 finite numbers"),
        (Correction(7, box=[1, 2, 3, 4]), "needs a class and a box"),
    ],
)
def test_coco_corrections_that_make_no_sense(source, tmp_path, correction, words):
    with pytest.raises(DataError, match=words):
        write_corrected_coco(source, [correction], tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()


def test_the_source_is_never_written_over(source, tmp_path):
    with pytest.raises(DataError, match="another place"):
        write_corrected_coco(source, [], source)
    with pytest.raises(DataError, match="another place"):
        write_corrected_labels(tmp_path, [], tmp_path)


LABELS = (
    "imagesource:GoogleEarth\ngsd:0.1\n0 0 10 0 10 5 0 5 ship 1\n20 0 30 0 30 5 20 5 plane 0\n40 0 50 0 50 5 40 5 ship\n"
)


def test_label_files_change_line_by_line(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "P1.txt").write_text(LABELS)
    (folder / "P2.txt").write_text("")
    corners = [1, 1, 9, 1, 9, 6, 1, 6]
    corrections = [
        Correction("P1", 3, label="harbor"),
        Correction("P1", 4, drop=True),
        Correction("P1", 5, box=corners),
        Correction("P1", label="ship", box=corners),
        Correction("P2", label="ship", box=corners),
    ]
    out = write_corrected_labels(folder, corrections, tmp_path / "out")
    assert (out / "P1.txt").read_text() == (
        "imagesource:GoogleEarth\ngsd:0.1\n0 0 10 0 10 5 0 5 harbor 1\n"
        "1.0 1.0 9.0 1.0 9.0 6.0 1.0 6.0 ship\n1.0 1.0 9.0 1.0 9.0 6.0 1.0 6.0 ship 0\n"
    )
    assert read_label_file(out / "P2.txt").names == ["ship"]
    assert (folder / "P1.txt").read_text() == LABELS
    twice = write_corrected_labels(
        folder, [corrections[1], corrections[1], Correction("P1", 4, label="ship")], tmp_path / "twice"
    )
    assert (twice / "P1.txt").read_text() == LABELS.replace(LABELS.splitlines(keepends=True)[3], "")
    unchanged = write_corrected_labels(folder, [], tmp_path / "same")
    assert (unchanged / "P1.txt").read_text() == LABELS


@pytest.mark.parametrize(
    ("correction", "words"),
    [
        (Correction("P9", 1, drop=True), "P9.txt"),
        (Correction("P1", 1, drop=True), "no object 1"),  # a header line
        (Correction("P1", 3, box=[1, 2, 3, 4]), "8 finite numbers"),
        (Correction("P1", label="ship"), "needs a class and a box"),
    ],
)
def test_label_corrections_that_make_no_sense(tmp_path, correction, words):
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "P1.txt").write_text(LABELS)
    with pytest.raises(DataError, match=words):
        write_corrected_labels(folder, [correction], tmp_path / "out")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_corrected_label_files_keep_their_line_ends(tmp_path, end, mark):
    source = tmp_path / "labels"
    source.mkdir()
    lines = ["10 10 30 10 30 20 10 20 ship 0", "50 20 60 30 50 40 40 30 plane 1", "1 1 5 1 5 5 1 5 ship 0"]
    for name in ("a", "b"):
        (source / f"{name}.txt").write_bytes((mark + end.join(lines)).encode())
    (source / "._a.txt").write_bytes(b"\0\5\26\7")
    corrections = [
        Correction("a", 2, drop=True),
        Correction("a", 1, label="boat"),
        Correction("a", label="ship", box=[1, 2, 9, 2, 9, 8, 1, 8]),
    ]
    target = write_corrected_labels(source, corrections, tmp_path / "out")
    written = (target / "a.txt").read_bytes().decode()
    expected = [lines[0].replace("ship", "boat"), lines[2], "1.0 2.0 9.0 2.0 9.0 8.0 1.0 8.0 ship 0"]
    assert written.removeprefix(mark) == "".join(line + end for line in expected)
    assert (target / "b.txt").read_bytes() == (source / "b.txt").read_bytes()
    assert sorted(path.name for path in target.iterdir()) == ["a.txt", "b.txt"]
    assert read_label_file(target / "a.txt").names == ["boat", "ship", "ship"]
