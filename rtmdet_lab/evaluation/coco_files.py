"""COCO ground truth and results as they come in files, checked entry by entry before pycocotools sees them.

pycocotools takes much that is wrong without a word: results of unknown classes count for nothing, masks of another size than
their image overlap by a negative amount.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.fields import MAX_COORDINATE, box, flag, number
from rtmdet_lab.core.files import read_json
from rtmdet_lab.geometry.run_lengths import unfit_masks

_FIELDS = {"bbox": "bbox", "segm": "segmentation"}  # what is scored, by kind
_MASKS_AT_ONCE = 1000  # more leave the processor's cache


def read_truth(source: Any, kinds: Sequence[str]) -> Mapping[str, Any]:
    """Returns the content of a ground truth file, or ``source`` itself if it is no path.

    Args:
        kinds: "bbox", "segm" or both: what every annotation must have.

    Raises:
        DataError: not JSON, without the lists of COCO's format, or an annotation without a field that is needed; names the
            file and the annotation.
    """
    content, name = _content(source, "annotation file", "the ground truth")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, Mapping) or not isinstance(content.get(key), Sequence):
            raise DataError(f"{name} has no list {key!r}: it is not in COCO format")
    annotations = []
    needed = ["image_id", "category_id", "area", "iscrowd", *(_FIELDS[kind] for kind in kinds)]
    for position, one in enumerate(content["annotations"], start=1):
        fields = one if isinstance(one, Mapping) else {}
        for key in needed:
            if key not in fields:
                raise DataError(f"{name}, annotation {fields.get('id', f'number {position}')}: has no {key}")
        annotations.append(_typed(one, f"{name}, annotation {fields.get('id', f'number {position}')}", kinds))
    if all(typed is one for typed, one in zip(annotations, content["annotations"], strict=True)):
        return content
    return {**content, "annotations": annotations}


def _typed(annotation: Mapping[str, Any], where: str, kinds: Sequence[str]) -> Mapping[str, Any]:
    """Returns an annotation whose crowd flag and area are numbers: itself, where they are.

    Raises:
        DataError: a field that cannot be read, an area under 0, which pycocotools takes for an object that does not count,
            or no mask where masks are scored.
    """
    try:
        crowd, area = flag(annotation["iscrowd"], "iscrowd"), number(annotation["area"], "area")
        if "bbox" in kinds:
            box(annotation["bbox"])
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    if area < 0:
        raise DataError(f"{where}: has area {area:g}, but pixels^2 of 0 or more are needed")
    if "segm" in kinds and not annotation["segmentation"]:
        raise DataError(f"{where}: has an empty segmentation, but masks are scored")
    return annotation if isinstance(annotation["iscrowd"], int) else {**annotation, "iscrowd": int(crowd)}


def read_results(source: Any, truth: Mapping[str, Any], kinds: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """Returns the content of a results file, or ``source`` itself if it is no path.

    Args:
        truth: what :func:`read_truth` returned; results may only name its images and categories.
        kinds: "bbox", "segm" or both: what every result must have.

    Raises:
        DataError: not JSON, no list, or a result that cannot be scored; names the file and the result.
    """
    content, name = _content(source, "results file", "the results")
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        raise DataError(f"{name}: a {type(content).__name__}, but a list of COCO results is needed")
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    for position, one in enumerate(content, start=1):
        problem = _problem(one, sizes, categories, kinds)
        if problem:
            raise DataError(f"{name}, result number {position}: {problem}")
    if "segm" in kinds:
        _check_masks(content, name)
    return content


def _check_masks(results: Sequence[Mapping[str, Any]], name: str) -> None:
    """Raises DataError at the first mask whose run lengths are not those of an image of its size."""
    for begin in range(0, len(results), _MASKS_AT_ONCE):
        masks = [one["segmentation"] for one in results[begin : begin + _MASKS_AT_ONCE]]
        pixels = [mask["size"][0] * mask["size"][1] for mask in masks]
        unfit = np.flatnonzero(unfit_masks([mask["counts"] for mask in masks], pixels))
        if len(unfit):
            height, width = masks[unfit[0]]["size"]
            raise DataError(
                f"{name}, result number {begin + unfit[0] + 1}: has compressed run lengths that are damaged or do not make "
                f"a mask of {height} x {width} pixels"
            )


def _content(source: Any, what: str, otherwise: str) -> tuple[Any, str]:
    if isinstance(source, (str, Path)):
        return read_json(Path(source), what), f"{what} {source}"
    return source, otherwise


def _problem(one: Any, sizes: Mapping[Any, tuple], categories: set, kinds: Sequence[str]) -> str | None:
    """Returns why a result cannot be scored, or None."""
    if not isinstance(one, Mapping):
        return f"a {type(one).__name__}, but an object is needed"
    for key in ("image_id", "category_id", "score", *(_FIELDS[kind] for kind in kinds)):
        if key not in one:
            return f"has no {key}"
    for key in ("image_id", "category_id"):
        if not isinstance(one[key], (Real, str)):
            return f"has {key} {one[key]!r}, but a number or text is needed"
    if one["image_id"] not in sizes:
        return f"names image {one['image_id']!r}, which the ground truth does not have"
    if one["category_id"] not in categories:
        return f"names category {one['category_id']!r}, which the ground truth does not have"
    if not _is_number(one["score"]):
        return f"has score {one['score']!r}, but a finite number is needed"
    if "bbox" in kinds:
        box = one["bbox"]
        if not hasattr(box, "__len__") or len(box) != 4 or not all(_is_number(value) for value in box):
            return f"has bbox {box!r}, but four finite numbers x, y, width, height are needed"
        if max(map(abs, box)) > MAX_COORDINATE:
            return f"has bbox {box!r}, further out than {MAX_COORDINATE:,.0f} pixels: no image is that large"
    return _mask_problem(one["segmentation"], sizes[one["image_id"]]) if "segm" in kinds else None


def _mask_problem(mask: Any, size: tuple) -> str | None:
    if not isinstance(mask, Mapping) or "size" not in mask or not isinstance(mask.get("counts"), (str, bytes)):
        return "has a segmentation that is not compressed run lengths (size and counts)"
    sides = mask["size"]
    if (
        not isinstance(sides, (list, tuple))
        or len(sides) != 2
        or not all(isinstance(side, Integral) and side > 0 for side in sides)
    ):
        return f"has run lengths of size {sides!r}, but two whole numbers are needed"
    if None not in size and tuple(sides) != size:
        return f"has run lengths of size {list(mask['size'])}, but its image has {list(size)}"
    return None


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number past all floats
        return False
