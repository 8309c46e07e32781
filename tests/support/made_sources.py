"""Annotated images with the detections of made-up runs, and what the matching would say of them, for tests of browse/."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from rtmdet_lab.browse.match_results import Rows
from rtmdet_lab.browse.source import Source
from rtmdet_lab.config.overrides import to_dict, with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.evaluation.matching import ImagePair, Objects
from rtmdet_lab.experiment.record import RunRecord

SIZE = (60, 80)  # height, width
CLASSES = ("cat", "dog")


def run_lengths(box: tuple[float, float, float, float]) -> dict:
    """Returns the mask of a box without its upper left quarter."""
    x, y, width, height = (round(value) for value in box)
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[y : y + height, x : x + width] = 1
    mask[y : y + height // 2, x : x + width // 2] = 0
    return coco_mask.encode(np.asfortranarray(mask))


def objects(boxes: list, labels: list[int], kind: str, scores: list[float] | None = None) -> Objects:
    wide = 5 if kind == "rotated" else 4
    array = np.array(boxes, dtype=np.float32 if kind == "rotated" else np.float64).reshape(-1, wide)
    return Objects(
        array,
        np.array(labels, dtype=np.int64),
        scores=None if scores is None else np.array(scores),
        masks=[run_lengths(box) for box in boxes] if kind == "segm" else None,
    )


def write_images(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for number in range(count):
        paths.append(str(folder / f"{number}.png"))
        Image.fromarray(random.integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(paths[-1])
    return paths


def made_source(folder: Path, run: str = "k5", kind: str = "bbox", count: int = 3, data: str = "made") -> Source:
    """Returns a run: each image has two objects, the first found, the second missed; a duplicate and a false alarm.

    The last image has no detections.
    """
    paths = write_images(folder / "images", count)
    truth = folder / "annotations.json"
    if not truth.exists():
        truth.write_text("{}")
    predictions = folder / run / "predictions.json"
    predictions.parent.mkdir(parents=True, exist_ok=True)
    predictions.write_text(json.dumps([run]))
    turn = [0.5] if kind == "rotated" else []
    places = [[20.0, 20.0, 16.0, 8.0], [50.0, 30.0, 20.0, 20.0]]
    pairs, rows = [], []
    for number, path in enumerate(paths):
        wanted = objects([place + turn for place in places], [0, 1], kind)
        empty = number == count - 1
        boxes = [] if empty else [place + turn for place in (places[0], [21.0, 20.0, 16.0, 8.0], [2.0, 40.0, 10.0, 10.0])]
        found = objects(boxes, [0] * len(boxes), kind, [0.9, 0.8, 0.6][: len(boxes)])
        pairs.append(ImagePair(f"image {number}", path, SIZE, wanted, found))
        columns = {"error": ["true positive", "duplicate", "background"], "iou": [1.0, 0.88, float("nan")]}
        columns["boundary_iou"] = [0.4, 0.9, float("nan")]
        columns |= {"offset": [0.0, 0.05, float("nan")], "angle_error": [0.0, 0.4, float("nan")]}
        missed = np.array([empty, True])
        rows.append(
            Rows(
                {name: values[: len(boxes)] for name, values in columns.items()},
                {"size": ["small", "large"], "aspect": [2.0, 1.0], "truncated": [False, True]},
                missed,
            )
        )
    source = Source(run, data, truth, predictions, pairs, CLASSES, kind)
    source.rows = rows
    return source


def write_run(folder: Path, data: Path, results: list | None, classes=("blob",), **paths) -> Path:
    """Writes a finished run on ``data``'s val/ and annotations.json: its record and, unless None, its detections."""
    settings = {"data.val_images": str(data / "val"), "data.val_annotations": str(data / "annotations.json")}
    config = with_overrides(ExperimentConfig(), settings | paths | {"data.classes": list(classes)})
    sets = {"train": "made", "train_images": 2, "val": "made", "val_images": 2}
    numbers = {"seed": 0, "seconds": 1.0, "params_M": 1.0, "macs_G": 1.0, "peak_memory_mb": {}}
    RunRecord("rtmdet-tiny", to_dict(config), {}, [], sets, **numbers).write(folder)
    if results is not None:
        (folder / "predictions.json").write_text(json.dumps(results))
    return folder
