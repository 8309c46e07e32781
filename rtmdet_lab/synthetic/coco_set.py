"""Writes generated scenes as a COCO detection and instance set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.geometry.tracing import mask_to_polygons, mask_to_rle
from rtmdet_lab.synthetic.folder import encode_image, fill_folder, map_images
from rtmdet_lab.synthetic.forms import SCENE_CLASSES, check_scene_classes
from rtmdet_lab.synthetic.scenes import SceneObject, render_scene
from rtmdet_lab.synthetic.settings import SPLITS, check_set_settings

# With gaps, as in COCO itself: code that takes ids for labels fails here, not on the real set.
SCENE_CATEGORY_IDS = (1, 2, 3, 5, 8, 9, 11, 14, 15, 18)

_JPEG_QUALITY = 95


def generate_scenes(
    folder: Path | str,
    train: int = 400,
    val: int = 100,
    size: int = 256,
    seed: int = 0,
    difficulty: float = 0.5,
    workers: int = 1,
    progress: bool = True,
    classes: Sequence[str] = SCENE_CLASSES,
) -> dict[str, Path]:
    """Fills ``folder`` with generated scenes in COCO format and returns where everything is.

    An image depends on the seed, its split, its position, ``size`` and ``difficulty`` alone: a larger set begins with the
    images of a smaller one, and any number of workers gives the same bytes (with the same versions of NumPy and OpenCV).
    A folder that holds this set already is left as it is.

    Segmentations are polygons around the visible pixels, exact to the pixel, a ring's hole joined by a cut. Crowds
    (``iscrowd`` 1) are uncompressed run lengths. Boxes are tight around the visible pixels and areas count them.

    Args:
        train, val: images of each split, 0 or more.
        size: pixels on each side, 64 or more.
        difficulty: 0 to 1, see :func:`render_scene`.
        workers: processes; 1 renders in this one.
        classes: the forms to draw, one or more of ``SCENE_CLASSES``.

    Returns: ``train_images``, ``train_annotations``, ``val_images``, ``val_annotations``.

    Raises:
        SettingError: an impossible setting.
        DataError: the folder holds something else.
    """
    check_set_settings(train, val, size, seed, difficulty, workers)
    classes = check_scene_classes(classes)
    folder = Path(folder)
    counts = {"train": int(train), "val": int(val)}
    common = {"size": int(size), "seed": int(seed), "difficulty": float(difficulty), "classes": list(classes)}
    paths = {}
    for split in SPLITS:
        paths[f"{split}_images"] = folder / split
        paths[f"{split}_annotations"] = folder / "annotations" / f"instances_{split}.json"
    files = [paths[f"{split}_annotations"] for split in SPLITS]
    files += [folder / split / _file_name(index) for split in SPLITS for index in range(counts[split])]

    def write() -> None:
        for split in SPLITS:
            paths[f"{split}_images"].mkdir(parents=True, exist_ok=True)
            render = partial(_write_image, paths[f"{split}_images"], split, common)
            found = map_images(render, list(range(counts[split])), workers, progress, f"scenes {split}")
            content = _annotation_file(list(found), common)
            write_atomic(paths[f"{split}_annotations"], (json.dumps(content, separators=(",", ":")) + "\n").encode())

    fill_folder(folder, {"kind": "scenes", **counts, **common}, files, write)
    return paths


def scene_annotation(found: SceneObject, size: int) -> dict[str, Any]:
    """Returns one object's COCO entry without its ids, for a scene of ``size`` pixels."""
    x, y, width, height = found.box
    if found.crowd:
        whole = cv2.copyMakeBorder(
            found.mask.astype("uint8"), y, size - y - height, x, size - x - width, cv2.BORDER_CONSTANT, value=0
        )
        segmentation: Any = mask_to_rle(whole > 0)
    else:
        segmentation = mask_to_polygons(found.mask, x, y)
    return {
        "category_id": SCENE_CATEGORY_IDS[found.label],
        "bbox": [float(value) for value in found.box],
        "area": float(found.mask.sum()),
        "iscrowd": int(found.crowd),
        "segmentation": segmentation,
    }


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _write_image(images: Path, split: str, common: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """Renders and writes one image; returns its annotations without ids."""
    pixels, objects = render_scene(split=split, index=index, **common)
    data = encode_image(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
    write_atomic(images / _file_name(index), data)
    return [scene_annotation(one, common["size"]) for one in objects]


def _annotation_file(found: list[list[dict[str, Any]]], common: dict[str, Any]) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, entries in enumerate(found):
        image_id = index + 1
        images.append({"id": image_id, "file_name": _file_name(index), "width": common["size"], "height": common["size"]})
        for entry in entries:
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **entry})
    categories = [
        {"id": category_id, "name": name, "supercategory": "shape"}
        for category_id, name in zip(SCENE_CATEGORY_IDS, SCENE_CLASSES, strict=True)
        if name in common["classes"]
    ]
    info = {"description": f"generated scenes, seed {common['seed']}", "version": "1"}
    return {"info": info, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
