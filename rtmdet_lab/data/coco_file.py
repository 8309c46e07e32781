"""Reads COCO annotation files: real ones, with their crowds, gaps in the category ids and odd boxes.

What a file can have wrong falls in two groups. Structure that makes it unusable (not JSON, missing keys, unknown ids) is
refused with the file, the id and the remedy. Single objects without area or outside their image, which published files
have too, are left out and counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtmdet_lab.data.segmentation import segmentation_problem
from rtmdet_lab.errors import DataError, did_you_mean
from rtmdet_lab.files import read_json


@dataclass
class ImageRecord:
    """One image's entry: where it is and what lies on it (plain lists: light to fork into loader workers)."""

    image_id: int
    file_name: str
    size: tuple[int, int] | None  # (height, width), None where the file does not say
    boxes: list[list[float]] = field(default_factory=list)  # x1 y1 x2 y2
    labels: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    segmentations: list[Any] = field(default_factory=list)  # as in the file; empty unless they were asked for
    ids: list[Any] = field(default_factory=list)  # of the annotations, None where they have none


@dataclass
class CocoFile:
    """A checked annotation file. ``category_ids[label]`` is the file's id of a label."""

    path: Path
    title: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    images: list[ImageRecord]
    problems: list[str]  # malformed annotations, one sentence each
    dropped: Counter  # reason -> number of objects without area or outside their image


def read_coco(path: Path, classes: Sequence[str] | None = None, segmentations: bool = False) -> CocoFile:
    """Returns the content of an annotation file, checked.

    Args:
        classes: names to keep, in label order; None keeps all categories in the file's order.
        segmentations: check and keep the objects' segmentations, too.

    Raises:
        DataError: not usable as a whole; names the file, the entry and the remedy.
    """
    content = read_json(path, "annotation file")
    images, annotations, categories = _sections(path, content)
    names = _category_names(path, categories)
    category_ids = _choose(path, names, classes)
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}

    records: dict[int, ImageRecord] = {}
    for entry in images:
        record = _image_record(path, entry)
        if record.image_id in records:
            raise DataError(f"annotation file {path} has image id {record.image_id} twice: make the ids unique")
        records[record.image_id] = record

    problems: list[str] = []
    dropped: Counter = Counter()
    seen: set[Any] = set()
    for number, entry in enumerate(annotations):
        problem = _annotation_problem(entry, records, names, seen)
        if segmentations and not problem:
            problem = segmentation_problem(entry.get("segmentation"), entry["bbox"], records[entry["image_id"]].size)
        if problem:
            known = isinstance(entry, dict) and "id" in entry
            problems.append(f"annotation {entry['id'] if known else f'number {number}'} {problem}")
            continue
        label = label_of.get(entry["category_id"])
        if label is None:
            continue
        record = records[entry["image_id"]]
        x, y, width, height = entry["bbox"]
        reason = no_area(record, x, y, width, height)
        if reason:
            dropped[reason] += 1
        record.boxes.append([x, y, x + width, y + height])
        record.labels.append(label)
        record.crowd.append(bool(entry.get("iscrowd", 0)))
        record.ids.append(entry.get("id"))
        record.areas.append(float(entry.get("area", width * height)))
        if segmentations:
            record.segmentations.append(entry["segmentation"])
    info = content.get("info")
    title = str((info.get("description") if isinstance(info, dict) else None) or path.name)
    return CocoFile(
        path, title, tuple(names[one] for one in category_ids), category_ids, list(records.values()), problems, dropped
    )


def _sections(path: Path, content: Any) -> tuple[list, list, list]:
    if not isinstance(content, Mapping):
        raise DataError(f"annotation file {path} holds a {type(content).__name__}, not a COCO object")
    sections = []
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise DataError(f"annotation file {path} has no list {key!r}: it is not in COCO format")
        sections.append(content[key])
    return tuple(sections)


def _category_names(path: Path, categories: list) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, entry in enumerate(categories):
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int) or "name" not in entry:
            raise DataError(f"annotation file {path}: category number {number} needs an id (whole number) and a name")
        if entry["id"] in names:
            raise DataError(f"annotation file {path} has category id {entry['id']} twice: make the ids unique")
        if str(entry["name"]) in names.values():
            raise DataError(f"annotation file {path} has two categories {str(entry['name'])!r}: give each its own name")
        names[entry["id"]] = str(entry["name"])
    if not names:
        raise DataError(f"annotation file {path} has no categories: add at least one")
    return names


def _choose(path: Path, names: Mapping[int, str], classes: Sequence[str] | None) -> tuple[int, ...]:
    if classes is None:
        return tuple(names)
    ids = {name: category_id for category_id, name in names.items()}
    for name in classes:
        if name not in ids:
            known = ", ".join(list(ids)[:10]) + (", ..." if len(ids) > 10 else "")
            hint = f"{did_you_mean(name, ids)} it has {known}".lstrip()
            raise DataError(f"annotation file {path} has no class {name!r}: {hint}")
    if len(set(classes)) < len(classes):
        raise DataError(f"classes name {Counter(classes).most_common(1)[0][0]!r} twice: name each class once")
    return tuple(ids[name] for name in classes)


def _image_record(path: Path, entry: Any) -> ImageRecord:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), int) or not isinstance(entry.get("file_name"), str):
        shown = entry.get("id") if isinstance(entry, dict) else entry
        raise DataError(f"annotation file {path}: image {shown!r} needs an id (whole number) and a file_name")
    height, width = entry.get("height"), entry.get("width")
    known = isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0
    return ImageRecord(entry["id"], entry["file_name"], (height, width) if known else None)


def _annotation_problem(
    entry: Any, records: Mapping[int, ImageRecord], names: Mapping[int, str], seen: set[Any]
) -> str | None:
    """Returns what makes an annotation unusable, or None. Remembers its id in ``seen``."""
    if not isinstance(entry, dict):
        return "is not an object"
    for key in ("image_id", "category_id", "bbox"):
        if key not in entry:
            return f"has no {key}"
    if "id" in entry:
        if not isinstance(entry["id"], (int, str)):
            return "has an id that is neither a whole number nor text"
        if entry["id"] in seen:
            return "has an id that occurs before"
        seen.add(entry["id"])
    for owner, key, known in (("image", "image_id", records), ("category", "category_id", names)):
        if not isinstance(entry[key], int):
            return f"belongs to {owner} {entry[key]!r}, which is not a whole number"
        if entry[key] not in known:
            return f"belongs to {owner} {entry[key]!r}, which the file does not list"
    box = entry["bbox"]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(value) for value in box):
        return f"has bbox {box!r}, but four finite numbers x, y, width, height are needed"
    if box[2] < 0 or box[3] < 0:
        return f"has a bbox of negative size ({box[2]} x {box[3]})"
    if "area" in entry and not _is_number(entry["area"]):
        return f"has area {entry['area']!r}, but a finite number is needed"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def no_area(record: ImageRecord, x: float, y: float, width: float, height: float) -> str | None:
    if width == 0 or height == 0:
        return "without area"
    if record.size is not None and (x >= record.size[1] or y >= record.size[0] or x + width <= 0 or y + height <= 0):
        return "outside their image"
    return None
