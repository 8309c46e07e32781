"""Object detection, wired from top to bottom: what is learned, how it is read, how it is scored."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import LossConfig
from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.coco import CocoEvaluator
from rtmdet_lab.geometry.box_kind import UPRIGHT
from rtmdet_lab.losses.iou import overlap_loss
from rtmdet_lab.losses.quality_focal import classification_loss
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import (
    box_weights,
    gather_objects,
    loss_normaliser,
    matched_labels,
    select_candidates,
    to_original,
)


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
        model=RTMDet(config.model, "detection"),
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
