"""HRSC2016: XML files become label files that the reader of rotated sets takes; strange ones are named."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from made_calls import call
from made_sets import assert_one_sentence
from PIL import Image

from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.hrsc import convert_hrsc
from rtmdet_lab.data.layout import find_dota
from rtmdet_lab.geometry.rotated import rotated_iou

# An object as the published files have it, with fields nobody reads in between.
OBJECT = """<HRSC_Object><Object_ID>1</Object_ID><Class_ID>100000013</Class_ID><difficult>{difficult}</difficult>
<box_xmin>1</box_xmin><mbox_cx>{cx}</mbox_cx><mbox_cy>{cy}</mbox_cy><mbox_w>{w}</mbox_w><mbox_h>{h}</mbox_h>
<mbox_ang>{angle}</mbox_ang><segmented>0</segmented></HRSC_Object>"""


def xml(*objects: str) -> str:
    return f"<HRSC_Image><Img_ID>7</Img_ID><HRSC_Objects>{''.join(objects)}</HRSC_Objects></HRSC_Image>"


def ship(cx=40.0, cy=30.0, w=40.0, h=10.0, angle=0.5, difficult=0) -> str:
    return OBJECT.format(cx=cx, cy=cy, w=w, h=h, angle=angle, difficult=difficult)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.xml").write_text(text)
    return folder


def test_boxes_come_back_from_the_reader_of_rotated_sets(tmp_path):
    angles = [0.0, 0.3, 1.2, -1.5, 2.9]
    source = write(
        tmp_path / "xml",
        a=xml(*[ship(cx=30 + 9 * one, angle=angle) for one, angle in enumerate(angles)]),
        b=xml(),
        c=xml(ship()),
    )
    result = convert_hrsc(source, tmp_path / "labelTxt", progress=False)
    counts = {"files": 3, "objects": 6, "difficult": 0}
    assert result == {**counts, "labels": str(tmp_path / "labelTxt"), "images": None}
    images = tmp_path / "images"
    images.mkdir()
    for name in "abc":
        Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(images / f"{name}.bmp")
    data = DotaDataset(images, tmp_path / "labelTxt", ["ship"])
    assert data.classes == ("ship",)
    _, target = data.load(0)
    expected = torch.tensor([[30 + 9 * one, 30, 40, 10, angle] for one, angle in enumerate(angles)])
    assert (rotated_iou(target["boxes"], expected, aligned=True) > 0.998).all()  # written with two decimals
    assert len(data.load(1)[1]["labels"]) == 0


def test_quarter_turn_by_hand(tmp_path):
    source = write(tmp_path / "xml", a=xml(ship(cx=50, cy=20, w=40, h=10, angle=math.pi / 2, difficult=1)))
    assert convert_hrsc(source, tmp_path / "out", progress=False)["difficult"] == 1
    *corners, name, flag = (tmp_path / "out" / "a.txt").read_text().split()
    assert (name, flag) == ("ship", "1")
    points = np.array(corners, float).reshape(4, 2)
    assert sorted(map(tuple, points)) == [(45, 0), (45, 40), (55, 0), (55, 40)]


def test_list_chooses_images(tmp_path, capsys):
    source = write(tmp_path / "xml", a=xml(ship()), b=xml(ship()))
    (tmp_path / "val.txt").write_text("b\n")
    code, out, _ = call(capsys, "data", "hrsc", source, tmp_path / "out", "--list", tmp_path / "val.txt")
    assert code == 0
    assert "1 files, 1 objects" in out
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.txt"]
    (tmp_path / "val.txt").write_text("b\nmissing\n")
    code, _, err = call(capsys, "data", "hrsc", source, tmp_path / "out", "--list", tmp_path / "val.txt")
    assert code == 2
    assert_one_sentence(err.strip(), "missing", "annotation file")


def test_images_of_a_list_are_linked_beside_their_labels(tmp_path, capsys):
    source = write(tmp_path / "xml", a=xml(ship()), b=xml(ship()), c=xml())
    images = tmp_path / "AllImages"
    images.mkdir()
    for name in "ab":
        Image.fromarray(np.full((60, 90, 3), ord(name), np.uint8)).save(images / f"{name}.bmp")
    for split, names in {"train": "a", "val": "b"}.items():
        (tmp_path / f"{split}.txt").write_text(names)
        arguments = ["--list", tmp_path / f"{split}.txt", "--images", images]
        for _ in range(2):  # again changes nothing
            code, out, _ = call(capsys, "data", "hrsc", source, tmp_path / "set" / split / "labelTxt", *arguments)
            assert code == 0
            assert str(tmp_path / "set" / split / "images") in out
    paths = find_dota(tmp_path / "set")
    data = DotaDataset(paths["data.val_images"], paths["data.val_annotations"], ["ship"])
    assert [int(data.load(index)[0].max()) for index in range(len(data))] == [ord("b")]
    with pytest.raises(DataError) as error:
        convert_hrsc(source, tmp_path / "all" / "labelTxt", progress=False, images=images)
    assert_one_sentence(error.value, str(images), "no image c")
    assert not (tmp_path / "all").exists()
    other = tmp_path / "other"
    other.mkdir()
    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(other / "a.bmp")
    with pytest.raises(StorageError) as error:
        convert_hrsc(source, tmp_path / "set" / "train" / "labelTxt", ["a"], progress=False, images=other)
    assert_one_sentence(error.value, "a.bmp", "new folder")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no xml", "not XML"),
        ("<HRSC_Image>", "not XML"),
        ("<annotation></annotation>", "'annotation', not 'HRSC_Image'"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + xml(), "document type"),
        (xml(ship(), ship(w=0)), "object 2: its sides are 0 x 10"),
        (xml(ship(h=-3)), "object 1: its sides"),
        (xml(ship(angle="nan")), "object 1: mbox_ang is nan"),
        (xml(ship(cx="")), "object 1: mbox_cx is ''"),
        (xml(ship(cy="1e9")), "mbox_cy is 1e9"),
        (xml(ship(difficult=2)), "difficult is '2'"),
        (xml("<HRSC_Object/>"), "object 1: mbox_cx is ''"),
    ],
)
def test_faults_are_named_with_file_and_object_and_nothing_is_written(text, words, tmp_path):
    source = write(tmp_path / "xml", a=xml(ship()), b=text)
    with pytest.raises(DataError) as caught:
        convert_hrsc(source, tmp_path / "out", progress=False)
    assert_one_sentence(caught.value, str(source / "b.xml"), words)
    assert not (tmp_path / "out").exists()


def test_folder_without_annotations_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        convert_hrsc(tmp_path / "none", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.xml files"):
        convert_hrsc(tmp_path / "empty", tmp_path / "out")
