"""Tells annotations of other tools for what they are, so that a message can name them instead of what they lack."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from rtmdet_lab.core.fields import is_number

_LOOKED_AT = 20  # files of a folder
_BEGINNING = 1 << 16  # bytes of a file
_CONVERT = "which are not read here: convert them to one COCO file"


def name_folder(folder: Path) -> str:
    """Returns what a folder of annotations holds, as "; it holds ... files, which ..."; nothing where that is not known."""
    try:
        paths = sorted(path for path in islice(folder.iterdir(), 10_000) if not path.name.startswith("."))
    except OSError:
        return ""
    for suffix, name in ((".xml", _name_xml), (".json", _name_json), (".txt", _name_text)):
        files = [path for path in paths if path.suffix.lower() == suffix and path.is_file()]
        for path in files[:_LOOKED_AT]:
            kind = name(_beginning(path))
            if kind:
                return f"; it holds {kind.format(path=path)}"
    return ""


def name_file(path: Path, content: Any = None) -> str:
    """Returns what an annotation file that is no COCO file is, as "; it is one of ..."; nothing where that is not known."""
    if content is None:
        kind = _name_xml(_beginning(path)) if path.suffix.lower() == ".xml" else None
        if kind is None and path.suffix.lower() == ".txt":
            kind = _name_text(_beginning(path))
    else:
        kind = _name_content(content)
    return f"; it is one of {kind.format(path=path)}" if kind else ""


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_BEGINNING).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _name_xml(text: str) -> str | None:
    if "<HRSC_Image" in text:
        return "HRSC2016's XML files: `rtmdet-lab data hrsc` converts them"
    if "<annotation" not in text:
        return None
    if "<robndbox" in text:
        return "roLabelImg XML files, which are not read here: convert them to DOTA label files (x1 y1 ... x4 y4 class 0)"
    return f"Pascal VOC XML files, {_CONVERT}"


def _name_json(text: str) -> str | None:
    try:
        return _name_content(json.loads(text))
    except (ValueError, RecursionError):  # only the beginning of a long file, perhaps
        keys = set(re.findall(r'"(\w+)"\s*:', text))
        if {"shapes", "imagePath"} <= keys or {"shapes", "version", "flags"} <= keys:
            return f"labelme's JSON files, {_CONVERT}"
        return _COCO if {"images", "file_name"} <= keys or {"annotations", "categories"} <= keys else None


_COCO = "a COCO file: name {path} instead of its folder"


def _name_content(content: Any) -> str | None:
    """Returns what parsed JSON is, by keys that only that tool writes."""
    if isinstance(content, list):
        first = content[0] if content and isinstance(content[0], Mapping) else {}
        if {"score", "bbox"} <= set(first) or {"score", "segmentation"} <= set(first):
            return "COCO's results files (detections with scores), not ground truth"
        if "annotations" in first and "data" in first:
            return "Label Studio's raw exports: export it again as COCO"
        if "image" in first and "annotations" in first:
            return f"Create ML's files, {_CONVERT}"
        return None
    if not isinstance(content, Mapping):
        return None
    if "shapes" in content:
        return f"labelme's JSON files, {_CONVERT}"
    if "_via_img_metadata" in content or any(isinstance(one, Mapping) and "regions" in one for one in content.values()):
        return "VIA's files (VGG Image Annotator): export it again as COCO"
    if "objects" in content and "size" in content:
        return f"Supervisely's JSON files, {_CONVERT}"
    return _COCO if isinstance(content.get("images"), list) and isinstance(content.get("annotations"), list) else None


def _name_text(text: str) -> str | None:
    """Returns which YOLO form the lines of a text file have, or None."""
    lines = [line.split() for line in re.split(r"\r\n|\r|\n", text)[: _LOOKED_AT + 1] if line.strip()]
    return name_lines(lines[:_LOOKED_AT])


def name_lines(lines: list[list[str]]) -> str | None:
    """Returns what lines of fields are, where they begin with the number of a class: a form of YOLO; None otherwise."""
    if not lines or not all(_is_class(fields[0]) and all(map(_is_text_number, fields[1:])) for fields in lines):
        return None
    counts = {len(fields) for fields in lines}
    shares = all(abs(float(value)) <= 2 for fields in lines for value in fields[1:5])
    if counts == {9}:
        unit = "shares of the image" if shares else "pixels"
        return (
            f"YOLO-OBB label files (class number, then four corners in {unit}): write the corners in pixels first and the "
            "name of the class after them"
        )
    if counts == {5} and shares:
        return f"YOLO label files (class, center and size as shares of the image), {_CONVERT}"
    if counts == {6} and shares:
        return (
            "YOLO label files of turned boxes (class, center, size and angle), which are not read here: convert them to "
            "DOTA label files (x1 y1 ... x4 y4 class 0)"
        )
    if shares and all(count % 2 and count >= 7 for count in counts):
        return f"YOLO segmentation label files (class, then an outline as shares of the image), {_CONVERT}"
    return None


def _is_class(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6


def _is_text_number(text: str) -> bool:
    try:
        return is_number(float(text.replace("_", "?")))
    except ValueError:
        return False
