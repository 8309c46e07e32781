"""Corrected annotation files: a COCO file or a folder of label files with some objects changed, added or taken out.

What is not corrected stays as it was written, down to keys and lines that nothing here reads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.files import read_json
from rtmdet_lab.core.outputs import require_outputs, write_json_output, write_output
from rtmdet_lab.data.categories import read_categories
from rtmdet_lab.data.folders import visible_files
from rtmdet_lab.data.label_file import LINE_END, read_label_file

CORRECTED = "corrected annotation"


@dataclass(frozen=True)
class Correction:
    """What becomes of one object, or of none: a new one. Fields that are None stay as they are."""

    image_id: Any
    object: Any = None  # id in a COCO file, line of a label file; None adds an object
    label: str | None = None  # class
    box: Sequence[float] | None = None  # x y width height, or eight corner coordinates for label files; pixels
    segmentation: Any = None  # COCO's, of a new outline
    area: float | None = None  # pixels^2; None: that of a new box
    drop: bool = False  # take the object out


def write_corrected_coco(source: Path, corrections: Sequence[Correction], target: Path) -> Path:
    """Writes ``source`` with the corrections to ``target`` and returns it.

    New objects get the next free ids and the area of their box; an object with a new box but no new outline loses its
    outline, which would contradict the box.

    Raises:
        DataError: not a COCO file; an image, object or class it does not have; a new object without class or box; or
            ``target`` is ``source``.
    """
    source, target = Path(source), Path(target)
    _require_other(source, target)
    content = read_json(source, "annotation file")
    if not isinstance(content, Mapping) or not isinstance(content.get("annotations"), list):
        raise DataError(f"annotation file {source} has no list 'annotations': it is not in COCO format")
    annotations = [dict(one) for one in content["annotations"]]
    names, _ = read_categories(source, content["categories"], annotations, None)
    categories = {name: number for number, name in names.items()}
    rows: dict[Any, dict[Any, dict]] = {one["id"]: {} for one in content["images"]}
    for one in annotations:
        rows.setdefault(one["image_id"], {})[one.get("id")] = one
    last = max((one["id"] for one in annotations if isinstance(one.get("id"), int)), default=0)
    dropped: set[int] = set()
    for correction in corrections:
        fields: dict[str, Any] = {}
        if correction.label is not None:
            fields["category_id"] = _known(correction.label, categories, f"annotation file {source}")
        if correction.box is not None:
            box = _numbers(correction.box, 4, correction)
            fields |= {"bbox": box, "area": box[2] * box[3] if correction.area is None else float(correction.area)}
        if correction.segmentation is not None:
            fields["segmentation"] = correction.segmentation
        entry = _entry(correction, rows, f"annotation file {source}")
        if entry is None:
            last += 1
            annotations.append({"id": last, "image_id": correction.image_id, "iscrowd": 0, **_complete(fields, correction)})
        elif correction.drop:
            dropped.add(id(entry))
        else:
            if "bbox" in fields and "segmentation" not in fields:
                entry.pop("segmentation", None)
            entry.update(fields)
    kept = [one for one in annotations if id(one) not in dropped]
    write_json_output(target, CORRECTED, {**content, "annotations": kept})
    return target


def write_corrected_labels(source: Path, corrections: Sequence[Correction], target: Path) -> Path:
    """Writes the label files of folder ``source`` with the corrections into folder ``target`` and returns it.

    Raises:
        DataError: as :func:`write_corrected_coco`.
    """
    source, target = Path(source), Path(target)
    _require_other(source, target)
    files = {path.stem: path for path in visible_files(source, (".txt",))}
    by_image: dict[Any, list[Correction]] = {}
    for one in corrections:
        if str(one.image_id) not in files:
            raise DataError(f"label folder {source} has no file {one.image_id}.txt to correct")
        by_image.setdefault(str(one.image_id), []).append(one)
    texts: dict[Path, bytes] = {}
    for name, path in files.items():
        if name not in by_image:
            texts[target / path.name] = path.read_bytes()
            continue
        read = read_label_file(path, on_bad="skip")
        text = path.read_bytes().decode()  # the reader has seen that it is text
        ends = [*LINE_END.findall(text), ""]
        lines: list[str | None] = list(LINE_END.split(text))
        rows = {line: line for line in read.lines}
        added = []
        for one in by_image[name]:
            corners = None if one.box is None else [f"{value:.1f}" for value in _numbers(one.box, 8, one)]
            line = _entry(one, {one.image_id: rows}, f"label file {path}")
            if line is None:
                fields = _complete({"corners": corners, "label": one.label}, one)
                added.append(" ".join([*fields["corners"], fields["label"], "0"]))
                continue
            at = line - 1
            if lines[at] is None:
                continue  # taken out already
            old = lines[at].split()
            new = [*(corners or old[:8]), one.label or old[8], *old[9:]]
            lines[at] = None if one.drop else " ".join(new)
        text = "".join(line + end for line, end in zip(lines, ends, strict=True) if line is not None)
        if added:
            end = ends[0] or "\n"  # as the file has them
            before = text.rstrip("\r\n")
            text = "".join(f"{line}{end}" for line in [*([before] if before.strip("\ufeff \t") else []), *added])
        texts[target / path.name] = text.encode()
    require_outputs(dict.fromkeys(texts, CORRECTED), files.values())
    for path, data in texts.items():
        write_output(path, CORRECTED, data)
    return target


def _require_other(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve() or (target.exists() and source.samefile(target)):
        raise DataError(f"{target} is the annotation itself: write the corrected one to another place")


def _entry(correction: Correction, entries: Mapping[Any, Mapping[Any, Any]], where: str) -> Any:
    """Returns the object a correction is about, or None for a new one."""
    if correction.image_id not in entries:
        raise DataError(f"{where} has no image {correction.image_id!r} to correct")
    mine = entries[correction.image_id]
    if correction.object is not None and correction.object not in mine:
        raise DataError(f"{where}: image {correction.image_id!r} has no object {correction.object!r} to correct")
    return None if correction.object is None else mine[correction.object]


def _known(label: str, categories: Mapping[str, Any], where: str) -> Any:
    if label not in categories:
        raise DataError(f"{where} has no class {label!r}: it has {', '.join(list(categories)[:20])}")
    return categories[label]


def _numbers(values: Sequence[float], count: int, correction: Correction) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise DataError(f"correction of image {correction.image_id!r} has box {numbers}: {count} finite numbers are needed")
    return numbers


def _complete(fields: dict[str, Any], correction: Correction) -> dict[str, Any]:
    if correction.label is None or correction.box is None:
        raise DataError(f"a new object of image {correction.image_id!r} needs a class and a box")
    return fields
