"""Objects and detections as the labels FiftyOne keeps: boxes, masks cropped to their box, rotated boxes as outlines.

Written as the documents of its database rather than as its objects: half a million detections take seconds instead of a
quarter of an hour. Positions are shares of the image's width and height, as FiftyOne has them.
"""

from __future__ import annotations

import hashlib
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.match_results import Columns
from rtmdet_lab.evaluation.matching import Objects
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of
from rtmdet_lab.geometry.rotated import rboxes_to_quads

NUMBER = "number"  # attribute: the row in its file's image; labels without it were drawn in the App


def list_name(rotated: bool) -> str:
    """Returns the field of a FiftyOne label that holds its list: the two kinds of labels differ in it."""
    return "polylines" if rotated else "detections"


def field_document(labels: Sequence[Mapping[str, Any]], rotated: bool) -> dict[str, Any]:
    """Returns the value of a sample's field that holds ``labels``."""
    return {"_cls": "Polylines" if rotated else "Detections", list_name(rotated): list(labels)}


def label_documents(
    objects: Objects,
    size: tuple[int, int],
    classes: Sequence[str],
    columns: Columns,
    tags: Sequence[Sequence[str]],
    key: str,
) -> list[dict[str, Any]]:
    """Returns one document per object.

    Args:
        objects: N boxes (pixels), with masks if there are any; five numbers per box make outlines.
        size: (height, width) of the image.
        columns: attributes, N values each; None and NaN are left out.
        tags: N lists.
        key: what names this list in the data set (field and image): the same labels keep their ids when written again.
    """
    places = _places(objects, size)
    found = []
    for number, place in enumerate(places):
        attributes = {name: plain(values[number]) for name, values in columns.items()}
        document = {
            "_id": label_id(key, number),
            "_cls": "Polyline" if "points" in place else "Detection",
            "attributes": {},
            "tags": list(tags[number]),
            "label": classes[int(objects.labels[number])],
            NUMBER: number,
            **place,
            **{name: value for name, value in attributes.items() if value is not None},
        }
        if objects.scores is not None:
            document["confidence"] = float(objects.scores[number])
        found.append(document)
    return found


def label_id(key: str, number: int) -> Any:
    """Returns the database id of a label: a function of its place, so that two programs write the same one."""
    from bson import ObjectId

    return ObjectId(hashlib.sha256(f"{key}/{number}".encode()).digest()[:12])


def plain(value: Any) -> Any:
    """Returns a number of NumPy as Python's, None for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _places(objects: Objects, size: tuple[int, int]) -> list[dict[str, Any]]:
    height, width = size
    boxes = np.asarray(objects.boxes, dtype=np.float64)
    if kind_of(boxes) is ROTATED:
        quads = rboxes_to_quads(torch.from_numpy(boxes)).numpy().reshape(-1, 4, 2) / (width, height)
        return [{"points": [quad], "closed": True, "filled": True} for quad in quads.tolist()]
    if objects.masks is None:
        return [{"bounding_box": box} for box in (boxes / (width, height, width, height)).tolist()]
    return [_with_mask(box, mask, size) for box, mask in zip(boxes, objects.masks, strict=True)]


def _with_mask(box: np.ndarray, mask: Mapping[str, Any] | None, size: tuple[int, int]) -> dict[str, Any]:
    """Returns the box and the mask inside it. FiftyOne stretches a mask over its box, so the box is widened to pixels."""
    height, width = size
    left, top = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    right, bottom = min(math.ceil(box[0] + box[2]), width), min(math.ceil(box[1] + box[3]), height)
    if mask is None or right <= left or bottom <= top:
        return {"bounding_box": (box / (width, height, width, height)).tolist()}
    inside = coco_mask.decode(mask)[top:bottom, left:right].astype(bool)
    place = [left / width, top / height, (right - left) / width, (bottom - top) / height]
    return {"bounding_box": place, "mask": pack_array(inside)}


def pack_array(array: np.ndarray) -> bytes:
    """Returns an array as FiftyOne stores it: NumPy's file format, compressed."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return zlib.compress(buffer.getvalue())
