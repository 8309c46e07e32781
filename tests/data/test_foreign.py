"""Files of other tools are named for what they are, hidden ones passed over, paths that nearly fit made to fit."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from made_dota import SHIP, TILTED, write_dota
from made_sets import annotation, assert_one_sentence, content, image, write_annotations
from PIL import Image, TiffImagePlugin

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.check import check_coco, require_readable
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset, read_labelled
from rtmdet_lab.data.foreign import name_file, name_folder
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.label_file import read_label_file


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.xml", "<annotation><object><bndbox/></object></annotation>", "Pascal VOC"),
        ("a.xml", "<annotation><object><robndbox/></object></annotation>", "roLabelImg"),
        ("a.xml", "<HRSC_Image/>", "data hrsc"),
        ("a.json", '{"version": "5", "shapes": [], "imagePath": "a.jpg"}', "labelme"),
        ("a.json", '{"a.jpg1": {"regions": {}}}', "VIA"),
        ("a.json", '[{"id": 1, "annotations": [], "data": {}}]', "Label Studio"),
        ("a.json", '{"images": [], "annotations": []}', "COCO file: name"),
        ("a.txt", "0 0.5 0.5 0.2 0.2\r1 0.1 0.1 0.2 0.2", "YOLO label files (class, center"),
        ("a.txt", "0 0.5 0.5 0.2 0.2 1.2\n", "turned boxes"),
        ("a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2\n", "YOLO-OBB"),
        ("a.txt", "1 10 10 30 10 30 20 10 20\n", "corners in pixels"),
        ("a.txt", "0 0.1 0.1 0.2 0.1 0.2 0.2\n", "segmentation"),
    ],
)
def test_folders_of_other_tools_are_named(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    (tmp_path / f"._{name}").write_bytes(b"\0\5\26\7")
    assert words in name_folder(tmp_path)
    images, _ = write_dota(tmp_path / "set", {"a": [SHIP]})
    with pytest.raises(DataError) as error:
        DotaDataset(images, tmp_path)
    assert_one_sentence(error.value, str(tmp_path), words)


def test_dota_and_unknown_files_are_not_named(tmp_path):
    (tmp_path / "a.txt").write_text(f"{SHIP}\n")
    assert name_folder(tmp_path) == ""
    assert name_file(tmp_path / "a.txt") == ""
    assert name_folder(tmp_path / "nowhere") == ""


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"], ids=repr)
@pytest.mark.parametrize("last", [True, False])
def test_label_file_ends_its_lines_in_any_way(tmp_path, end, last):
    (tmp_path / "a.txt").write_bytes(("\ufeff" + end.join([SHIP, TILTED]) + (end if last else "")).encode())
    file = read_label_file(tmp_path / "a.txt")
    assert (file.names, file.problems) == (["ship", "plane"], [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("188.8991 12.400669 80.64467 -49.644814 469.59897 173.28242 690.4597 299.86768 ship 0", "needs an area"),
        ("0.1 0.1 0.2 0.1 0.2 0.2 0.1 0.2 ship 0", "shares of the image"),
        ("10 10 30 10 30 20 10 20 3 0", "class '3' is a number"),
        ("1 10 10 30 10 30 20 10 20", "class '20' is a number"),
        ("10 10 30 10 30 10.05 10 10.05 ship 0", "needs an area"),
    ],
)
def test_lines_that_nothing_can_find_or_that_are_in_another_form_are_refused(tmp_path, line, words):
    (tmp_path / "a.txt").write_text(f"{SHIP}\n{line}\n")
    with pytest.raises(DataError) as error:
        read_label_file(tmp_path / "a.txt")
    assert_one_sentence(error.value, "a.txt, line 2", words)


def test_objects_outside_or_thin_are_counted_not_learned_and_scored(tmp_path):
    lines = [SHIP] * 4 + ["200 10 230 10 230 20 200 20 ship 0", "10 10 30 10 30 10.5 10 10.5 ship 0"]
    folders = write_dota(tmp_path, {"a": lines})
    assert dict(read_labelled(*folders).dropped) == {"outside their image": 1, "thinner than a pixel": 1}
    with pytest.warns(UserWarning, match="1 outside their image, 1 thinner than a pixel"):
        assert len(DotaDataset(*folders, training=True).load(0)[1]["boxes"]) == 4
    assert len(DotaDataset(*folders).load(0)[1]["boxes"]) == 6
    folders = write_dota(tmp_path / "other", {"a": [lines[4]] * 3 + [SHIP]})
    with pytest.raises(DataError) as error:
        DotaDataset(*folders)
    assert_one_sentence(error.value, str(folders[1]), "3 of 4 boxes lie mostly outside their image")


@pytest.mark.parametrize("name", ["images/1.png", "images\\1.png", "deep\\images\\1.png", "C:\\set\\1.png", ".\\1.png"])
def test_paths_that_nearly_fit_the_folder_are_made_to_fit_and_told(tmp_path, name):
    folder = tmp_path / "deep" / "images"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "1.png")
    path = write_annotations(tmp_path / "a.json", content([image(1, file_name=name)], [annotation(1, 1)]))
    report = check_coco(folder, path, workers=1, progress=False)
    assert report["problems"] == []
    assert_one_sentence(report["notes"][0], str(folder), "1.png")
    with pytest.warns(UserWarning, match="are not in"):
        assert CocoDataset(folder, path, training=True).load(0)[1]["labels"].tolist() == [0]


def test_images_given_twice_are_told(tmp_path):
    for number in (1, 2):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    pictures = [image(1), image(2), image(3, file_name="./1.png")]
    path = write_annotations(tmp_path / "a.json", content(pictures, [annotation(1, 1), annotation(2, 3)]))
    report = check_coco(tmp_path, path, workers=1, progress=False)
    assert_one_sentence(report["problems"][0], "image 3 is ./1.png, as image 1 is")
    assert_one_sentence(report["doubts"][0], "2.png is the same file", "1.png")
    with pytest.raises(DataError, match="give each picture one id"):
        CocoDataset(tmp_path, path)


@pytest.mark.parametrize("kind", ["nothing", "no objects"])
def test_set_without_images_or_objects_is_a_problem(tmp_path, kind):
    Image.new("RGB", (64, 64)).save(tmp_path / "1.png")
    path = write_annotations(tmp_path / "a.json", content([] if kind == "nothing" else [image(1)], []))
    assert_one_sentence(
        check_coco(tmp_path, path, workers=1, progress=False)["problems"][0], str(path), "nothing to train on"
    )


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.zeros((8, 8), np.float32), "32-bit floating point numbers"),
        (np.zeros((8, 8), np.int32), "32-bit signed whole numbers"),
    ],
)
def test_tiff_is_named_for_its_numbers(tmp_path, pixels, words):
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "a.tif")
    assert_one_sentence(error.value, "a.tif", words)


@pytest.mark.parametrize(("tag", "value", "words"), [(339, 2, "16-bit signed"), (258, 12, "12-bit whole numbers")])
def test_tiff_without_its_own_mode_is_named(tmp_path, tag, value, words):
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[tag] = value
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.tif", tiffinfo=directory if tag == 339 else {})
    data = (tmp_path / "a.tif").read_bytes()
    if tag == 258:  # the entry of the bits per value, a short of one
        data = data.replace(b"\2\1\3\0\1\0\0\0\x10\0", b"\2\1\3\0\1\0\0\0\x0c\0")
        (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "a.tif")
    assert_one_sentence(error.value, "a.tif", words)


def test_twelve_bits_in_sixteen_are_doubted(tmp_path):
    cv2.imwrite(str(tmp_path / "1.png"), np.full((64, 64), 3000, np.uint16))
    path = write_annotations(tmp_path / "a.json", content([image(1)], [annotation(1, 1)]))
    assert_one_sentence(check_coco(tmp_path, path, workers=1, progress=False)["doubts"][0], "1.png", "12 bits")


def test_every_image_is_read_before_training(tmp_path):
    for number in (1, 2, 3):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content([image(1), image(2), image(3)], [annotation(1, 1)])))
    data = CocoDataset(tmp_path, path)
    require_readable(data)
    for number in (2, 3):
        (tmp_path / f"{number}.png").write_bytes((tmp_path / f"{number}.png").read_bytes()[:70])
    with pytest.raises(DataError) as error:
        require_readable(data)
    assert_one_sentence(error.value, "2.png", "1 more validation images", "on_bad=skip")
