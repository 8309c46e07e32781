"""Data sets found by their usual names."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.layout import find_coco


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        if name.endswith(".json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        else:
            path.mkdir(parents=True, exist_ok=True)
    return folder


OURS = ("train", "val", "annotations/instances_train.json", "annotations/instances_val.json")
COCO = ("train2017", "val2017", "annotations/instances_train2017.json", "annotations/instances_val2017.json")


@pytest.mark.parametrize(("names", "suffix"), [(OURS, ""), (COCO, "2017")], ids=["ours", "coco"])
def test_known_layouts_are_found(tmp_path, names, suffix):
    found = find_coco(make(tmp_path, *names))
    assert found == {
        "data.train_images": str(tmp_path / f"train{suffix}"),
        "data.train_annotations": str(tmp_path / f"annotations/instances_train{suffix}.json"),
        "data.val_images": str(tmp_path / f"val{suffix}"),
        "data.val_annotations": str(tmp_path / f"annotations/instances_val{suffix}.json"),
    }
    with_overrides(ExperimentConfig(), found)  # they are names of settings


def test_folder_without_its_annotation_file_does_not_count(tmp_path):
    found = find_coco(make(tmp_path, "train", "val", *COCO))
    assert found["data.train_images"].endswith("train2017")


@pytest.mark.parametrize("missing", COCO)
def test_incomplete_folder_says_what_was_looked_for(tmp_path, missing):
    make(tmp_path, *(name for name in COCO if name != missing))
    with pytest.raises(DataError) as error:
        find_coco(tmp_path)
    split = "train" if "train" in missing else "val"
    assert_one_sentence(error.value, str(tmp_path), f"no {split} set", missing, "instead")


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError) as error:
        find_coco(tmp_path / "nowhere")
    assert_one_sentence(error.value, "nowhere")
