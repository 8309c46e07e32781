"""Damage is found before hours are spent, file by file."""

from __future__ import annotations

import numpy as np
import pytest
from made_dota import SHIP, TILTED, write_dota
from made_sets import annotation, assert_one_sentence, content, image, write_annotations
from PIL import Image

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.check import check_coco, check_dota
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(1, 7):
        Image.fromarray(np.full((64, 64, 3), number, dtype=np.uint8)).save(folder / f"{number}.png")
    return folder


def check(images, entries, pictures=None):
    pictures = pictures or [image(number) for number in range(1, 7)]
    path = write_annotations(images.parent / "instances.json", content(pictures, entries))
    return check_coco(images, path, workers=1, progress=False)


def test_sound_set_is_counted(images):
    report = check(images, [annotation(1, 1), annotation(2, 1, 7), annotation(3, 2)])
    assert report == {
        "images": 6,
        "objects": 3,
        "classes": [{"class": "wide", "objects": 2}, {"class": "tall", "objects": 1}],
        "left_out": {},
        "problems": [],
        "doubts": [],
        "notes": [],
    }


def test_every_damaged_image_is_listed_with_its_reason(images):
    (images / "2.png").write_bytes((images / "2.png").read_bytes()[:60])
    (images / "3.png").write_bytes(b"")
    (images / "4.png").unlink()
    (images / "5.png").write_text("no image")
    pictures = [image(number) for number in range(1, 6)] + [image(6, (10, 10))]
    problems = check(images, [annotation(1, 1)], pictures)["problems"]
    assert len(problems) == 5
    for problem, (number, word) in zip(
        problems, [(2, "damaged"), (3, "0 bytes"), (4, "not exist"), (5, "not an image"), (6, "64 x 64")], strict=True
    ):
        assert_one_sentence(problem, str(images / f"{number}.png"), word)


def test_every_malformed_annotation_is_listed(images):
    report = check(images, [annotation(1, 1), annotation(2, 99), annotation(3, 1, bbox=(0, 0, -1, 5)), annotation(4, 1, 55)])
    assert len(report["problems"]) == 3
    for problem, words in zip(report["problems"], ("image 99", "negative size", "category 55"), strict=True):
        assert_one_sentence(problem, "instances.json", words)
    assert report["objects"] == 1


def test_odd_but_usable_objects_are_counted_and_no_problem(images):
    report = check(images, [annotation(1, 1, bbox=(5, 5, 0, 5)), annotation(2, 1, bbox=(99, 5, 5, 5)), annotation(3, 2)])
    assert report["left_out"] == {"without area": 1, "outside their image": 1}
    assert report["problems"] == []


def test_unusable_file_or_folder_is_refused(images, tmp_path):
    path = write_annotations(tmp_path / "broken.json", '{"images": [')
    with pytest.raises(DataError) as error:
        check_coco(images, path, progress=False)
    assert_one_sentence(error.value, "broken.json")
    with pytest.raises(DataError) as error:
        check_coco(tmp_path / "nowhere", path, progress=False)
    assert_one_sentence(error.value, "nowhere")


def test_set_without_images_is_said_to_be_empty_and_does_not_crash(images):
    path = write_annotations(images.parent / "instances.json", content([], []))
    report = check_coco(images, path, workers=1, progress=False)
    assert report["images"] == 0


def test_several_processes_find_the_same(images):
    (images / "2.png").write_bytes(b"")
    path = write_annotations(images.parent / "instances.json", content([image(n) for n in range(1, 7)], [annotation(1, 1)]))
    assert check_coco(images, path, 1, progress=False) == check_coco(images, path, 3, progress=False)


def test_dota_set_is_counted_and_everything_bad_is_listed(tmp_path):
    crossing = "10 10 30 20 30 10 10 20 ship 0"
    images, labels = write_dota(tmp_path, {"a": [SHIP, TILTED, "1 2 3"], "b": [SHIP], "c": [crossing], "d": []})
    (images / "b.png").write_bytes(b"")
    (labels / "d.txt").unlink()
    report = check_dota(images, labels, workers=1, progress=False)
    assert (report["images"], report["objects"], report["irregular"]) == (3, 4, 1)
    counts = {row["class"]: row["objects"] for row in report["classes"]}
    assert (len(counts), counts["ship"], counts["plane"], counts["harbor"]) == (15, 3, 1, 0)
    wanted = [("d.png", "no label file"), ("a.txt", "line 3"), ("b.png", "0 bytes")]
    for problem, words in zip(report["problems"], wanted, strict=True):
        assert_one_sentence(problem, *words)
    with pytest.raises(DataError, match="nowhere"):
        check_dota(images, tmp_path / "nowhere", progress=False)


def test_outlines_are_looked_at_when_asked(images):
    square = [8.0, 8.0, 40.0, 8.0, 40.0, 24.0, 8.0, 24.0]
    entries = [
        annotation(1, 1, segmentation=[square]),
        annotation(2, 1, segmentation=[square[:4]]),
        annotation(3, 2, segmentation={"size": [3, 3], "counts": [9]}),
        annotation(4, 2),
    ]
    path = write_annotations(images.parent / "instances.json", content([image(one) for one in range(1, 7)], entries))
    assert check_coco(images, path, workers=1, progress=False)["problems"] == []
    problems = check_coco(images, path, workers=1, progress=False, masks=True)["problems"]
    assert len(problems) == 3
    for problem, words in zip(
        problems, ("annotation 2 has a polygon of 2", "annotation 3 has run", "annotation 4"), strict=True
    ):
        assert_one_sentence(problem, str(path), words)


SQUARE = [8.0, 8.0, 40.0, 8.0, 40.0, 24.0, 8.0, 24.0]  # the outline of made annotations


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([SQUARE[:4]], "a polygon of 2 points"),
        ([[1.0, 1.0]], "a polygon of 1 points"),
        ([[value + 100 for value in SQUARE]], "outside of its image"),
        ([[value + 24 for value in SQUARE]], "disagrees with its bbox"),
        ([[8.0, 8.0, 40.0, float("nan"), 40.0, 24.0]], "finite x, y pairs"),
        ({"size": [32, 64], "counts": [32 * 64]}, "size [32, 64], but its image has [64, 64]"),
        ({"size": [64, 64], "counts": [32 * 64]}, "2048 pixels in all"),
        (None, "has no segmentation"),
    ],
)
def test_bad_outline_is_listed_refused_or_left_out(segmentation, words, images):
    entries = [annotation(41, 1, segmentation=segmentation), annotation(42, 1, segmentation=[SQUARE])]
    path = write_annotations(images.parent / "instances.json", content([image(1)], entries))
    report = check_coco(images, path, workers=1, progress=False, masks=True)
    assert report["objects"] == len(report["problems"]) == 1
    assert_one_sentence(report["problems"][0], str(path), "annotation 41 ", words)
    with pytest.raises(DataError) as error:
        CocoDataset(images, path, training=True, outlines=True)
    assert_one_sentence(error.value, str(path), "annotation 41 ", words)
    with pytest.warns(UserWarning, match="annotation 41 "):
        data = CocoDataset(images, path, training=True, outlines=True, on_bad="skip")
    assert len(data.load(0)[1]["labels"]) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("10 10 20 20 30 30 40 40 ship 0", "on one line"),
        ("10 10 10 10 10 10 10 10 ship 0", "on one line"),
        ("10 10 30 10 30 10 10 10 ship 0", "on one line"),  # without width
        ("10 10 nan 10 30 20 10 20 ship 0", "coordinate 3 is nan"),
        ("10 10 30 10 30 20 ship 0", "coordinate 7 is 'ship'"),
        ("10 10 30 10 30 20 10 20 shipp 0", "did you mean 'ship'?"),
        ("10 10 30 10 30 20 10 20", "no class"),
    ],
)
def test_bad_label_line_is_listed_refused_or_left_out(line, words, tmp_path):
    images, labels = write_dota(tmp_path, {"a": [SHIP, line], "b": [SHIP]})
    report = check_dota(images, labels, workers=1, progress=False, classes=["ship", "plane"])
    assert (report["objects"], len(report["problems"])) == (2, 1)
    assert_one_sentence(report["problems"][0], str(labels / "a.txt"), "line 2", words)
    with pytest.raises(DataError) as error:
        DotaDataset(images, labels, ["ship", "plane"], training=True)
    assert_one_sentence(error.value, str(labels / "a.txt"), "line 2", words)
    with pytest.warns(UserWarning, match="line 2"):
        data = DotaDataset(images, labels, ["ship", "plane"], training=True, on_bad="skip")
    assert [len(data.load(index)[1]["labels"]) for index in range(2)] == [1, 1]


@pytest.mark.parametrize("corners", ["10 10 30 20 30 10 10 20", "10 10 30 10 15 12 10 20"], ids=["crossing", "dented"])
def test_odd_corners_are_counted_and_learned_by_their_rectangle(corners, tmp_path):
    images, labels = write_dota(tmp_path, {"a": [SHIP, f"{corners} ship 0"]})
    report = check_dota(images, labels, workers=1, progress=False)
    assert (report["objects"], report["irregular"], report["problems"]) == (2, 1, [])
    with pytest.warns(UserWarning, match=r"1 objects .* cross or are not convex"):
        data = DotaDataset(images, labels, training=True)
    assert (data.load(0)[1]["boxes"][:, 2:4] > 1).all()


def test_chosen_classes_are_counted_and_official_ones_left_out_are_no_problem(tmp_path, images):
    folders = write_dota(tmp_path / "dota", {"a": [SHIP, TILTED]})
    report = check_dota(*folders, workers=1, progress=False, classes=["ship"])
    assert (report["objects"], report["classes"], report["problems"]) == (1, [{"class": "ship", "objects": 1}], [])
    report = check_dota(*folders, workers=1, progress=False, classes=["ship", "raft"])
    assert_one_sentence(report["problems"][0], "a.txt", "line 2", "'plane'")
    path = write_annotations(images.parent / "instances.json", content([image(1)], [annotation(1, 1), annotation(2, 1, 7)]))
    report = check_coco(images, path, workers=1, progress=False, classes=["tall"])
    assert (report["objects"], report["classes"]) == (1, [{"class": "tall", "objects": 1}])
