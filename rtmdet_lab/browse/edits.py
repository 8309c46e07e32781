"""What a user changed in FiftyOne's App, as corrections of the annotation file.

Ground truth labels that were moved, renamed, deleted or drawn there are compared with the file. Two tags say more:
``remove`` on a ground truth label takes the object out, ``add`` on a detection makes an object of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rtmdet_lab.analysis.corrections import Correction, write_corrected_coco, write_corrected_labels
from rtmdet_lab.browse.dataset import INFO, TRUTH, collection_of, field_of
from rtmdet_lab.browse.labels import NUMBER, label_documents, list_name
from rtmdet_lab.browse.source import Source
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.evaluation.matching import ImagePair

REMOVE, ADD = "remove", "add"


def corrections_of(dataset: Any, sources: Sequence[Source]) -> list[Correction]:
    """Returns the corrections that the labels of a data set hold against the annotations of ``sources``.

    Args:
        dataset: what :func:`~rtmdet_lab.browse.dataset.put` returned for the same sources.

    Raises:
        DataError: the annotations have changed since the labels were put there, so that nothing can be told apart.
    """
    first = sources[0]
    samples = {
        one["image_id"]: one
        for one in collection_of(dataset).find(
            {}, {"image_id": 1, TRUTH: 1} | {field_of(dataset, one): 1 for one in sources}
        )
    }
    if dataset.info[INFO]["truth"] != str(first.truth.resolve()):
        raise DataError(f"data set {dataset.name!r} is of {dataset.info[INFO]['truth']}, not of {first.truth}")
    listed = list_name(first.rotated)
    found: list[Correction] = []
    for pair in first.pairs:
        sample = samples.get(str(pair.image_id))
        if sample is None:
            continue  # its image is not there, so nobody saw it
        found += _of_truth(pair, (sample.get(TRUTH) or {}).get(listed, []), first)
        for source in sources:
            for label in (sample.get(field_of(dataset, source)) or {}).get(listed, []):
                if ADD in label.get("tags", []):
                    found.append(Correction(pair.image_id, label=label["label"], box=_box(label, pair.size)))
    return found


def write_edits(dataset: Any, sources: Sequence[Source], target: Path) -> tuple[Path, int]:
    """Writes the annotations with what was changed in the App to ``target``; returns it and the number of corrections.

    Args:
        target: a JSON file, or a folder where the annotations are label files.

    Raises:
        DataError: as :func:`corrections_of`, or ``target`` holds the annotations themselves.
    """
    corrections = corrections_of(dataset, sources)
    write = write_corrected_labels if sources[0].truth.is_dir() else write_corrected_coco
    return write(sources[0].truth, corrections, Path(target)), len(corrections)


def _of_truth(pair: ImagePair, labels: Sequence[Mapping[str, Any]], source: Source) -> list[Correction]:
    """Returns what became of an image's objects."""
    known_ids = () if pair.truth.ids is None else pair.truth.ids
    if len(known_ids) < len(pair.truth):
        raise DataError(f"the objects of image {pair.image_id!r} have no ids, so none can be corrected")
    nothing: list[list[Any]] = [[] for _ in range(len(pair.truth))]
    before = label_documents(pair.truth, pair.size, source.classes, {}, nothing, "")
    now = {label[NUMBER]: label for label in labels if NUMBER in label}
    found = []
    for number, old in enumerate(before):
        label, known = now.get(number), known_ids[number]
        if label is None or REMOVE in label.get("tags", []):
            found.append(Correction(pair.image_id, known, drop=True))
            continue
        renamed = label["label"] if label["label"] != old["label"] else None
        moved = not _same_place(label, old)
        if renamed or moved:
            found.append(Correction(pair.image_id, known, renamed, _box(label, pair.size) if moved else None))
    drawn = [label for label in labels if NUMBER not in label and REMOVE not in label.get("tags", [])]
    return found + [Correction(pair.image_id, label=label["label"], box=_box(label, pair.size)) for label in drawn]


def _same_place(label: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    key = "points" if "points" in other else "bounding_box"
    one, two = np.array(label[key], dtype=float), np.array(other[key], dtype=float)
    return one.shape == two.shape and bool(np.abs(one - two).max() < 1e-6)


def _box(label: Mapping[str, Any], size: tuple[int, int]) -> list[float]:
    """Returns a label's place in pixels: x y width height, or eight corner coordinates of an outline."""
    height, width = size
    if "points" not in label:
        return (np.array(label["bounding_box"]) * (width, height, width, height)).tolist()
    points = np.array(label["points"][0], dtype=float) * (width, height)
    if len(points) != 4:  # drawn by hand: the smallest rectangle around it
        points = cv2.boxPoints(cv2.minAreaRect(points.astype(np.float32))).astype(float)
    return points.flatten().tolist()
