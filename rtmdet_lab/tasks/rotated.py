"""Rotated boxes: what they change in detection, from top to bottom (paper.md 3.7, 4.8).

Boxes are (cx, cy, w, h, angle) in le90. A point is inside if it lies in the turned box; overlaps are those of turned boxes,
in the matching, in the box loss and in NMS. The angle has no loss of its own. Everything else is detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.factory import build_assigner
from rtmdet_lab.config.recipes import recipe_of
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.files import read_json
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.formats import DOTA
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.evaluation.dota import DotaEvaluator, write_submission
from rtmdet_lab.evaluation.dota_files import from_rotated_results
from rtmdet_lab.evaluation.matching import Matches
from rtmdet_lab.geometry.box_kind import ROTATED
from rtmdet_lab.geometry.rotated import resize_rboxes, to_le90
from rtmdet_lab.losses.quality_focal import classification_loss
from rtmdet_lab.losses.rotated import rotated_overlap_loss
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.rotated_head import RTMDetRotatedHead
from rtmdet_lab.synthetic import AERIAL_CLASSES, generate_aerial
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import (
    box_weights,
    dense_predictions,
    gather_objects,
    loss_normaliser,
    matched_labels,
    select_candidates,
)
from rtmdet_lab.tasks.phases import TWO_STAGES, Phase, mixing_phases
from rtmdet_lab.tasks.spec import PLAIN, TaskSpec
from rtmdet_lab.transforms.pipelines import largest_side, plain_pipeline
from rtmdet_lab.transforms.rotated import QUARTER_TURN_NAMES, RandomRotate

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
        model=rotated_network(config.model),
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


def rotated_network(config: ModelConfig) -> RTMDet:
    """Returns the untrained network."""
    return RTMDet(config, "rotated", RTMDetRotatedHead)


def rotated_phases(config: ResolvedConfig, source: Source) -> list[Phase]:
    """Returns the single stage of the plain recipe, or the two of the mixing one (paper.md 3.7)."""
    round_things = [source.classes.index(name) for name in QUARTER_TURN_NAMES if name in source.classes]
    rotate = RandomRotate(config.augment.rotate_prob, round_things)
    if recipe_of(config).single_stage:
        return [Phase("plain", config.train.epochs, plain_pipeline(config.augment, rotate))]
    return mixing_phases(config, source, rotate)


def draw_aerial(folder: Path, **settings: Any) -> dict[str, Any]:
    """Draws a DOTA set of aerial images, where it is not there yet, and returns its ``data.*`` settings."""
    generate_aerial(folder, **settings)
    return {**DOTA.find(folder), "data.classes": AERIAL_CLASSES}


def rotated_matches(data: Mapping[str, Any], predictions: Path) -> Matches:
    """Returns what the detections of a run match; ``data`` are its settings of that name.

    Raises:
        DataError: predictions or annotations are gone or do not fit each other.
    """
    truth = DotaDataset(data["val_images"], data["val_annotations"], data["classes"], on_bad=data["on_bad"])
    evaluator = DotaEvaluator(truth.classes)
    targets = [truth.truth(index) for index in range(len(truth))]
    content = read_json(predictions, "results file")
    evaluator.add(from_rotated_results(content, [target.meta.image_id for target in targets], truth.classes), targets)
    return evaluator.matches()


_MIXING = {**TWO_STAGES, "augment.rotated_recipe": "mixing"}

SPEC = TaskSpec(
    facts=TASKS["rotated"],
    network=rotated_network,
    build=rotated_task,
    data=DOTA,
    boxes=ROTATED,
    masks=False,
    phases=rotated_phases,
    reading_side=lambda config: largest_side(config.augment, plain=recipe_of(config).single_stage),
    generator=generate_aerial,
    generate=draw_aerial,
    # The plain recipe resizes once, as published.
    shown_stages={"plain": {"train.epochs": 2, "train.weak_epochs": 0}, "strong": _MIXING, "weak": _MIXING},
    short_settings=lambda epochs: [],
    decode=decode_rotated_boxes,
    raw_outputs=("logits", "boxes"),
    from_raw=dense_predictions,
    found_outputs=None,  # no runtime's NMS knows rotated boxes
    matches=rotated_matches,
    mirrors=(PLAIN, (True, False), (False, True), (True, True)),  # what is seen from above has no upper side
    coco_results=False,
    submission=write_submission,
)
