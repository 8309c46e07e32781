"""Object detection, wired from top to bottom: what is learned, how it is read, how it is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import LossConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.data.formats import COCO
from rtmdet_lab.evaluation.coco import CocoEvaluator
from rtmdet_lab.evaluation.coco_files import read_results, read_truth
from rtmdet_lab.evaluation.coco_scores import coco_pairs
from rtmdet_lab.evaluation.matching import Kind, Matches, match_images
from rtmdet_lab.geometry.box_kind import UPRIGHT
from rtmdet_lab.losses.iou import overlap_loss
from rtmdet_lab.losses.quality_focal import classification_loss
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.synthetic import generate_scenes
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import (
    box_weights,
    dense_predictions,
    gather_objects,
    loss_normaliser,
    matched_labels,
    select_candidates,
    to_original,
)
from rtmdet_lab.tasks.phases import TWO_STAGES, mild_settings, mixing_phases
from rtmdet_lab.tasks.spec import PLAIN, TaskSpec
from rtmdet_lab.transforms.pipelines import largest_side


def detection_task(config: ResolvedConfig) -> Task:
    """Returns the detection task of a config (paper 3; paper.md 3.3 to 3.5, 4.1 to 4.3)."""
    assigner = build_assigner(config.assigner)

    def criterion(predictions: DensePredictions, targets: Sequence[Targets]) -> dict[str, Tensor]:
        return detection_losses(predictions, targets, assigner(predictions, targets), config.loss)

    def decode(predictions: DensePredictions, metas: Sequence[ImageMeta]) -> list[Detections]:
        return decode_boxes(predictions, metas, config.test)

    return Task(
        name="detection",
        config=config,
        model=RTMDet(config.model),
        assigner=assigner,
        criterion=criterion,
        decode=decode,
        new_evaluator=lambda: CocoEvaluator(config.data.classes),
    )


def detection_losses(
    predictions: DensePredictions, targets: Sequence[Targets], assignment: Assignment, config: LossConfig
) -> dict[str, Tensor]:
    """Returns the class and box losses of a batch, weighted (paper.md 3.4)."""
    labels = matched_labels(assignment, targets)
    boxes = gather_objects(assignment, [t.boxes for t in targets])
    normaliser = loss_normaliser(assignment)
    weight = box_weights(assignment, config)
    bbox = overlap_loss(predictions.boxes, boxes, weight, config.bbox) / normaliser
    return {
        "loss_cls": classification_loss(predictions, labels, assignment, normaliser, config),
        "loss_bbox": config.bbox_weight * bbox,
    }


def decode_boxes(predictions: DensePredictions, metas: Sequence[ImageMeta], config: ResolvedTest) -> list[Detections]:
    """Returns each image's detections: threshold, best per level, class-wise NMS, best per image (paper.md 3.2, test)."""
    level_sizes = predictions.level_sizes()
    found = []
    for logits, boxes, meta in zip(predictions.logits, predictions.boxes, metas, strict=True):
        points, labels, scores = select_candidates(logits, level_sizes, config)
        boxes = to_original(boxes[points], meta)
        solid = UPRIGHT.has_area(boxes)
        boxes, scores, labels = boxes[solid], scores[solid], labels[solid]
        keep = UPRIGHT.suppress(boxes, scores, labels, config.nms_iou)[: config.max_per_image]
        found.append(Detections(boxes[keep], scores[keep], labels[keep], meta=meta))
    return found


def coco_matches(kind: Kind, data: Mapping[str, Any], predictions: Path) -> Matches:
    """Returns what the COCO results of a run match; ``data`` are its settings of that name.

    Raises:
        DataError: predictions or annotations are gone or do not fit each other.
    """
    truth = read_truth(data["val_annotations"], (kind,))
    names = {one["id"]: one["name"] for one in truth["categories"]}
    if data["classes"] is not None:  # what was not learned does not count
        kept = {one for one, name in names.items() if name in data["classes"]}
        truth = {
            **truth,
            "categories": [one for one in truth["categories"] if one["id"] in kept],
            "annotations": [one for one in truth["annotations"] if one["category_id"] in kept],
        }
    classes = [names[category] for category in sorted(one["id"] for one in truth["categories"])]
    return match_images(coco_pairs(truth, read_results(predictions, truth, (kind,)), kind), classes, kind)


def draw_scenes(folder: Path, **settings: Any) -> dict[str, str]:
    """Draws a COCO set of shapes, where it is not there yet, and returns its ``data.*`` settings."""
    return {f"data.{name}": str(path) for name, path in generate_scenes(folder, **settings).items()}


SPEC = TaskSpec(
    facts=TASKS["detection"],
    network=RTMDet,
    build=detection_task,
    data=COCO,
    boxes=UPRIGHT,
    masks=False,
    phases=mixing_phases,
    reading_side=lambda config: largest_side(config.augment),
    generator=generate_scenes,
    generate=draw_scenes,
    shown_stages={"strong": TWO_STAGES, "weak": TWO_STAGES},
    short_settings=lambda epochs: [*mild_settings(epochs), "model.exp_on_reg=true"],  # boxes begin one cell large
    decode=decode_boxes,
    raw_outputs=("logits", "boxes"),
    from_raw=dense_predictions,
    found_outputs=("dets", "labels"),
    matches=partial(coco_matches, "bbox"),
    mirrors=(PLAIN, (True, False)),
)
