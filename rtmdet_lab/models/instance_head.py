"""Instance segmentation head: class, box and mask kernel per point, and prototypes common to the image (paper.md 3.6).

In the published models one tower serves class and box: ``head.shared_tower`` keeps that, and the published parameter
counts and APs depend on it. The kernel tower is never shared between levels, as published, unless everything is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.resolved import ResolvedModel
from rtmdet_lab.core.structures import DensePredictions
from rtmdet_lab.geometry.priors import decode_distances, point_grid
from rtmdet_lab.layers.conv import ConvBNAct
from rtmdet_lab.layers.dynamic_masks import NUM_PARAMETERS, PROTOTYPES
from rtmdet_lab.models.head import flatten_levels, init_head, make_predictors, make_towers, with_points


class RTMDetInsHead(nn.Module):
    """Maps of one width at strides 8, 16, 32 to :class:`DensePredictions` with kernels and mask features."""

    def __init__(self, config: ResolvedModel, in_channels: int) -> None:
        super().__init__()
        self.num_classes = config.num_classes
        self.exp_on_reg = config.exp_on_reg
        own_kernels = config
        if config.head.sharing == "convs":
            own_kernels = dataclasses.replace(config, head=dataclasses.replace(config.head, sharing="none"))
        self.cls_convs = make_towers(config, in_channels)
        self.reg_convs = self.cls_convs if config.head.shared_tower else make_towers(config, in_channels)
        self.kernel_convs = make_towers(own_kernels, in_channels)
        self.rtm_cls = make_predictors(config, in_channels, config.num_classes)
        self.rtm_reg = make_predictors(config, in_channels, 4)
        self.rtm_kernel = make_predictors(config, in_channels, NUM_PARAMETERS)
        self.mask_head = MaskFeatures(in_channels)
        init_head(self)
        if not self.exp_on_reg:  # ReLU has no gradient below zero: boxes start one cell to each side
            for predictor in self.rtm_reg:
                nn.init.ones_(predictor.bias)

    def forward(self, features: Sequence[Tensor]) -> DensePredictions:
        logits, distances, kernels = self.predict_levels(features)
        priors = point_grid([x.shape[-2:] for x in logits], STRIDES, device=logits[0].device)
        boxes = decode_distances(priors.points, flatten_levels(distances))
        return DensePredictions(
            flatten_levels(logits), boxes, priors, kernels=flatten_levels(kernels), mask_features=self.mask_head(features)
        )

    def raw(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns logits (B, P, C), boxes (B, P, 4), kernels (B, P, 169) and mask features (B, 8, h, w), float32."""
        logits, distances, kernels = self.predict_levels(features)
        boxes = [decode_distances(points, flatten_levels([x])) for points, x in with_points(distances)]
        masks = flatten_levels(kernels).float(), self.mask_head(features).float()
        return flatten_levels(logits).float(), torch.cat(boxes, dim=1), *masks

    def predict_levels(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Returns, per level, logits (B, C, h, w), distances in pixels (B, 4, h, w) and kernels (B, 169, h, w).

        Distances are float32: half precision cannot tell neighbouring pixels apart beyond 2048.
        """
        logits, distances, kernels = [], [], []
        for level, (x, stride) in enumerate(zip(features, STRIDES, strict=True)):
            tower = self.cls_convs[level](x)
            logits.append(self.rtm_cls[level](tower))
            if self.reg_convs is not self.cls_convs:
                tower = self.reg_convs[level](x)
            raw = self.rtm_reg[level](tower).float()
            distances.append((raw.exp() if self.exp_on_reg else raw.relu()) * stride)
            kernels.append(self.rtm_kernel[level](self.kernel_convs[level](x)))
        return logits, distances, kernels


class MaskFeatures(nn.Module):
    """The prototypes: all levels brought to stride 8, fused, and convolved down to 8 channels."""

    def __init__(self, channels: int, stacked_convs: int = 4) -> None:
        super().__init__()
        self.fusion_conv = nn.Conv2d(len(STRIDES) * channels, channels, 1)
        self.stacked_convs = nn.Sequential(*(ConvBNAct(channels, channels, 3) for _ in range(stacked_convs)))
        self.projection = nn.Conv2d(channels, PROTOTYPES, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Returns (B, 8, h, w) at stride 8."""
        size = features[0].shape[-2:]
        raised = [F.interpolate(x, size=size, mode="bilinear", align_corners=False) for x in features[1:]]
        return self.projection(self.stacked_convs(self.fusion_conv(torch.cat([features[0], *raised], dim=1))))
