"""The numbers of DOTA and HRSC: average precision of oriented boxes, VOC style, and files for the DOTA test server.

A detection belongs to the object of its class that it overlaps most. If that overlap reaches the threshold and the object is
not difficult, the best-scored detection of each object is right and the others wrong; detections of difficult objects do not
count at all. Paper tables call AP at overlap 0.5 "mAP" (paper.md 1.5).
"""

from __future__ import annotations

import io
import itertools
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.core.errors import DataError, did_you_mean
from rtmdet_lab.core.escaping import for_file_name
from rtmdet_lab.core.outputs import write_output
from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.evaluation.average_precision import mean_of_known
from rtmdet_lab.evaluation.dota_files import to_rotated_results
from rtmdet_lab.evaluation.matching import Candidates, Matches, Objects, candidates, match_candidates
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of
from rtmdet_lab.geometry.rotated import rboxes_to_quads

METRICS = ("AP", "AP50", "AP75")


def evaluate_dota(
    detections: Sequence[Detections],
    targets: Sequence[Targets],
    num_classes: int,
    iou_threshold: float = 0.5,
    use_07_metric: bool = True,
) -> dict[str, Any]:
    """Returns ``{"mAP": mean over classes with objects, "AP": [per class]}``; NaN where there are no objects.

    Args:
        detections: boxes (N, 5); matched to the targets by ``meta.image_id``, in any order, if every entry of both has
            one, otherwise by position.
        targets: boxes (G, 5); those marked ``ignore`` (difficult) neither help nor harm.
        num_classes: labels are in [0, num_classes).
        iou_threshold: least rotated IoU of a right detection.
        use_07_metric: mean of the best precision at 11 recalls (VOC 2007, DOTA's own, and how the published tables were
            made); otherwise the area under the curve (VOC 2012).

    Raises:
        DataError: detections of an image that is not among the targets, or of one image twice; ground truth with a side,
            place or angle that is not finite.
        ValueError: boxes that are not oriented, a label out of range, or lengths that differ without image ids.
    """
    pairs = _paired(detections, targets)
    images = [_candidates(found, truth, num_classes) for found, truth in pairs]
    matches = match_candidates(images, range(len(images)), [""] * num_classes, "rotated", [iou_threshold])
    ap = matches.average_precision(area=not use_07_metric)[0]
    return {"mAP": mean_of_known(ap), "AP": ap.tolist()}


def _paired(detections: Sequence[Detections], targets: Sequence[Targets]) -> list[tuple[Detections | None, Targets]]:
    """Returns (detections or None, ground truth) per image."""
    if any(one.meta is None or one.meta.image_id is None for one in (*detections, *targets)):
        if len(detections) != len(targets):
            raise ValueError(
                f"{len(detections)} detections and {len(targets)} targets: give one of each per image, or image ids to all"
            )
        return list(zip(detections, targets, strict=True))
    truth = {one.meta.image_id: one for one in targets}
    found = {one.meta.image_id: one for one in detections}
    for what, records, ids in (("targets", targets, truth), ("detections", detections, found)):
        if len(ids) < len(records):
            names = [one.meta.image_id for one in records]
            raise DataError(f"image {next(n for n in names if names.count(n) > 1)!r} has two {what}: give one per image")
    for name in found:
        if name not in truth:
            hint = did_you_mean(str(name), map(str, truth))
            raise DataError(
                f"detections of image {name!r}, which is not among the {len(truth)} targets: {hint}".rstrip(": ")
            )
    return [(found.get(name), one) for name, one in truth.items()]


def _candidates(detections: Detections | None, truth: Targets, num_classes: int) -> Candidates:
    """Returns what matching needs of an image, after a check of its boxes and labels."""
    for record in (detections, truth):
        if record is None:
            continue
        if kind_of(record.boxes) is not ROTATED:
            raise ValueError(f"oriented boxes (N, 5) are needed, got {tuple(record.boxes.shape)}")
        if len(record) and not 0 <= int(record.labels.min()) <= int(record.labels.max()) < num_classes:
            raise ValueError(f"labels must be in [0, {num_classes}), got {sorted(set(record.labels.tolist()))}")
    bad = (~truth.boxes.isfinite().all(1)).nonzero().flatten().tolist()
    if bad:  # such a detection just overlaps nothing; such an object could never be found
        name = f"image {truth.meta.image_id!r}" if truth.meta is not None else "an image without a name"
        raise DataError(
            f"object number {bad[0] + 1} of {name} has box {truth.boxes[bad[0]].tolist()}: five finite numbers are needed"
        )
    ignore = None if truth.ignore is None else truth.ignore.cpu().numpy()
    objects = Objects(truth.boxes.cpu().float().numpy(), truth.labels.cpu().numpy(), ignore=ignore)
    if detections is None:
        none = np.zeros(0)
        return candidates(Objects(np.zeros((0, 5), np.float32), none.astype(np.int64), none), objects, "rotated")
    boxes, labels = detections.boxes.cpu().float().numpy(), detections.labels.cpu().numpy()
    return candidates(Objects(boxes, labels, detections.scores.cpu().numpy()), objects, "rotated")


class DotaEvaluator:
    """Collects detections and ground truth image by image, then scores them at overlaps from 0.5 to 0.95.

    Args:
        classes: names in label order.
        use_07_metric: see :func:`evaluate_dota`.
    """

    def __init__(self, classes: Sequence[str], use_07_metric: bool = True) -> None:
        self.classes = list(classes)
        self.use_07_metric = use_07_metric
        self.images: dict[Any, Candidates] = {}
        self.results: dict[Any, list[dict[str, Any]]] = {}  # detections by image, as they go into a file
        self._matched: Matches | None = None

    def add(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None:
        """Adds the images of one batch; boxes (N, 5) of both are in original pixels. An image counts once."""
        self._matched = None
        for found, truth in zip(detections, targets, strict=True):
            image_id = truth.meta.image_id if truth.meta is not None else None
            number = ("number", len(self.images)) if image_id is None else image_id
            if found.meta is not None and found.meta.image_id is not None and found.meta.image_id != image_id:
                raise DataError(f"detections of image {found.meta.image_id!r} were given with the objects of {image_id!r}")
            if number not in self.images:
                self.images[number] = _candidates(found, truth, len(self.classes))
                self.results[number] = to_rotated_results(found, image_id, self.classes)

    def state(self) -> tuple[dict[Any, Candidates], dict[Any, list[dict[str, Any]]]]:
        """Returns what was collected, to be gathered from several processes."""
        return self.images, self.results

    def merge(self, states: Sequence[tuple[dict[Any, Candidates], dict[Any, list[dict[str, Any]]]]]) -> None:
        """Takes the union of several processes' states; an image that two processes saw counts once."""
        self._matched = None
        self.images, self.results = {}, {}
        # One of each in turn, as they were dealt out: among equal scores the order of the images counts.
        for turn in itertools.zip_longest(*(images for images, _ in states)):
            for image, (images, results) in zip(turn, states, strict=True):
                if image in images and image not in self.images:
                    self.images[image], self.results[image] = images[image], results[image]

    def summary(self, use_07_metric: bool | None = None) -> dict[str, float]:
        """Returns AP (mean over overlaps 0.5 to 0.95), AP50 and AP75 over the classes with objects; -1 without any.

        Args:
            use_07_metric: None takes the evaluator's own.
        """
        ap = self._average_precision(use_07_metric)
        values = {"AP": mean_of_known([mean_of_known(row) for row in ap])}
        values |= {"AP50": mean_of_known(ap[0]), "AP75": mean_of_known(ap[5])}
        return {name: -1.0 if np.isnan(value) else value for name, value in values.items()}

    def metrics(self) -> dict[str, float]:
        """Returns what a record keeps: the summary, and AP50 as HRSC2016 is reported, too (``area_AP50``)."""
        return {**self.summary(), "area_AP50": self.summary(use_07_metric=False)["AP50"]}

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns the numbers as DOTA defines precision (VOC 2007), and by the area under the curve (VOC 2012)."""
        return {"rotated": self.summary(), "rotated_area": self.summary(use_07_metric=False)}

    def file_results(self, category_ids: Sequence[int | None] = ()) -> list[dict[str, Any]]:
        """Returns the detections as they go into a file, classes by name."""
        return [one for of_image in self.results.values() for one in of_image]

    def __len__(self) -> int:
        return len(self.images)

    def per_class(self) -> list[dict[str, Any]]:
        """Returns one row per class: name, AP, AP50, AP75 and the number of objects that count; NaN without objects."""
        ap, objects = self._average_precision(), self.matches().objects
        return [
            {
                "class": name,
                "AP": mean_of_known(ap[:, label]),
                "AP50": float(ap[0, label]),
                "AP75": float(ap[5, label]),
                "objects": int(objects[label]),
            }
            for label, name in enumerate(self.classes)
        ]

    def precision_recall(self, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Returns recall (101,) and precision (101, C) at one IoU threshold; NaN for classes without objects."""
        recalls = np.linspace(0, 1, 101)
        curves = self.matches([iou]).curves()
        columns = [np.full(len(recalls), np.nan) if curve is None else curve.at(recalls) for curve in curves]
        return recalls, np.array(columns).reshape(-1, len(recalls)).T

    def recall_by_image(self, iou: float = 0.5) -> list[tuple[int, float]]:
        """Returns (number of the image in the order it was added, share of its objects found), worst first.

        Of two images with the same share, the one with more objects comes first; images without objects are left out.
        """
        return self.matches([iou]).recall_by_image()

    def matches(self, thresholds: Sequence[float] | None = None) -> Matches:
        """Returns what every detection matched, by default at the ten overlaps that are scored."""
        if thresholds is None and self._matched is not None:
            return self._matched
        images = list(self.images.values())
        matches = match_candidates(images, list(self.images), self.classes, "rotated", thresholds)
        if thresholds is None:
            self._matched = matches
        return matches

    def _average_precision(self, use_07_metric: bool | None = None) -> np.ndarray:
        """Returns AP per overlap and class, (10, C)."""
        return self.matches().average_precision(area=not (self.use_07_metric if use_07_metric is None else use_07_metric))


def write_submission(detections: Sequence[Detections], classes: Sequence[str], path: str | Path) -> Path:
    """Writes what the DOTA server scores (task 1): a zip with Task1_CLASS.txt per class, and returns its path.

    A line is image, score, x1 y1 x2 y2 x3 y3 x4 y4. A class without detections has an empty file.

    Args:
        detections: of whole images, boxes (N, 5) in their pixels, with ``meta.image_id``.

    Raises:
        DataError: detections without an image id, or one that a line cannot hold.
        StorageError: the file cannot be written.
    """
    lines: list[list[str]] = [[] for _ in classes]
    for found in detections:
        name = None if found.meta is None else found.meta.image_id
        if name is None or not str(name) or len(str(name).split()) != 1:
            raise DataError(f"detections of image {name!r} cannot be submitted: an image id without spaces is needed")
        quads = rboxes_to_quads(found.boxes.cpu()).tolist()
        for quad, score, label in zip(quads, found.scores.tolist(), found.labels.tolist(), strict=True):
            if not 0 <= label < len(classes):
                raise DataError(f"image {name!r} has label {label}, but only {len(classes)} classes are named")
            lines[label].append(f"{name} {score:.6f} {' '.join(f'{value:.2f}' for value in quad)}\n")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in zip(classes, lines, strict=True):
            # A fixed date: the same detections make the same file.
            entry = zipfile.ZipInfo(f"Task1_{for_file_name(name)}.txt", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, "".join(text))
    write_output(Path(path), "submission", data.getvalue())
    return Path(path)
