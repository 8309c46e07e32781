"""What the tasks share: loss normalisers, the candidates that pass the score threshold, the way back to the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.resolved import ResolvedTest
from rtmdet_lab.config.settings import LossConfig
from rtmdet_lab.core.distributed import mean_over_processes
from rtmdet_lab.core.errors import UserError
from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.geometry.masks import encode_masks
from rtmdet_lab.geometry.priors import point_grid


class NonFiniteOutputError(UserError, ArithmeticError):
    """A network gave NaN or infinite numbers: no detections would be a wrong answer; names the images."""


def matched_labels(assignment: Assignment, targets: Sequence[Targets]) -> Tensor:
    """Returns (B, P) int64: the class each point learns, -1 for background."""
    return gather_objects(assignment, [t.labels for t in targets]).masked_fill(~assignment.positive, -1)


def gather_objects(assignment: Assignment, values: Sequence[Tensor]) -> Tensor:
    """Returns (B, P, ...): each point's row of its image's per-object ``values``; zeros stand in where there is none."""
    rows = torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)
    rows = rows.to(assignment.gt_index.device, non_blocking=True)
    if rows.shape[1] == 0:
        rows = rows.new_zeros(len(values), 1, *rows.shape[2:])
    batch = torch.arange(len(rows), device=rows.device)[:, None]
    return rows[batch, assignment.gt_index.clamp(min=0)]


def loss_normaliser(assignment: Assignment) -> Tensor:
    """Returns the sum of matched IoUs over the batch, averaged over processes, at least 1 (paper.md 3.4)."""
    return mean_over_processes(assignment.quality.sum()).clamp(min=1)


def box_weights(assignment: Assignment, config: LossConfig) -> Tensor:
    """Returns (B, P): the weight of each point's box loss, 0 for background."""
    return assignment.quality if config.quality_weighting else assignment.positive.float()


def select_candidates(logits: Tensor, level_sizes: Sequence[int], config: ResolvedTest) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (point index, label, score) of one image's candidates for NMS.

    A point may be a candidate for several classes. Each level keeps its ``max_per_level`` best above the threshold.

    Args:
        logits: (P, C).
    """
    points, labels, scores = [], [], []
    num_classes, start = logits.shape[1], 0
    for size in level_sizes:
        level = logits[start : start + size].float().sigmoid().flatten()
        index = (level > config.score_threshold).nonzero().squeeze(1)
        score = level[index]
        if len(index) > config.max_per_level:
            score, order = score.topk(config.max_per_level)
            index = index[order]
        points.append(index // num_classes + start)
        labels.append(index % num_classes)
        scores.append(score)
        start += size
    return torch.cat(points), torch.cat(labels), torch.cat(scores)


def to_original(boxes: Tensor, meta: ImageMeta) -> Tensor:
    """Returns horizontal boxes (N, 4) in original pixels: clipped to the canvas, then moved and scaled back."""
    if meta.canvas_size is not None:
        height, width = meta.canvas_size
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    offset = boxes.new_tensor([*meta.offset, *meta.offset])
    return (boxes - offset) / boxes.new_tensor([*meta.scale, *meta.scale])


def require_finite(predictions: DensePredictions, found: Sequence[Detections], metas: Sequence[ImageMeta]) -> None:
    """Raises NonFiniteOutputError for images whose logits or boxes are no numbers, or whose detections are infinite.

    Boxes of points that are not detections may be infinite: nobody sees them.
    """
    logits, boxes = predictions.logits.isfinite().all(-1).all(-1), predictions.boxes.isnan().any(-1).any(-1)
    whole = (logits & ~boxes).tolist()
    images = [
        meta.image_id
        for fine, one, meta in zip(whole, found, metas, strict=True)
        if not fine or not bool(one.boxes.isfinite().all())
    ]
    if images:
        named = ", ".join(map(str, images[:4])) + (f" and {len(images) - 4} more" if len(images) > 4 else "")
        raise NonFiniteOutputError(
            f"the network's output is NaN or infinite for image {named}: its weights are damaged or diverged (use others), "
            "or half precision is too narrow for them (use fp32)"
        )


def detection_rows(detections: Detections, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns what goes into a file: boxes in pixels, masks as COCO's compressed run lengths."""
    parts = [detections.labels.tolist(), detections.scores.tolist(), detections.boxes.tolist()]
    rows = [{"class": classes[label], "score": score, "box": box} for label, score, box in zip(*parts, strict=True)]
    if detections.masks is not None:
        rows = [{**row, "mask": mask} for row, mask in zip(rows, encode_masks(detections.masks), strict=True)]
    return rows


def dense_predictions(raw: dict[str, np.ndarray], images: Tensor) -> DensePredictions:
    """Returns raw outputs for ``images`` (B, 3, H, W) as what the network itself would give."""
    sizes = [(-(-images.shape[2] // stride), -(-images.shape[3] // stride)) for stride in STRIDES]
    return DensePredictions(priors=point_grid(sizes, STRIDES), **{name: torch.from_numpy(one) for name, one in raw.items()})
