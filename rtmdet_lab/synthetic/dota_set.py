"""Writes generated aerial scenes in DOTA format: a folder of images and one of label files with oriented boxes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import cv2

from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.synthetic.aerial import render_aerial
from rtmdet_lab.synthetic.aerial_forms import AerialObject
from rtmdet_lab.synthetic.folder import encode_image, fill_folder, map_images
from rtmdet_lab.synthetic.settings import SPLITS, check_set_settings

_PNG_COMPRESSION = 3  # of 9; more is far slower and, on noisy pixels, hardly smaller


def generate_aerial(
    folder: Path | str,
    train: int = 200,
    val: int = 50,
    size: int = 512,
    seed: int = 0,
    difficulty: float = 0.5,
    workers: int = 1,
    progress: bool = True,
) -> dict[str, Path]:
    """Fills ``folder`` with generated aerial scenes in DOTA format and returns where everything is.

    Determined by its settings and reused as with :func:`generate_scenes`.

    Args:
        train, val: images of each split, 0 or more.
        size: pixels on each side, 64 or more; 12,000 is as large as the largest published aerial images.
        difficulty: 0 to 1, see :func:`render_aerial`.
        workers: processes; 1 renders in this one.

    Returns: ``train_images``, ``train_labels``, ``val_images``, ``val_labels``; label files carry the image's name with
        the suffix ``.txt``.

    Raises:
        SettingError: an impossible setting.
        DataError: the folder holds something else.
    """
    check_set_settings(train, val, size, seed, difficulty, workers)
    folder = Path(folder)
    counts = {"train": int(train), "val": int(val)}
    common = {"size": int(size), "seed": int(seed), "difficulty": float(difficulty)}
    paths = {}
    for split in SPLITS:
        paths[f"{split}_images"] = folder / split / "images"
        paths[f"{split}_labels"] = folder / split / "labelTxt"
    files = [path for split in SPLITS for index in range(counts[split]) for path in _files(folder / split, index)]

    def write() -> None:
        for split in SPLITS:
            for part in ("images", "labels"):
                paths[f"{split}_{part}"].mkdir(parents=True, exist_ok=True)
            render = partial(_write_image, folder / split, split, common)
            for _ in map_images(render, list(range(counts[split])), workers, progress, f"aerial {split}"):
                pass

    fill_folder(folder, {"kind": "aerial", **counts, **common}, files, write)
    return paths


def dota_lines(objects: list[AerialObject]) -> list[str]:
    """Returns a label file's lines: two of header, then x1 y1 x2 y2 x3 y3 x4 y4 class difficult for each object.

    Corners are pixels to a tenth, clockwise on the screen from the object's own front left; they may lie outside.
    """
    lines = ["imagesource:generated", "gsd:null"]
    for thing in objects:
        # Adding zero turns -0.0 into 0.0, which would print as "-0.0".
        corners = " ".join(f"{round(float(value), 1) + 0.0:.1f}" for value in thing.quad.ravel())
        lines.append(f"{corners} {thing.name} {int(thing.difficult)}")
    return lines


def _files(split_folder: Path, index: int) -> tuple[Path, Path]:
    stem = f"{index + 1:06d}"
    return split_folder / "images" / f"{stem}.png", split_folder / "labelTxt" / f"{stem}.txt"


def _write_image(split_folder: Path, split: str, common: dict[str, Any], index: int) -> None:
    pixels, objects = render_aerial(split=split, index=index, **common)
    image, labels = _files(split_folder, index)
    write_atomic(image, encode_image(pixels, ".png", cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION))
    write_atomic(labels, ("\n".join(dota_lines(objects)) + "\n").encode())
