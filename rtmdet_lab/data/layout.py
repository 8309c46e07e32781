"""Finds the parts of a data set in a folder by the usual names."""

from __future__ import annotations

from pathlib import Path

from rtmdet_lab.core.errors import DataError

# (images, annotations) below the folder, per split: our own, COCO's, and a plain variant.
_LAYOUTS = {
    "train": [("train", "annotations/instances_train.json"), ("train2017", "annotations/instances_train2017.json")],
    "val": [("val", "annotations/instances_val.json"), ("val2017", "annotations/instances_val2017.json")],
}


def find_coco(folder: Path) -> dict[str, str]:
    """Returns the four ``data.*`` settings of a COCO-style folder.

    Raises:
        DataError: nothing of the known layouts is there; names what was looked for.
    """
    settings: dict[str, str] = {}
    for split, layouts in _LAYOUTS.items():
        for images, file in layouts:
            if (folder / images).is_dir() and (folder / file).is_file():
                settings[f"data.{split}_images"] = str(folder / images)
                settings[f"data.{split}_annotations"] = str(folder / file)
                break
        else:
            looked = " or ".join(f"{images}/ with {file}" for images, file in layouts)
            raise DataError(f"{folder} has no {split} set in a known layout ({looked}): name the four paths instead")
    return settings


def find_dota(folder: Path) -> dict[str, str]:
    """Returns the four ``data.*`` settings of a DOTA-style folder: SPLIT/images with SPLIT/labelTxt.

    Raises:
        DataError: nothing of that layout is there.
    """
    settings: dict[str, str] = {}
    for split in ("train", "val"):
        images, labels = folder / split / "images", folder / split / "labelTxt"
        if not (images.is_dir() and labels.is_dir()):
            raise DataError(
                f"{folder} has no {split} set in a known layout ({split}/images with {split}/labelTxt): name the "
                "four paths instead"
            )
        settings[f"data.{split}_images"], settings[f"data.{split}_annotations"] = str(images), str(labels)
    return settings
