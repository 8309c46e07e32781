"""Cuts a set of large aerial images into windows of one size, with their share of the label files (paper.md 3.7).

A record of the settings stands in the folder; an image that is done has its own record, so a run that was stopped goes on
with the next image, and a folder is never filled from two kinds of settings.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from typing_extensions import TypedDict

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.file_schema import Count, require
from rtmdet_lab.core.files import read_json, write_atomic, write_json
from rtmdet_lab.data.dota import ImagePair, find_pairs
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.label_file import LabelFile, read_label_file
from rtmdet_lab.data.tiles import SMALLEST_WINDOW, WINDOW_SHARE, Window, cut_window, lay_windows, shares_inside, window_size
from rtmdet_lab.geometry.rotated import quads_to_rboxes, rboxes_to_quads
from rtmdet_lab.synthetic.folder import encode_image, map_images
from rtmdet_lab.transforms.base import to_array

_REMEDY = "; correct it or leave it out with --on-bad skip"
FORMAT_VERSION = 1  # raise it when the same settings give other windows
RECORD_NAME = "split.json"
_DONE_FOLDER = "done"
_PNG_COMPRESSION = 3  # of 9; more is far slower and hardly smaller
_WHOLE = 1 - 1e-6  # share from which an object counts as not cut
_CUT = 2  # difficulty written for an object that the window cuts, as published


def split_dota(
    images: str | Path,
    labels: str | Path | None,
    out: str | Path,
    patch: int = 1024,
    overlap: int = 200,
    scales: Sequence[float] = (1.0,),
    window_share: float = WINDOW_SHARE,
    object_share: float = 0.7,
    workers: int = 1,
    progress: bool = True,
    pad: bool = True,
    on_bad: str = "refuse",
) -> dict[str, Any]:
    """Cuts every image of a folder and its label file into windows, and returns where they are and how many.

    Objects are shifted and scaled, never clipped; one that the window cuts is marked difficult. Several folders (train,
    val) may be cut into the same ``out`` one after the other with the same settings.

    Args:
        images, labels: folders as for :class:`~rtmdet_lab.data.dota.DotaDataset`; ``labels`` None cuts images alone.
        patch: side of the window files, pixels.
        overlap: pixels of a window file that its neighbour has too.
        scales: factors of the whole image; at 0.5 a window of twice ``patch`` is shrunk to it.
        window_share: least share of a window's area that lies in the image; an image always keeps its best windows.
        object_share: least share of an object's area that lies in the window.
        workers: processes; 1 works in this one.
        pad: fill what lies outside the image, so that every file is ``patch`` x ``patch``; otherwise it is cut off.
        on_bad: "refuse" or "skip" images and label lines that cannot be used.

    Returns: ``images``, ``labels`` (folders; the latter None without labels), ``patch``, ``sources``, ``windows``,
        ``objects``, ``difficult`` (numbers, of this call's images, those done before included).

    Raises:
        SettingError: an impossible setting.
        DataError: the folder holds other settings or something else, or bad data with ``on_bad`` "refuse".
    """
    images, out = Path(images), Path(out)
    labels = None if labels is None else Path(labels)
    _check_settings(patch, overlap, scales, window_share, object_share, workers)
    pairs, problems = find_pairs(images, labels)
    if problems and on_bad == "refuse":
        raise DataError(
            problems[0] + (f" (and {len(problems) - 1} more files without partner)" if len(problems) > 1 else "") + _REMEDY
        )
    if not pairs:
        raise DataError(f"image folder {images} has no images{' with labels' if labels else ''}: nothing to cut")
    settings = {
        "format": FORMAT_VERSION,
        "patch": int(patch),
        "overlap": int(overlap),
        "scales": [float(scale) for scale in scales],
        "window_share": float(window_share),
        "object_share": float(object_share),
        "pad": bool(pad),
        "labels": labels is not None,
    }
    _open_folder(out, settings)
    cut = partial(_cut_image, out, settings, on_bad)
    counts = {"windows": 0, "objects": 0, "difficult": 0}
    for record in map_images(cut, pairs, workers, progress, "split"):
        problems += record["problems"]
        for name in counts:
            counts[name] += record[name]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        warnings.warn(f"left out of the windows: {problems[0]}{more}", stacklevel=2)
    folders = {"images": out / "images", "labels": out / "labelTxt" if labels else None}
    return {**folders, "patch": int(patch), "sources": len(pairs), **counts}


def _check_settings(patch: Any, overlap: Any, scales: Any, window_share: Any, object_share: Any, workers: Any) -> None:
    for name, value, low in (("patch", patch, SMALLEST_WINDOW), ("overlap", overlap, 0), ("workers", workers, 1)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
            raise SettingError(f"{name} must be a whole number of at least {low}, got {value!r}")
    if overlap >= patch:
        raise SettingError(f"overlap {overlap} must be less than patch {patch}: windows would not move on")
    for name, value in (("window_share", window_share), ("object_share", object_share)):
        if not isinstance(value, Real) or not 0 < value <= 1:
            raise SettingError(f"{name} must be over 0 and at most 1, got {value!r}")
    good = isinstance(scales, Sequence) and all(isinstance(one, Real) and 0.01 <= one <= 100 for one in scales)
    if not good or not scales or isinstance(scales, str):
        raise SettingError(f"scales must be a list of factors from 0.01 to 100, got {scales!r}")
    sizes = [window_size(patch, scale) for scale in scales]
    if min(sizes) < SMALLEST_WINDOW or any(window_size(overlap, scale) >= window_size(patch, scale) for scale in scales):
        raise SettingError(f"scale {max(scales)} leaves windows of {min(sizes)} pixels: raise patch or lower the scale")
    if len(set(sizes)) < len(sizes):
        raise SettingError(f"scales {list(scales)} give windows of the same size twice: name each scale once")


def _open_folder(out: Path, settings: dict[str, Any]) -> None:
    record = out / RECORD_NAME
    if record.exists():
        found = read_json(record, "record of a split")
        if found != settings:
            known = found if isinstance(found, dict) else {}
            names = [name for name in settings if known.get(name) != settings[name]]
            listed = ", ".join(f"{name} {known.get(name, 'missing')!r} instead of {settings[name]!r}" for name in names)
            raise DataError(f"folder {out} holds windows cut with other settings ({listed}): choose another or delete it")
        return
    if out.exists() and (not out.is_dir() or any(not path.name.startswith(".") for path in out.iterdir())):
        raise DataError(f"{out} holds something that is not a split: choose an empty or a new folder")
    write_json(record, settings)


class _Source(TypedDict):
    image: str
    stamps: list[list[int]]


@dataclass
class _ImageRecord:
    """What the file of an image's windows holds."""

    source: _Source
    names: list[str]
    windows: Count
    objects: Count
    difficult: Count
    problems: list[str]


def _read_record(path: Path) -> dict[str, Any]:
    what = f"{path} is no record of an image's windows: delete it to have the image cut again"
    record = vars(require(_ImageRecord, read_json(path, "record of an image's windows"), what))
    if not all(name == Path(name).name and name not in ("", ".", "..") for name in record["names"]):
        raise DataError(f"{what}: its names lead out of the folder")  # the files they name may be deleted
    return record


def _cut_image(out: Path, settings: dict[str, Any], on_bad: str, pair: ImagePair) -> dict[str, Any]:
    """Writes the windows of one image unless they are there; returns its record."""
    done = out / _DONE_FOLDER / f"{pair.image_id}.json"
    source = _source(pair)
    if done.exists():
        record = _read_record(done)
        same = record["source"]["stamps"] == source["stamps"]
        if same and record["problems"] and on_bad == "refuse":
            raise DataError(record["problems"][0] + _REMEDY)
        if same and all(path.is_file() for name in record["names"] for path in _files(out, name, settings)):
            return record
        if not same and record["source"]["image"] != source["image"]:
            raise DataError(
                f"image {pair.image} has the name of another one already cut into {out} ({record['source']['image']}): "
                "rename it or choose another folder"
            )
        for name in record["names"]:  # the image or its labels were changed since
            for path in _files(out, name, settings):
                path.unlink(missing_ok=True)
        done.unlink()
    record = {"source": source, "names": [], "windows": 0, "objects": 0, "difficult": 0, "problems": []}
    try:
        pixels = to_array(read_image(pair.image))
    except DataError as error:
        if on_bad == "refuse":
            raise
        return record | {"problems": [str(error)]}  # without a file of its own: it is looked at again next time
    file = read_label_file(pair.labels, on_bad=on_bad) if pair.labels else None
    convex = _convex(file) if file else None
    for scale in settings["scales"]:
        size, overlap = (window_size(settings[name], scale) for name in ("patch", "overlap"))
        for window in lay_windows(pair.image_id, pixels.shape[:2], size, overlap, settings["window_share"]):
            part = cut_window(pixels, window, settings["patch"], settings["pad"])
            data = encode_image(part, ".png", cv2.IMWRITE_PNG_COMPRESSION, _PNG_COMPRESSION)
            write_atomic(out / "images" / f"{window.name}.png", data)
            record["names"].append(window.name)
            if file is not None:
                lines, difficult = _cut_labels(file, convex, window, settings)
                write_atomic(out / "labelTxt" / f"{window.name}.txt", "".join(lines).encode())
                record["objects"] += len(lines)
                record["difficult"] += difficult
    record["windows"] = len(record["names"])
    record["problems"] = file.problems if file else []
    write_json(done, record)
    return record


def _source(pair: ImagePair) -> dict[str, Any]:
    """Returns where an image comes from and what changes when it or its labels are replaced."""
    stats = [os.stat(path) for path in (pair.image, pair.labels) if path is not None]
    return {"image": str(pair.image.resolve()), "stamps": [[stat.st_size, stat.st_mtime_ns] for stat in stats]}


def _files(out: Path, name: str, settings: dict[str, Any]) -> list[Path]:
    return [out / "images" / f"{name}.png", *([out / "labelTxt" / f"{name}.txt"] if settings["labels"] else [])]


def _convex(file: LabelFile) -> np.ndarray:
    """Returns corners (G, 8) whose area can be measured: the smallest rectangle where the labelled ones cross."""
    quads = file.quads.copy()
    if file.irregular.any():
        odd = torch.from_numpy(quads[file.irregular])
        quads[file.irregular] = rboxes_to_quads(quads_to_rboxes(odd)).numpy()
    return quads


def _cut_labels(file: LabelFile, convex: np.ndarray, window: Window, settings: dict[str, Any]) -> tuple[list[str], int]:
    """Returns the lines of a window's label file and how many of them are difficult."""
    shares = shares_inside(convex, window)
    lines, difficult = [], 0
    for number in np.flatnonzero(shares >= settings["object_share"]):
        corners = (file.quads[number].reshape(4, 2) - (window.x, window.y)) * (settings["patch"] / window.size)
        flag = int(file.difficult[number]) if shares[number] >= _WHOLE else _CUT
        difficult += flag > 0
        written = " ".join(_number(value) for value in corners.ravel())
        lines.append(f"{written} {file.names[number]} {flag}\n")
    return lines, difficult


def _number(value: float) -> str:
    """Returns a coordinate to a thousandth of a pixel, without needless zeros; adding zero turns -0.0 into 0.0."""
    return f"{round(float(value), 3) + 0.0:.3f}".rstrip("0").rstrip(".")
