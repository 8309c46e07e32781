"""Detections of rotated boxes as they go into a run's ``predictions.json``: COCO's result format has no angle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, ImageMeta


def to_rotated_results(found: Detections, image_id: Any, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Returns one image's detections for a file: image, class name, score and box (cx cy w h, pixels, and radians)."""
    return [
        {"image_id": image_id, "class": classes[label], "score": score, "rbox": box}
        for box, label, score in zip(found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True)
    ]


def from_rotated_results(
    results: Sequence[Mapping[str, Any]], image_ids: Sequence[Any], classes: Sequence[str]
) -> list[Detections]:
    """Returns the detections of each image of ``image_ids``, from what :func:`to_rotated_results` made of them.

    Raises:
        DataError: an entry of an unknown image or class, or without one of its fields.
    """
    by_image: dict[Any, list[Mapping[str, Any]]] = {one: [] for one in image_ids}
    label_of = {name: label for label, name in enumerate(classes)}
    for number, one in enumerate(results, start=1):
        try:
            by_image[one["image_id"]].append(one)
            numbers = [*one["rbox"], one["score"]]
            known = one["class"] in label_of and len(numbers) == 6 and all(map(_is_finite, numbers)) and numbers[5] >= 0
        except (KeyError, TypeError, ValueError, OverflowError):
            known = False
        if not known:
            raise DataError(
                f"rotated result number {number} names no known image and class with a score and five box numbers"
            )
    found = []
    for image_id, rows in by_image.items():
        boxes = torch.tensor([one["rbox"] for one in rows], dtype=torch.float32).reshape(-1, 5)
        scores = torch.tensor([one["score"] for one in rows], dtype=torch.float32)
        labels = torch.tensor([label_of[one["class"]] for one in rows], dtype=torch.int64)
        found.append(Detections(boxes, scores, labels, meta=ImageMeta(image_id)))
    return found


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
