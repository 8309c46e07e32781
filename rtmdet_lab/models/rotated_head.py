"""Rotated head: the detection head and one angle per point, predicted from the box tower (paper.md 3.7, 4.8)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.resolved import ResolvedModel
from rtmdet_lab.core.structures import DensePredictions
from rtmdet_lab.geometry.priors import decode_rotated, point_grid
from rtmdet_lab.models.head import RTMDetHead, flatten_levels, init_head, make_predictors, with_points


class RTMDetRotatedHead(RTMDetHead):
    """Maps of one width at strides 8, 16, 32 to :class:`DensePredictions` with rotated boxes (B, P, 5)."""

    def __init__(self, config: ResolvedModel, in_channels: int) -> None:
        super().__init__(config, in_channels)
        self.rtm_ang = make_predictors(config, in_channels, 1)
        init_head(self)

    def forward(self, features: Sequence[Tensor]) -> DensePredictions:
        logits, distances, angles = self.predict_levels(features)
        priors = point_grid([x.shape[-2:] for x in logits], STRIDES, device=logits[0].device)
        boxes = decode_rotated(priors.points, flatten_levels(distances), flatten_levels(angles)[..., 0])
        return DensePredictions(flatten_levels(logits), boxes, priors)

    def raw(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns logits (B, P, C) and boxes (B, P, 5), decoded, float32; see :meth:`RTMDetHead.raw`."""
        logits, distances, angles = self.predict_levels(features)
        boxes = [
            decode_rotated(points, flatten_levels([x]), flatten_levels([angle])[..., 0])
            for (points, x), angle in zip(with_points(distances), angles, strict=True)
        ]
        return flatten_levels(logits).float(), torch.cat(boxes, dim=1)

    def predict_levels(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Returns, per level, logits (B, C, h, w), distances in pixels (B, 4, h, w) and raw angles (B, 1, h, w), radians.

        Distances left, top, right, bottom are those of the box's own frame. They and the angles are float32.
        """
        logits, distances, angles = [], [], []
        for level, (x, stride) in enumerate(zip(features, STRIDES, strict=True)):
            logits.append(self.rtm_cls[level](self.cls_convs[level](x)))
            tower = self.reg_convs[level](x)
            raw = self.rtm_reg[level](tower).float()
            distances.append((raw.exp() if self.exp_on_reg else raw) * stride)
            angles.append(self.rtm_ang[level](tower).float())
        return logits, distances, angles
