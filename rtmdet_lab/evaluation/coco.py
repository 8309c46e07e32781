"""The 12 COCO numbers, a table per class and precision-recall curves.

Ground truth is either a COCO annotation file (exactly what the benchmark scores) or a list of :class:`Targets`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.evaluation.coco_files import read_results, read_truth
from rtmdet_lab.evaluation.coco_scores import coco_pairs, score_coco
from rtmdet_lab.evaluation.matching import BENCHMARKS, Kind, Matches, match_images
from rtmdet_lab.geometry.boxes import xyxy_to_xywh
from rtmdet_lab.geometry.masks import encode_masks

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
MAX_DETECTIONS = 100  # per image, the benchmark's own limit


class CocoEvaluator:
    """Collects detections and ground truth image by image, then scores them.

    Args:
        class_names: names in label order; only used to label the per-class table.
        kind: "bbox" or "segm", what is scored unless a method is told otherwise. Masks are those of ``Detections.masks``
            and ``Targets.masks``, in original pixels.
    """

    def __init__(self, class_names: Sequence[str] | None = None, kind: str = "bbox") -> None:
        self.class_names = list(class_names) if class_names is not None else None
        self.kind = kind
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self._scored: dict[str, Any] = {}

    def add(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None:
        """Adds the images of one batch; boxes of both are in original pixels."""
        self._scored = {}
        for found, truth in zip(detections, targets, strict=True):
            self._require_masks(found, truth)
            number = len(self.images)
            meta = truth.meta
            size = meta.original_size if meta is not None and meta.original_size else (0, 0)
            image_id = meta.image_id if meta is not None and isinstance(meta.image_id, int) else number
            self.images.append({"id": image_id, "height": size[0], "width": size[1]})
            self.annotations += _annotations(truth, image_id, first_id=len(self.annotations) + 1)
            self.results += to_coco_results(found, image_id)

    def _require_masks(self, found: Detections, truth: Targets) -> None:
        for what, objects in (("ground truth", truth), ("detections", found)):
            if self.kind == "segm" and len(objects) and objects.masks is None:
                image = None if truth.meta is None else truth.meta.image_id
                raise DataError(f"masks are to be scored, but the {what} of image {image!r} has none: score the boxes")

    def state(self) -> tuple[list, list, list]:
        """Returns what was collected, to be gathered from several processes."""
        return self.images, self.annotations, self.results

    def merge(self, states: Sequence[tuple[list, list, list]]) -> None:
        """Takes the union of several processes' states; an image that two processes saw counts once."""
        self._scored = {}
        self.images, self.annotations, self.results = [], [], []
        seen: set[int] = set()
        for images, truth, results in states:
            new = {image["id"] for image in images} - seen
            seen |= new
            self.images += [image for image in images if image["id"] in new]
            self.annotations += [
                dict(one, id=len(self.annotations) + offset)
                for offset, one in enumerate((one for one in truth if one["image_id"] in new), start=1)
            ]
            self.results += [one for one in results if one["image_id"] in new]

    def summary(self, kind: str | None = None) -> dict[str, float]:
        """Returns the 12 numbers by name; -1 where no ground truth falls into a category, as the benchmark has it.

        Without a ``kind``, an evaluator of masks adds ``box_AP``, ``box_AP50`` and ``box_AP75``.
        """
        numbers = _numbers(self._coco_eval(kind))
        if kind is None and self.kind == "segm":
            boxes = _numbers(self._coco_eval("bbox"))
            numbers |= {f"box_{name}": boxes[name] for name in ("AP", "AP50", "AP75")}
        return numbers

    def metrics(self) -> dict[str, float]:
        """Returns what a record keeps: the summary."""
        return self.summary()

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns the 12 numbers of boxes, and of masks where these are scored: ``{"bbox": {"AP": ...}, "segm": ...}``."""
        return {kind: self.summary(kind) for kind in dict.fromkeys(("bbox", self.kind))}

    def file_results(self, category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
        """Returns COCO results with the categories of an annotation file; those of classes it does not have are left out."""
        return with_file_ids(self.results, category_ids)

    def __len__(self) -> int:
        return len(self.images)

    def per_class(self) -> list[dict[str, Any]]:
        """Returns one row per class: name, AP, AP50, AR100 and the number of objects that count."""
        scored = self._coco_eval()
        return class_table(scored, self._ids_and_names(), self.annotations)

    def precision_recall(self, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Returns recall (101,) and precision (101, K) at one IoU threshold; NaN for classes without objects."""
        scored = self._coco_eval()
        threshold = int(np.argmin(np.abs(np.asarray(scored.params.iouThrs) - iou)))
        precision = scored.eval["precision"][threshold, :, :, 0, -1]
        return np.asarray(scored.params.recThrs), np.where(precision < 0, np.nan, precision)

    def recall_by_image(self, iou: float = 0.5) -> list[tuple[int, float]]:
        """Returns (number of the image in the order it was added, share of its objects found), worst first.

        Of two images with the same share, the one with more objects comes first; images without objects are left out.
        """
        thresholds = BENCHMARKS[self.kind].thresholds
        nearest = thresholds[[np.argmin(np.abs(thresholds - iou))]]
        pairs = {pair.image_id: pair for pair in coco_pairs(self._truth(), self.results, self.kind)}
        in_order = [pairs[image["id"]] for image in self.images]
        return match_images(in_order, list(self._ids_and_names().values()), self.kind, nearest).recall_by_image()

    def matches(self, kind: Kind | None = None) -> Matches:
        """Returns what every detection matched, in the order of the images' ids."""
        names = [name for _, name in sorted(self._ids_and_names().items())]
        kind = kind or self.kind
        return match_images(coco_pairs(self._truth(), self.results, kind), names, kind)

    def _ids_and_names(self) -> dict[int, str]:
        labels = {one["category_id"] for one in self.annotations} | {one["category_id"] for one in self.results}
        if self.class_names is not None:
            return dict(enumerate(self.class_names, start=1))
        return {label: f"class {label - 1}" for label in sorted(labels)}

    def _coco_eval(self, kind: str | None = None) -> Any:
        kind = kind or self.kind
        if kind not in self._scored:
            self._scored[kind] = score_coco(self._truth(), self.results, kind)
        return self._scored[kind]

    def _truth(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for number, name in self._ids_and_names().items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories, "info": {}}


def with_file_ids(results: list[dict[str, Any]], category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
    """Returns COCO results whose categories are those of the annotation file instead of label + 1.

    Those of classes that the file does not have are left out.
    """
    ids = dict(enumerate(category_ids, start=1))
    return [dict(one, category_id=ids[one["category_id"]]) for one in results if ids[one["category_id"]] is not None]


def evaluate_coco(
    detections: Sequence[Detections] | Sequence[Mapping[str, Any]] | str | Path,
    targets: Sequence[Targets] | Mapping[str, Any] | str | Path,
    kinds: Sequence[str] = ("bbox",),
) -> dict[str, dict[str, float]]:
    """Returns the 12 COCO numbers per kind: ``{"bbox": {"AP": ..., "AP50": ...}}``.

    Args:
        detections: :class:`Detections` per image in the order of ``targets``, or COCO results (a list or a JSON file).
        targets: :class:`Targets` per image, or COCO ground truth (a mapping or a JSON file).
        kinds: "bbox", "segm" or both.

    Raises:
        ValueError: detections and ground truth are not of the same form.
        DataError: a file or a result that cannot be scored, such as one of an unknown image; names the file and the result.
    """
    ours, found_ours = _all_are(targets, Targets), _all_are(detections, Detections)
    if ours != found_ours and not (found_ours and not detections):  # an empty list is of either form
        raise ValueError(
            "detections and ground truth are of different forms: give Detections with Targets, or COCO results with COCO "
            "ground truth"
        )
    if ours:
        scores = {}
        for kind in kinds:
            evaluator = CocoEvaluator(kind=kind)
            evaluator.add(detections, targets)
            scores[kind] = evaluator.summary()
        return scores
    truth = read_truth(targets, kinds)
    results = read_results(detections, truth, kinds)
    return {kind: _numbers(score_coco(truth, results, kind)) for kind in kinds}


def _all_are(source: Any, kind: type) -> bool:
    return isinstance(source, Sequence) and not isinstance(source, str) and all(isinstance(one, kind) for one in source)


def to_coco_results(detections: Detections, image_id: int, category_ids: Sequence[int] | None = None) -> list[dict]:
    """Returns one image's detections as COCO results, masks as run lengths; label i becomes ``category_ids[i]`` or i + 1."""
    boxes = xyxy_to_xywh(detections.boxes.double()).tolist()
    labels, scores = detections.labels.tolist(), detections.scores.tolist()
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label] if category_ids is not None else label + 1,
            "bbox": box,
            "score": score,
            **mask,
        }
        for box, label, score, mask in zip(boxes, labels, scores, _mask_fields(detections), strict=True)
    ]


def _mask_fields(objects: Detections | Targets) -> list[dict[str, Any]]:
    """Returns what each object's entry says of its mask: nothing where there are none."""
    if objects.masks is None:
        return [{}] * len(objects)
    return [{"segmentation": one} for one in encode_masks(objects.masks)]


def _annotations(targets: Targets, image_id: int, first_id: int) -> list[dict[str, Any]]:
    boxes = xyxy_to_xywh(targets.boxes.double())
    areas = targets.areas.tolist() if targets.areas is not None else (boxes[:, 2] * boxes[:, 3]).tolist()
    ignore = targets.ignore.tolist() if targets.ignore is not None else [False] * len(targets)
    return [
        {
            "id": first_id + offset,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": box,
            "area": area,
            "iscrowd": int(crowd),
            **mask,
        }
        for offset, (box, label, area, crowd, mask) in enumerate(
            zip(boxes.tolist(), targets.labels.tolist(), areas, ignore, _mask_fields(targets), strict=True)
        )
    ]


def _numbers(scored: Any) -> dict[str, float]:
    return {name: float(value) for name, value in zip(METRICS, scored.stats, strict=True)}


def class_table(scored: Any, names: Mapping[int, str], annotations: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row per category of a finished ``COCOeval``; NaN where a class has no objects."""
    precision, recall = scored.eval["precision"], scored.eval["recall"]
    counts: dict[int, int] = {}
    for one in annotations:
        if not one["iscrowd"]:
            counts[one["category_id"]] = counts.get(one["category_id"], 0) + 1

    def mean(values: np.ndarray) -> float:
        values = values[values > -1]
        return float(values.mean()) if values.size else float("nan")

    return [
        {
            "class": names.get(category, str(category)),
            "AP": mean(precision[:, :, number, 0, -1]),
            "AP50": mean(precision[0, :, number, 0, -1]),
            "AR100": mean(recall[:, number, 0, -1]),
            "objects": counts.get(category, 0),
        }
        for number, category in enumerate(scored.params.catIds)
    ]
