"""Rotated boxes: what they change in detection, from top to bottom (paper.md 3.7, 4.8).

Boxes are (cx, cy, w, h, angle) in le90. A point is inside if it lies in the turned box; overlaps are those of turned boxes,
in the matching, in the box loss and in NMS. The angle has no loss of its own. Everything else is detection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.geometry.box_kind import ROTATED
from rtmdet_lab.geometry.rotated import resize_rboxes, to_le90
from rtmdet_lab.losses.quality_focal import classification_loss
from rtmdet_lab.losses.rotated import rotated_overlap_loss
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import (
    box_weights,
    gather_objects,
    loss_normaliser,
    matched_labels,
    select_candidates,
)

GEOMETRY = BoxGeometry(iou=ROTATED.iou, inside=ROTATED.inside, centers=lambda targets: ROTATED.centers(targets.boxes))


def rotated_task(config: ResolvedConfig) -> Task:
    """Returns the rotated detection task of a config."""
    assigner = build_assigner(config.assigner, GEOMETRY)
    classes = config.data.classes or [f"class {label}" for label in range(config.model.num_classes)]

    def criterion(predictions: DensePredictions, targets: Sequence[Targets]) -> dict[str, Tensor]:
        assignment = assigner(predictions, targets)
        labels = matched_labels(assignment, targets)
        boxes = gather_objects(assignment, [to_le90(t.boxes) for t in targets])
        normaliser = loss_normaliser(assignment)
        # Only the points that learn an object: overlaps of turned boxes cost too much to be thrown away.
        learn = assignment.positive
        weight = box_weights(assignment, config.loss)[learn]
        bbox = rotated_overlap_loss(predictions.boxes[learn], boxes[learn], weight, config.loss.rotated) / normaliser
        return {
            "loss_cls": classification_loss(predictions, labels, assignment, normaliser, config.loss),
            "loss_bbox": config.loss.bbox_weight * bbox + 0 * predictions.boxes.sum(),
        }

    def decode(predictions: DensePredictions, metas: Sequence[ImageMeta]) -> list[Detections]:
        return decode_rotated_boxes(predictions, metas, config.test)

    return Task(
        name="rotated",
        config=config,
        model=RTMDet(config.model, "rotated"),
        assigner=assigner,
        criterion=criterion,
        decode=decode,
        new_evaluator=lambda: DotaEvaluator(classes),
    )


def decode_rotated_boxes(
    predictions: DensePredictions, metas: Sequence[ImageMeta], config: ResolvedTest
) -> list[Detections]:
    """Returns each image's detections: threshold, best per level, class-wise rotated NMS, best per image."""
    level_sizes = predictions.level_sizes()
    found = []
    for logits, boxes, meta in zip(predictions.logits, predictions.boxes, metas, strict=True):
        points, labels, scores = select_candidates(logits, level_sizes, config)
        boxes = to_original_rotated(boxes[points], meta)
        solid = ROTATED.has_area(boxes)
        boxes, scores, labels = boxes[solid], scores[solid], labels[solid]
        keep = ROTATED.suppress(boxes, scores, labels, config.nms_iou)[: config.max_per_image]
        found.append(Detections(boxes[keep], scores[keep], labels[keep], meta=meta))
    return found


def to_original_rotated(boxes: Tensor, meta: ImageMeta) -> Tensor:
    """Returns rotated boxes (N, 5) in original pixels; they may reach past the image, as objects at its border do."""
    moved = torch.cat([boxes[:, :2] - boxes.new_tensor(meta.offset), boxes[:, 2:]], dim=1)
    return resize_rboxes(moved, (1 / meta.scale[0], 1 / meta.scale[1]))
