"""COCO sets written to disk, as small as they can be, for tests of everything that reads files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

torch.set_num_threads(1)  # see made_samples

CATEGORIES = [{"id": 3, "name": "wide"}, {"id": 7, "name": "tall"}]  # ids with gaps, as in the real files
# A network of 40 thousand weights: an epoch takes a second.
TINY = {
    "model.size": "nano",
    "model.width": 0.125,
    "model.depth": 0.167,
    "augment.input_size": 64,
    "augment.mosaic_cache": 6,
    "augment.mixup_cache": 4,
    "train.epochs": 2,
    "train.batch_size": 4,
    "train.val_interval": 1,
    "train.lr": 0.001,
    "train.workers": 0,
}


def image(image_id: int, size: tuple[int, int] = (64, 64), **extra: Any) -> dict:
    return {"id": image_id, "file_name": f"{image_id}.png", "height": size[0], "width": size[1]} | extra


def annotation(annotation_id: int, image_id: int, category_id: int = 3, bbox=(8, 8, 32, 16), **extra: Any) -> dict:
    box = list(bbox)
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 0,
    } | extra


def content(images, annotations, categories=None, **extra: Any) -> dict:
    info = {"description": "a set made for a test"}
    known = CATEGORIES if categories is None else categories
    return {"info": info, "images": list(images), "annotations": list(annotations), "categories": known} | extra


def write_annotations(path: Path, what: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


def write_split(folder: Path, split: str, count: int, *, size: int = 64, seed: int = 0) -> None:
    """Writes ``count`` images with one bright rectangle each, in the layout that ``find_coco`` knows."""
    rng = np.random.default_rng([seed, len(split)])
    images, annotations = [], []
    (folder / split).mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
        tall = bool(rng.integers(2))
        width, height = (size // 4, size // 2) if tall else (size // 2, size // 4)
        x, y = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
        pixels[y : y + height, x : x + width] = rng.integers(140, 255, 3)
        Image.fromarray(pixels).save(folder / split / f"{number}.png")
        images.append(image(number, (size, size)))
        annotations.append(annotation(number, number, CATEGORIES[tall]["id"], (x, y, width, height)))
    write_annotations(folder / "annotations" / f"instances_{split}.json", content(images, annotations))


def write_set(folder: Path, train: int = 8, val: int = 4, size: int = 64) -> Path:
    write_split(folder, "train", train, size=size)
    write_split(folder, "val", val, size=size, seed=1)
    return folder


def data_settings(folder: Path) -> dict[str, str]:
    return {
        f"data.{split}_{kind}": str(folder / (split if kind == "images" else f"annotations/instances_{split}.json"))
        for split in ("train", "val")
        for kind in ("images", "annotations")
    }


def tiny_arguments(**changes: Any) -> list[str]:
    """Returns the ``NAME=VALUE`` arguments of :data:`TINY` for the command line (the size goes in the model's name)."""
    settings = {name: value for name, value in TINY.items() if name != "model.size"} | changes
    return [f"{name}={json.dumps(value) if not isinstance(value, str) else value}" for name, value in settings.items()]


def assert_one_sentence(error: object, *words: str) -> str:
    """Returns an error's message after checking that a person can act on it: one line, with every one of ``words``."""
    message = str(error)
    assert message, "an empty message"
    assert "\n" not in message, message
    assert "Traceback" not in message
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    return message
