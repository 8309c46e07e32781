"""Reads COCO annotation files: real ones, with their crowds, gaps in the category ids and odd boxes.

Checks, training and scoring read their files here, so they agree. What a file can have wrong falls in four groups:
structure that makes it unusable (not JSON, missing keys, boxes in another form) is refused with the file, the id and the
remedy; single annotations that cannot be read are ``problems``, refused or left out; objects that nothing can learn, which
published files have too, are counted by their ``reasons``; what may be wrong is told as ``doubts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.fields import box, flag, is_id, number, shown, side
from rtmdet_lab.core.files import read_json
from rtmdet_lab.data.categories import choose_categories, read_categories
from rtmdet_lab.data.foreign import name_file, name_folder
from rtmdet_lab.data.plausibility import AGREEMENT, disagreement, judge_boxes
from rtmdet_lab.data.segmentation import outline_area, outline_box, segmentation_problem, without_scraps

WITHOUT_AREA, THIN, OUTSIDE, IGNORED = "without area", "thinner than a pixel", "outside their image", "marked ignore"


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
    reasons: list[str | None] = field(default_factory=list)  # why an object cannot be learned; None: it can
    segmentations: list[Any] = field(default_factory=list)  # as in the file; empty unless they were asked for
    ids: list[Any] = field(default_factory=list)  # of the annotations, None where they have none
    reach: tuple[float, float] | None = None  # x, y that the boxes of all classes end at, at most; None without boxes


@dataclass
class CocoFile:
    """A checked annotation file. ``category_ids[label]`` is the file's id of a label."""

    path: Path
    title: str
    classes: tuple[str, ...]
    category_ids: tuple[int | None, ...]  # None: a class that the file has no category for
    images: list[ImageRecord]
    problems: list[str]  # malformed annotations and images listed twice, one sentence each
    dropped: Counter  # reason -> number of objects that cannot be learned
    others: Counter  # name of a category that was not chosen -> its objects
    doubts: list[str] = field(default_factory=list)  # what may be wrong
    disagreeing: list[str] = field(default_factory=list)  # boxes that contradict their polygons
    notes: list[str] = field(default_factory=list)  # what was read in another way than it is written

    def all_doubts(self) -> list[str]:
        """Returns the doubts, with one sentence for all boxes that contradict their polygons."""
        if not self.disagreeing:
            return self.doubts
        more = f" (and {len(self.disagreeing) - 1} more)" if len(self.disagreeing) > 1 else ""
        return [*self.doubts, f"{self.disagreeing[0]}{more}"]


def read_coco(
    path: Path, classes: Sequence[str] | None = None, segmentations: bool = False, of_another_set: bool = False
) -> CocoFile:
    """Returns the content of an annotation file, checked.

    Args:
        classes: names to keep, in label order; None keeps all categories in the file's order.
        segmentations: check and keep the objects' segmentations, too.
        of_another_set: ``classes`` are those of other data or of weights: some may be missing here, not all.

    Raises:
        DataError: not usable as a whole; names the file, the entry and the remedy.
    """
    content = _content(path)
    images, annotations, categories = (content[key] for key in ("images", "annotations", "categories"))
    names, notes = read_categories(path, categories, annotations, classes)
    category_ids = choose_categories(path, names, classes, of_another_set)
    records, problems = _image_records(path, images)
    if segmentations and annotations and not any(isinstance(one, dict) and one.get("segmentation") for one in annotations):
        raise DataError(
            f"annotation file {path} has no segmentations: masks can neither be learned nor scored with it; use a model "
            "without masks"
        )
    reader = _Annotations(records, names, {one: label for label, one in enumerate(category_ids)}, segmentations)
    for position, entry in enumerate(annotations):
        try:
            reader.add(entry)
        except ValueError as error:
            known = isinstance(entry, dict) and "id" in entry
            problems.append(f"annotation {shown(entry['id']) if known else f'number {position}'} {error}")
    refusal, doubts = reader.judge()
    if refusal:
        raise DataError(f"annotation file {path}: {refusal}")
    info = content.get("info")
    title = str((info.get("description") if isinstance(info, dict) else None) or path.name)
    kept = [record for record in records.values() if record is not None]
    chosen = tuple(names[one] for one in category_ids) if classes is None else tuple(classes)
    file = CocoFile(path, title, chosen, category_ids, kept, problems, reader.dropped, reader.others, doubts)
    file.disagreeing = [] if segmentations else reader.disagreeing()
    file.notes = notes + reader.notes()
    return file


def _content(path: Path) -> Mapping[str, Any]:
    if path.is_dir():
        raise DataError(f"annotation file {path} is a folder{name_folder(path) or ', but a COCO file is needed'}")
    try:
        content = read_json(path, "annotation file")
    except DataError as error:
        raise DataError(f"{error}{name_file(path)}") from None
    sections = isinstance(content, Mapping) and [isinstance(content.get(key), list) for key in _SECTIONS]
    if not sections or not all(sections):
        found = f"holds a {type(content).__name__}, not a COCO object"
        if sections:
            found = f"has no list {_SECTIONS[sections.index(False)]!r}: it is not in COCO format"
        raise DataError(f"annotation file {path} {found}{name_file(path, content)}")
    return content


_SECTIONS = ("images", "annotations", "categories")


def _image_records(path: Path, images: list) -> tuple[dict[int, ImageRecord | None], list[str]]:
    """Returns the images by id, None for one that is listed before under another id, and a sentence per such one."""
    records: dict[int, ImageRecord | None] = {}
    names: dict[str, int] = {}
    problems = []
    for entry in images:
        if not isinstance(entry, dict) or not is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            known = entry.get("id") if isinstance(entry, dict) else entry
            raise DataError(f"annotation file {path}: image {shown(known)} needs an id (whole number) and a file_name")
        image_id, name = entry["id"], entry["file_name"]
        try:
            height, width = (side(entry.get(key), key) for key in ("height", "width"))
        except ValueError as error:
            raise DataError(f"annotation file {path}: image {image_id} {error}") from None
        if image_id in records:
            raise DataError(f"annotation file {path} has image id {image_id} twice: make the ids unique")
        plain = name.replace("\\", "/").removeprefix("./")
        if plain in names:
            problems.append(f"image {image_id} is {name}, as image {names[plain]} is: give each picture one id")
            records[image_id] = None
            continue
        names[plain] = image_id
        records[image_id] = ImageRecord(image_id, name, (height, width) if height and width else None)
    return records, problems


class _Annotations:
    """Puts the annotations of a file onto its images, and remembers what they show together."""

    def __init__(
        self,
        records: Mapping[int, ImageRecord | None],
        names: Mapping[int, str],
        label_of: Mapping[int, int],
        segmentations: bool,
    ) -> None:
        self.records, self.names, self.label_of, self.segmentations = records, names, label_of, segmentations
        self.dropped: Counter = Counter()
        self.others = Counter(dict.fromkeys((name for one, name in names.items() if one not in label_of), 0))
        self.scraps = self.without_area = self.wrong_area = self.rectangles = 0
        self.seen: set[Any] = set()
        self.ids: list[Any] = []
        self.boxes: list[tuple[float, float, float, float]] = []
        self.sizes: list[tuple[float, float]] = []
        self.outlines: list[tuple[float, float, float, float]] = []

    def add(self, entry: Any) -> None:
        """Reads one annotation; raises ValueError with the reason, as "has no bbox", where it cannot be used."""
        if not isinstance(entry, dict):
            raise ValueError("is not an object")
        record = self._owner(entry)
        if record is None:  # its image is a problem already
            return
        x, y, width, height = bbox = box(entry["bbox"])
        crowd, ignored = flag(entry.get("iscrowd"), "iscrowd"), flag(entry.get("ignore"), "ignore")
        segmentation, scraps = without_scraps(entry.get("segmentation"))
        around = outline_box(segmentation) if isinstance(segmentation, list) else None
        area = None if entry.get("area") is None else number(entry["area"], "area")
        self.ids.append(entry.get("id"))
        self.boxes.append(bbox)
        self.sizes.append(record.size or _UNKNOWN)
        self.outlines.append(around or _NOWHERE)
        if self.segmentations:
            problem = segmentation_problem(segmentation, bbox, record.size)
            if problem:
                raise ValueError(problem)
            self.rectangles += _is_its_box(segmentation, bbox)
        self.scraps += scraps
        before = record.reach or (x + width, y + height)
        record.reach = max(before[0], x + width), max(before[1], y + height)
        label = self.label_of.get(entry["category_id"])
        if label is None:
            self.others[self.names[entry["category_id"]]] += 1
            return
        if area is None or area <= 0:
            self.without_area += area is None
            self.wrong_area += area is not None and width > 0 and height > 0
            area = outline_area(segmentation) or width * height
        reason = IGNORED if ignored else no_area(record, x, y, width, height)
        if reason:
            self.dropped[reason] += 1
        record.boxes.append([x, y, x + width, y + height])
        record.labels.append(label)
        record.crowd.append(crowd)
        record.ids.append(entry.get("id"))
        record.areas.append(area)
        record.reasons.append(reason)
        if self.segmentations:
            record.segmentations.append(segmentation)

    def _owner(self, entry: Mapping[str, Any]) -> ImageRecord | None:
        for key in ("image_id", "category_id", "bbox"):
            if key not in entry:
                raise ValueError(f"has no {key}")
        if "id" in entry:
            if not is_id(entry["id"]) and not isinstance(entry["id"], str):
                raise ValueError("has an id that is neither a whole number nor text")
            if entry["id"] in self.seen:
                raise ValueError("has an id that occurs before")
            self.seen.add(entry["id"])
        for owner, key, known in (("image", "image_id", self.records), ("category", "category_id", self.names)):
            if not is_id(entry[key]):
                raise ValueError(f"belongs to {owner} {shown(entry[key])}, which is not a whole number")
            if entry[key] not in known:
                raise ValueError(f"belongs to {owner} {entry[key]}, which the file does not list")
        return self.records[entry["image_id"]]

    def judge(self) -> tuple[str | None, list[str]]:
        """Returns what makes the file unusable, or None, and what may be wrong with it."""
        verdict = judge_boxes(*self._arrays())
        doubts = list(verdict.doubts)
        if self.rectangles >= 5 and self.rectangles >= 0.95 * len(self.ids):
            doubts.append(
                f"{self.rectangles} of {len(self.ids)} outlines are the boxes themselves: masks learned from them are boxes"
            )
        if self.wrong_area:
            doubts.append(f"{self.wrong_area} objects have an area of 0 or less, though their box has one: {_MEASURED}")
        self._remarks = verdict.notes
        return verdict.refusal, doubts

    def disagreeing(self) -> list[str]:
        """Returns a sentence per box that contradicts its polygons."""
        boxes, _, outlines = self._arrays()
        overlaps = disagreement(boxes, outlines)
        return [
            f"annotation {shown(self.ids[row])} has a bbox that disagrees with its polygons (IoU {overlaps[row]:.2f})"
            for row in np.flatnonzero(overlaps < AGREEMENT)
        ]

    def notes(self) -> list[str]:
        """Returns a sentence per kind of annotation that was not read as it is written."""
        notes = list(self._remarks)
        if self.without_area:
            notes.append(f"{self.without_area} objects have no area in the file: {_MEASURED}")
        if self.scraps:
            notes.append(f"{self.scraps} polygons of fewer than 3 points beside good ones are left out; their objects stay")
        return notes

    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = ((self.boxes, 4), (self.sizes, 2), (self.outlines, 4))
        return tuple(np.array(rows, dtype=np.float64).reshape(-1, columns) for rows, columns in parts)


_MEASURED = "it is taken from their outline, or else from their box"
_UNKNOWN, _NOWHERE = (np.nan,) * 2, (np.nan,) * 4


def _is_its_box(segmentation: Any, bbox: Sequence[float]) -> bool:
    if not isinstance(segmentation, list) or len(segmentation) != 1 or len(segmentation[0]) not in (8, 10):
        return False
    x, y, width, height = bbox
    xs, ys = segmentation[0][::2], segmentation[0][1::2]
    return all(min(abs(one - x), abs(one - x - width)) < 0.01 for one in xs) and all(
        min(abs(one - y), abs(one - y - height)) < 0.01 for one in ys
    )


def no_area(record: ImageRecord, x: float, y: float, width: float, height: float) -> str | None:
    """Returns why a box is nothing to learn (the published filter), or None."""
    if width == 0 or height == 0:
        return WITHOUT_AREA
    if record.size is not None and (x >= record.size[1] or y >= record.size[0] or x + width <= 0 or y + height <= 0):
        return OUTSIDE
    return THIN if width < 1 or height < 1 else None
