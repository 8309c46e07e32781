"""Folders as classes: what is read, what is passed over, what is named."""

from __future__ import annotations

import pytest

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.class_folders import ClassFolders, check_class_folders, find_class_folders
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.synthetic.class_set import generate_labelled
from rtmdet_lab.transforms.classification import center_pipeline, training_pipeline


@pytest.fixture
def images(tmp_path):
    return generate_labelled(tmp_path / "set", train=4, val=2, size=64, classes=("ring", "cross"), progress=False)[
        "train_images"
    ]


def test_labels_follow_the_names_of_the_folders(images):
    source = ClassFolders(images)
    assert source.classes == ("cross", "ring")
    assert source.class_counts() == {"cross": 2, "ring": 2}
    image, target = source.load(3)
    assert image.shape == (3, 64, 64)
    assert target["labels"].tolist() == [1]
    assert target["boxes"].tolist() == [[0, 0, 64, 64]]
    assert target["meta"].path.endswith("ring/000004.jpg")


def test_hidden_files_and_folders_are_passed_over(images):
    (images / ".cache").mkdir()
    (images / "ring" / "._000001.jpg").write_bytes(b"")
    (images / "ring" / "notes.txt").write_text("no image")
    assert ClassFolders(images).class_counts() == {"cross": 2, "ring": 2}


def test_empty_and_missing_classes_are_named(images):
    (images / "star").mkdir()
    with pytest.raises(DataError, match="star holds no image"):
        ClassFolders(images)
    with pytest.raises(DataError, match=r"no class 'rings'.*ring"):
        ClassFolders(images, ["rings"])
    with pytest.raises(DataError, match="no folders"):
        ClassFolders(images / "ring")


def test_classes_of_another_set_may_be_missing(images):
    source = ClassFolders(images, ["ring", "arrow"], of_another_set=True)
    assert source.absent() == ("arrow",)
    assert source.others == {"cross": 2}
    with pytest.raises(DataError, match="none of the classes"):
        ClassFolders(images, ["arrow"], of_another_set=True)


def test_damaged_images_are_refused_or_skipped(images):
    (images / "ring" / "000001.jpg").write_bytes(b"no image")
    for on_bad in ("refuse", "skip"):
        dataset = PipelineDataset(ClassFolders(images), training_pipeline(64, 0.5), training=True, on_bad=on_bad)
        sample, notes, failure = dataset[SampleKey(0, 0, 2)]
        assert (failure is None, sample is None) == ((False, True) if on_bad == "refuse" else (True, False))
        assert "000001.jpg" in (failure or notes[0])
    (problem,) = check_class_folders(images)["problems"]
    assert "000001.jpg" in problem


def test_pipelines_give_the_canvas_and_keep_the_label(images):
    source = ClassFolders(images)
    for pipeline in (training_pipeline(32, 0.5), center_pipeline(32)):
        image, target = pipeline(*source.load(2))
        assert image.shape == (3, 32, 32)
        assert target["labels"].tolist() == [1]
        assert target["boxes"].tolist() == [[0, 0, 32, 32]]
        assert target["meta"].canvas_size == (32, 32)


def test_both_splits_are_found(images):
    settings = find_class_folders(images.parent)
    assert settings == {f"data.{split}_images": str(images.parent / split) for split in ("train", "val")}
    with pytest.raises(DataError, match="no train set"):
        find_class_folders(images)
