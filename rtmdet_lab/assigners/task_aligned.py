"""TOOD's task-aligned assigner (arXiv 2108.07755): points that score and locate an object well at once learn it. A baseline.

Alignment of a point with an object is score^1 * IoU^6, the score being that of the object's class. Each object takes its
best points; how well each of them fits relative to the best one is what its class score shall become. TOOD's own training
starts with four epochs of ATSS and has a head of its own, the task-aligned one; here, as in the published comparison, the
head is RTMDet's, and the assigner is the same from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import BoxGeometry, MatchInputs, match_inputs
from rtmdet_lab.config.settings import AssignerConfig
from rtmdet_lab.core.structures import Assignment, DensePredictions, Targets

SCORE_POWER, IOU_POWER = 1, 6
EPS = 1e-7  # beside the strongest alignment, as released: an object that nothing fits yet asks for low scores


class TaskAlignedAssigner:
    """Takes the ``topk`` best aligned points per object, of these those that lie inside of it."""

    def __init__(self, topk: int = 13, geometry: BoxGeometry | None = None) -> None:
        self.topk = topk
        self.geometry = geometry or BoxGeometry()

    @torch.no_grad()
    def __call__(self, predictions: DensePredictions, targets: Sequence[Targets]) -> Assignment:
        inputs = match_inputs(predictions, targets, self.geometry)
        alignment = task_alignment(inputs)
        gt_index = self._select(inputs, alignment)
        return Assignment(gt_index, aligned_quality(gt_index, alignment, inputs.iou))

    def _select(self, inputs: MatchInputs, alignment: Tensor) -> Tensor:
        """Returns (B, P) int64: the object each point learns, -1 for background."""
        topk = min(self.topk, alignment.shape[-1])
        # The best of all points, then those inside: an object whose best points lie outside gets fewer, as released.
        best, points = alignment.topk(topk, dim=-1)
        selected = torch.zeros_like(inputs.inside).scatter_(-1, points, best > 0) & inputs.inside
        overlap, gt_index = torch.where(selected, inputs.iou, -1.0).max(dim=1)  # several objects: the highest IoU
        return torch.where(overlap >= 0, gt_index, -1)


def task_alignment(inputs: MatchInputs) -> Tensor:
    """Returns (B, G, P): score of the object's class times the sixth power of the IoU, in [0, 1]."""
    score = inputs.of_own_class(inputs.logits).sigmoid()
    return score.pow(SCORE_POWER) * inputs.iou.pow(IOU_POWER)


def aligned_quality(gt_index: Tensor, alignment: Tensor, iou: Tensor) -> Tensor:
    """Returns (B, P): each point's alignment, scaled so that an object's best one has its highest IoU; 0 for background.

    Both maxima are over the points that learn the object.

    Args:
        gt_index: (B, P), -1 for background.
        alignment, iou: (B, G, P).
    """
    numbers = torch.arange(alignment.shape[1], device=gt_index.device)
    learns = gt_index[:, None] == numbers[:, None]  # (B, G, P)
    own = torch.where(learns, alignment, 0.0)
    highest = torch.where(learns, iou, 0.0).amax(dim=-1, keepdim=True)  # (B, G, 1)
    return (own / (own.amax(dim=-1, keepdim=True) + EPS) * highest).sum(dim=1)  # a point learns one object at most


def task_aligned(config: AssignerConfig, geometry: BoxGeometry | None = None) -> TaskAlignedAssigner:
    return TaskAlignedAssigner(topk=config.topk or 13, geometry=geometry)
