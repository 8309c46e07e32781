"""ATSS (arXiv 1912.02424): a threshold per object from the statistics of its nearest priors. A baseline.

It looks at where priors are, never at what the network predicts; only the quality it reports (the IoU of the predicted
box) depends on the prediction. Each point stands for a square of 8 strides, the usual anchor of one scale and one ratio.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import BoxGeometry, MatchInputs, match_inputs, with_quality
from rtmdet_lab.config.settings import AssignerConfig
from rtmdet_lab.core.structures import Assignment, DensePredictions, Priors, Targets
from rtmdet_lab.geometry.box_kind import ROTATED

ANCHOR_STRIDES = 8  # side of a point's square, in its level's strides


class ATSSAssigner:
    """Adaptive training sample selection with ``topk`` nearest points per level and object."""

    def __init__(self, topk: int = 9, geometry: BoxGeometry | None = None) -> None:
        self.topk = topk
        self.geometry = geometry or BoxGeometry()

    @torch.no_grad()
    def __call__(self, predictions: DensePredictions, targets: Sequence[Targets]) -> Assignment:
        inputs = match_inputs(predictions, targets, self.geometry)
        gt_index = self._select(inputs, predictions.level_sizes())
        return with_quality(gt_index, inputs.iou)

    def _select(self, inputs: MatchInputs, level_sizes: Sequence[int]) -> Tensor:
        squares = anchor_squares(inputs.priors, inputs.boxes.shape[-1])
        anchor_iou = self.geometry.iou(inputs.targets.boxes, squares[None])  # (B, G, P)

        offset = inputs.priors.points - inputs.targets.centers[:, :, None]
        distance = offset.square().sum(dim=-1)  # (B, G, P)
        near = torch.zeros_like(inputs.inside)
        start = 0
        for size in level_sizes:
            nearest = distance[..., start : start + size].topk(min(self.topk, size), dim=-1, largest=False).indices + start
            near.scatter_(-1, nearest, True)
            start += size

        # Threshold: mean plus (unbiased) standard deviation of the IoU over the nearest points of all levels.
        count = near.sum(dim=-1, keepdim=True)
        masked = torch.where(near, anchor_iou, 0.0)
        mean = masked.sum(dim=-1, keepdim=True) / count
        variance = torch.where(near, (anchor_iou - mean).square(), 0.0).sum(dim=-1, keepdim=True) / (count - 1).clamp(min=1)
        threshold = mean + variance.sqrt()

        positive = near & (anchor_iou >= threshold) & inputs.inside
        # A point that several objects want goes to the one its square overlaps most.
        best, gt_index = torch.where(positive, anchor_iou, -1.0).max(dim=1)
        return torch.where(best >= 0, gt_index, -1)


def anchor_squares(priors: Priors, box_size: int) -> Tensor:
    """Returns each point's square as a box, (P, box_size): x1 y1 x2 y2, or cx cy w h angle for a size of 5."""
    points, sides = priors.points, priors.strides[:, None] * ANCHOR_STRIDES
    if box_size == ROTATED.columns:
        return torch.cat([points, sides, sides, torch.zeros_like(sides)], dim=-1)
    return torch.cat([points - sides / 2, points + sides / 2], dim=-1)


def atss(config: AssignerConfig, geometry: BoxGeometry | None = None) -> ATSSAssigner:
    return ATSSAssigner(topk=config.topk or 9, geometry=geometry)
