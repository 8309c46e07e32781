"""Generated sets for image classification: one form on a plain ground, a folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.synthetic.folder import encode_image, fill_folder, map_images
from rtmdet_lab.synthetic.forms import SCENE_CLASSES, check_scene_classes
from rtmdet_lab.synthetic.scenes import render_scene
from rtmdet_lab.synthetic.settings import SPLITS, check_set_settings

JPEG_QUALITY = 95


def generate_labelled(
    folder: Path | str,
    train: int = 400,
    val: int = 100,
    size: int = 64,
    seed: int = 0,
    difficulty: float = 0.0,
    workers: int = 1,
    progress: bool = True,
    classes: Sequence[str] = SCENE_CLASSES,
) -> dict[str, Path]:
    """Fills ``folder`` with SPLIT/CLASS/NUMBER.jpg and returns where both splits are; classes take turns.

    Each image is a scene (:func:`render_scene`) with one form of its class. A folder that holds this set already is left as
    it is.

    Args:
        train, val: images of each split, over all classes.
        size: pixels on each side, 64 or more.
        classes: the forms to draw.

    Raises:
        SettingError: an impossible setting.
        DataError: the folder holds something else.
    """
    check_set_settings(train, val, size, seed, difficulty, workers)
    classes, folder = check_scene_classes(classes), Path(folder)
    counts = {"train": int(train), "val": int(val)}
    common = {"size": int(size), "seed": int(seed), "difficulty": float(difficulty)}
    jobs = [(split, index, classes[index % len(classes)]) for split in SPLITS for index in range(counts[split])]

    def write() -> None:
        for split in SPLITS:
            for name in classes:
                (folder / split / name).mkdir(parents=True, exist_ok=True)
        list(map_images(partial(_write, folder, common), jobs, workers, progress, "labelled"))

    files = [_path(folder, *job) for job in jobs]
    fill_folder(folder, {"kind": "labelled", **counts, **common, "classes": list(classes)}, files, write)
    return {f"{split}_images": folder / split for split in SPLITS}


def _path(folder: Path, split: str, index: int, name: str) -> Path:
    return folder / split / name / f"{index + 1:06d}.jpg"


def _write(folder: Path, common: dict[str, Any], job: tuple[str, int, str]) -> None:
    split, index, name = job
    pixels, _ = render_scene(split=split, index=index, classes=[name], single=True, **common)
    write_atomic(_path(folder, *job), encode_image(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
