"""What is put into a data set: the detections of one run on annotated images, with what is known of each row."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.evaluation.matching import ImagePair, Kind, Objects

KIND = "error"  # attribute of a detection, one of KINDS
SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": np.inf}  # pixels^2, up to which; as in COCO

Columns = Mapping[str, Sequence[Any]]  # attribute -> a value per row; None or NaN where a row has none


@dataclass
class Rows:
    """What is known of one image's detections and objects, one value per row each."""

    found: Columns
    truth: Columns
    missed: np.ndarray  # (G,) bool


@dataclass
class Source:
    """One run's detections on one annotated set."""

    name: str  # the run's
    data: str  # the set's: what the data set is called after
    truth: Path  # annotation file, or folder of label files
    path: Path  # of the detections
    pairs: list[ImagePair]
    rows: list[Rows]  # as many as pairs
    classes: tuple[str, ...]
    kind: Kind
    left_out: list[str] = field(default_factory=list)  # sentences about what could not be used

    @property
    def rotated(self) -> bool:
        return self.kind == "rotated"


def digest_of(path: Path) -> str:
    """Returns what changes when a file, or any text file of a folder, changes."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.txt")) if path.is_dir() else [path]:
        digest.update(file.name.encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def wrong_rows(rows: Rows) -> np.ndarray:
    """Returns which detections (D,) of an image are wrong, of whatever kind."""
    return np.array([kind not in ("true positive", "ignored") for kind in rows.found[KIND]], dtype=bool)


def shapes(objects: Objects, size: tuple[int, int]) -> dict[str, list[Any]]:
    """Returns what the boxes alone tell: "size" by area as in COCO, "aspect" (longer over shorter side, at least 1) and
    "truncated" (within a pixel of the image's border, or beyond).

    Args:
        size: (height, width) of the image.
    """
    boxes = np.asarray(objects.boxes, dtype=np.float64)
    if not len(boxes):
        return {"size": [], "aspect": [], "truncated": []}
    width, height = boxes[:, 2], boxes[:, 3]
    names = list(SIZES)
    buckets = np.searchsorted(list(SIZES.values())[:-1], width * height, side="right")
    short, long = np.minimum(width, height), np.maximum(width, height)
    aspect = np.divide(long, short, out=np.full(len(boxes), np.nan), where=short > 0)
    if boxes.shape[1] == 5:
        cos, sin = np.abs(np.cos(boxes[:, 4])), np.abs(np.sin(boxes[:, 4]))
        half = np.stack([width * cos + height * sin, width * sin + height * cos], 1) / 2
        low, high = boxes[:, :2] - half, boxes[:, :2] + half
    else:
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:4]
    truncated = (low < 1).any(1) | (high > np.array(size[::-1]) - 1).any(1)
    return {"size": [names[one] for one in buckets], "aspect": aspect.tolist(), "truncated": truncated.tolist()}
