"""DOTA label files and the data set made of them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from made_dota import SHIP, TILTED, write_dota
from made_sets import assert_one_sentence
from PIL import Image

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.dota import DOTA_CLASSES, DotaDataset, choose_classes
from rtmdet_lab.data.label_file import read_label_file


def read(tmp_path, text, **settings):
    path = tmp_path / "P0001.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_label_file(path, **settings)


def test_versions_extend_each_other_in_official_order():
    assert [len(names) for names in DOTA_CLASSES.values()] == [15, 16, 18]
    assert DOTA_CLASSES["2.0"][:16] == DOTA_CLASSES["1.5"]
    assert DOTA_CLASSES["1.5"][:15] == DOTA_CLASSES["1.0"]
    assert (DOTA_CLASSES["1.0"][9], DOTA_CLASSES["1.0"][11]) == ("storage-tank", "roundabout")  # paper.md 3.7


@pytest.mark.parametrize(
    "text",
    [
        f"imagesource:GoogleEarth\ngsd:0.25\n{SHIP}\n{TILTED}\n",
        f"{SHIP}\n{TILTED}",
        f"imagesource:GoogleEarth\r\ngsd:null\r\n{SHIP}\r\n\r\n{TILTED}\r\n",
        f"\ufeffImageSource:x\n\n{SHIP.removesuffix(' 0')}\n\n  {TILTED.replace(' ', '   ')}  \n\n",
        f"gsd:\n{SHIP}\n{TILTED.replace(' ', chr(9))}\n",
    ],
    ids=["header", "plain", "windows", "spaces", "tabs"],
)
def test_all_ways_of_writing_the_same_objects(tmp_path, text):
    file = read(tmp_path, text)
    assert file.quads.tolist() == [[10, 10, 30, 10, 30, 20, 10, 20], [50, 20, 60, 30, 50, 40, 40, 30]]
    assert file.names == ["ship", "plane"]
    assert file.difficult.tolist() == [False, True]
    assert not file.irregular.any()
    assert file.problems == []


@pytest.mark.parametrize("text", ["", "\n\r\n", "imagesource:GoogleEarth\ngsd:0.1\n"])
def test_file_without_objects_is_an_empty_image(tmp_path, text):
    file = read(tmp_path, text)
    assert file.quads.shape == (0, 8)
    assert file.difficult.dtype == bool


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("10 10 30 10 30 20 10 ship 0", "coordinate 8 is 'ship'"),
        ("10 10 30 10", "there are 4"),
        ("10 10 30 10 30 20 10 20", "no class"),
        ("10 10 30 10 30 20 10 20 ground track 0 1", "12 fields"),
        ("10 10 nan 10 30 20 10 20 ship 0", "coordinate 3 is nan"),
        ("10 10 inf 10 30 20 10 20 ship 0", "coordinate 3 is inf"),
        ("10 10 1e9 10 30 20 10 20 ship 0", "coordinate 3 is 1e9"),
        ("1_0 10 30 10 30 20 10 20 ship 0", "coordinate 1 is '1_0'"),
        ("10 10 30 10 30 20 10 20 ship easy", "difficulty 'easy'"),
        ("10 10 30 10 30 20 10 20 ship -1", "difficulty '-1'"),
        ("10 10 20 20 30 30 40 40 ship 0", "one line"),
        ("10 10 10 10 10 10 10 10 ship 0", "one line"),
        ("10 10 30 10 30 20 10 20 shipp 0", "did you mean 'ship'?"),
        ("imagesource:GoogleEarth", "eight numbers"),  # a header after the first object
    ],
)
def test_damaged_line_is_named_by_file_and_line(tmp_path, line, word):
    text = f"imagesource:GoogleEarth\ngsd:0.1\n{SHIP}\n\n{line}\n{TILTED}\n"
    with pytest.raises(DataError) as error:
        read(tmp_path, text, classes=DOTA_CLASSES["1.0"])
    assert_one_sentence(error.value, str(tmp_path / "P0001.txt"), "line 5:", word)
    file = read(tmp_path, text, classes=DOTA_CLASSES["1.0"], on_bad="skip")
    assert file.problems == [str(error.value)]
    assert file.names == ["ship", "plane"]
    assert file.lines == [3, 6]


def test_unreadable_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError) as error:
        read_label_file(tmp_path / "missing.txt")
    assert_one_sentence(error.value, "missing.txt", "does not exist")
    with pytest.raises(DataError) as error:
        read(tmp_path, b"\x89PNG\r\n\xff\xfe")
    assert_one_sentence(error.value, "P0001.txt", "not text")
    with pytest.raises(DataError):
        read_label_file(tmp_path)


@pytest.mark.parametrize(
    ("corners", "irregular"),
    [
        ("10 10 30 10 30 20 10 20", False),
        ("10 20 30 20 30 10 10 10", False),  # the other way round
        ("10 10 20 10 30 10 20 20", False),  # a triangle
        ("10 10 30 20 30 10 10 20", True),  # crossing
        ("10 10 30 10 15 12 10 20", True),  # a dent
    ],
)
def test_odd_corners_are_told_apart(tmp_path, corners, irregular):
    assert read(tmp_path, f"{corners} ship 0").irregular.tolist() == [irregular]


def test_classes_are_those_of_the_first_version_that_has_all_names():
    assert choose_classes([]) == DOTA_CLASSES["1.0"]
    assert choose_classes(["ship"]) == DOTA_CLASSES["1.0"]
    assert choose_classes(["ship", "container-crane"]) == DOTA_CLASSES["1.5"]
    assert choose_classes(["helipad", "plane"]) == DOTA_CLASSES["2.0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_classes(["warship", "ferry"]) == ("ferry", "warship")
    with pytest.warns(UserWarning, match="did you mean 'small-vehicle'"):
        assert choose_classes(["ship", "smal-vehicle"]) == ("ship", "smal-vehicle")


def test_data_set_gives_oriented_boxes_in_pixels(tmp_path):
    dataset = DotaDataset(*write_dota(tmp_path, {"a": [TILTED, SHIP], "b": [], "c": [SHIP]}))
    assert dataset.classes == DOTA_CLASSES["1.0"]
    assert len(dataset) == 3
    image, target = dataset.load(0)
    assert image.shape == (3, 80, 100)
    assert image.dtype == torch.uint8
    meta = target["meta"]
    assert (meta.image_id, meta.original_size, meta.canvas_size) == ("a", (80, 100), (80, 100))
    assert meta.path == str(tmp_path / "images" / "a.png")
    assert target["labels"].tolist() == [0, 6]
    assert target["ignore"].tolist() == [True, False]
    boxes = target["boxes"]
    assert (boxes.dtype, boxes.shape) == (torch.float32, (2, 5))
    torch.testing.assert_close(boxes[:, :2], torch.tensor([[50.0, 30.0], [20.0, 15.0]]))
    assert sorted(boxes[0, 2:4].tolist()) == pytest.approx([math.sqrt(200)] * 2, abs=1e-3)
    torch.testing.assert_close(boxes[1, 2:], torch.tensor([20.0, 10.0, 0.0]), atol=1e-4, rtol=0)
    assert ((boxes[:, 4] >= -math.pi / 2) & (boxes[:, 4] < math.pi / 2)).all()
    assert dataset.load(1)[1]["boxes"].shape == (0, 5)
    assert dataset.load(2)[1]["labels"].tolist() == [6]
    boxes.zero_()  # the caller's own
    assert dataset.load(0)[1]["boxes"].any(dim=1).all()


def test_training_learns_difficult_objects_and_leaves_out_empty_images(tmp_path):
    folders = write_dota(tmp_path, {"a": [], "b": [TILTED], "c": [SHIP]})
    dataset = DotaDataset(*folders, training=True)
    assert list(dataset.image_ids) == ["b", "c"]
    target = dataset.load(0)[1]
    assert "ignore" not in target
    assert target["labels"].tolist() == [0]
    assert len(DotaDataset(*folders, training=True, skip_empty=False)) == 3


def test_chosen_classes_decide_labels_and_what_is_passed_over(tmp_path):
    folders = write_dota(tmp_path, {"a": [TILTED, SHIP], "b": [TILTED]})
    dataset = DotaDataset(*folders, classes=["ship"], training=True)
    assert dataset.classes == ("ship",)
    assert len(dataset) == 1
    assert dataset.load(0)[1]["boxes"][0, :2].tolist() == [20, 15]
    with pytest.raises(DataError) as error:
        DotaDataset(*folders, classes=["harbor"])
    assert_one_sentence(error.value, "harbor", "plane, ship")
    with pytest.raises(DataError) as error:
        DotaDataset(*folders, classes=["ship", "ship"])
    assert_one_sentence(error.value, "'ship' twice")
    with pytest.raises(DataError) as error:
        DotaDataset(*folders, classes=["shop", "plain"])  # own classes: every name must be one of them
    assert_one_sentence(error.value, "a.txt", "line 1", "'plane'", "did you mean 'plain'")


def test_other_sets_have_their_names_sorted(tmp_path):
    lines = [SHIP.replace("ship", "warship"), TILTED.replace("plane", "ferry")]
    dataset = DotaDataset(*write_dota(tmp_path, {"100000001": lines}))
    assert dataset.classes == ("ferry", "warship")
    assert dataset.load(0)[1]["labels"].tolist() == [1, 0]


def test_crossing_corners_are_taken_by_their_rectangle_and_counted(tmp_path):
    folders = write_dota(tmp_path, {"a": ["10 10 30 20 30 10 10 20 ship 0", SHIP]})
    with pytest.warns(UserWarning, match="1 objects of .* corners that cross"):
        dataset = DotaDataset(*folders)
    boxes = dataset.load(0)[1]["boxes"]
    torch.testing.assert_close(boxes[0], boxes[1], atol=1e-3, rtol=0)


def test_bad_lines_and_files_without_partner_are_refused_or_left_out(tmp_path):
    images, labels = write_dota(tmp_path, {"a": [SHIP, "1 2 3"], "b": [SHIP], "c": [SHIP]})
    with pytest.raises(DataError) as error:
        DotaDataset(images, labels)
    assert_one_sentence(error.value, str(labels / "a.txt"), "line 2", "--on-bad skip")
    with pytest.warns(UserWarning, match="line 2"):
        assert len(DotaDataset(images, labels, on_bad="skip").load(0)[1]["boxes"]) == 1
    (labels / "b.txt").unlink()
    (images / "c.png").unlink()
    with pytest.raises(DataError) as error:
        DotaDataset(images, labels)
    assert_one_sentence(error.value, str(images / "b.png"), str(labels / "b.txt"), "and 2 more")
    with pytest.warns(UserWarning, match="and 2 more"):
        assert list(DotaDataset(images, labels, on_bad="skip").image_ids) == ["a"]


def test_unusable_folders_are_one_sentence(tmp_path):
    images, labels = write_dota(tmp_path, {"a": []})
    for bad in ((tmp_path / "no", labels), (images, tmp_path / "no")):
        with pytest.raises(DataError) as error:
            DotaDataset(*bad)
        assert_one_sentence(error.value, str(tmp_path / "no"))
    with pytest.raises(DataError) as error:
        DotaDataset(images, labels, training=True)
    assert_one_sentence(error.value, str(labels), "nothing to train on")
    (images / "a.png").unlink()
    (labels / "a.txt").unlink()
    with pytest.raises(DataError, match="nothing to evaluate on"):
        DotaDataset(images, labels)


def test_two_images_of_one_name_are_refused(tmp_path):
    images, labels = write_dota(tmp_path, {"a": [SHIP]})
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(images / "a.JPG")
    with pytest.raises(DataError) as error:
        DotaDataset(images, labels)
    assert_one_sentence(error.value, "a.JPG", "a.png")


def test_damaged_image_is_named_when_it_is_read(tmp_path):
    images, labels = write_dota(tmp_path, {"a": [SHIP]})
    dataset = DotaDataset(images, labels)
    (images / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError) as error:
        dataset.load(0)
    assert_one_sentence(error.value, str(images / "a.png"))


def test_real_images(real_data):
    folder = real_data / "dota-sample"
    dataset = DotaDataset(folder / "images", folder / "labelTxt")
    assert dataset.classes == DOTA_CLASSES["1.0"]
    (image, target), (_, other) = dataset.load(0), dataset.load(1)
    assert image.shape == (3, 1182, 1111)
    counts = np.bincount(target["labels"].numpy(), minlength=15)
    assert (counts[6], counts[12]) == (531, 5)
    assert len(other["boxes"]) == 64
    assert target["meta"].image_id == "P0706"


def test_truth_without_pixels_is_that_of_the_loaded_image(tmp_path):
    folders = write_dota(tmp_path, {"a": [SHIP, TILTED], "b": []})
    data = DotaDataset(*folders)
    for index in range(2):
        _, target = data.load(index)
        truth = data.truth(index)
        assert torch.equal(truth.boxes, target["boxes"])
        assert torch.equal(truth.labels, target["labels"])
        assert torch.equal(truth.ignore, target["ignore"])
        assert truth.meta.image_id == target["meta"].image_id
