"""Detection head: class logits and box distances per point (paper 3.2, paper.md 3.5).

Three sharing modes (paper table on detection heads): ``convs`` shares the tower convolutions between levels and keeps
batch norm and 1 x 1 predictors per level (published); ``all`` shares everything; ``none`` shares nothing.
A shared tensor appears in the state dict once per level, under several keys, exactly as in published files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.resolved import ResolvedModel
from rtmdet_lab.core.structures import DensePredictions
from rtmdet_lab.geometry.priors import decode_distances, level_points, point_grid
from rtmdet_lab.layers.conv import ConvBNAct, conv3x3

CLASS_PRIOR = 0.01  # initial probability of any class at any point


class RTMDetHead(nn.Module):
    """Maps of one width at strides 8, 16, 32 to :class:`DensePredictions`."""

    def __init__(self, config: ResolvedModel, in_channels: int) -> None:
        super().__init__()
        self.num_classes = config.num_classes
        self.exp_on_reg = config.exp_on_reg
        self.cls_convs = make_towers(config, in_channels)
        self.reg_convs = make_towers(config, in_channels)
        self.rtm_cls = make_predictors(config, in_channels, config.num_classes)
        self.rtm_reg = make_predictors(config, in_channels, 4)
        init_head(self)

    def forward(self, features: Sequence[Tensor]) -> DensePredictions:
        logits, distances = self.predict_levels(features)
        priors = point_grid([x.shape[-2:] for x in logits], STRIDES, device=logits[0].device)
        boxes = decode_distances(priors.points, flatten_levels(distances))
        return DensePredictions(flatten_levels(logits), boxes, priors)

    def raw(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns logits (B, P, C), before the sigmoid, and boxes (B, P, 4), decoded, as :meth:`forward` does, in float32.

        Level by level: checks of lengths, as ``Priors`` makes them, would tie an exported graph to one size.
        """
        logits, distances = self.predict_levels(features)
        boxes = [decode_distances(points, flatten_levels([x])) for points, x in with_points(distances)]
        return flatten_levels(logits).float(), torch.cat(boxes, dim=1)

    def predict_levels(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Returns, per level, logits (B, C, h, w) and distances left, top, right, bottom in pixels (B, 4, h, w).

        Distances are float32: half precision cannot tell neighbouring pixels apart beyond 2048.
        """
        logits, distances = [], []
        for level, (x, stride) in enumerate(zip(features, STRIDES, strict=True)):
            logits.append(self.rtm_cls[level](self.cls_convs[level](x)))
            raw = self.rtm_reg[level](self.reg_convs[level](x)).float()
            distances.append((raw.exp() if self.exp_on_reg else raw) * stride)
        return logits, distances


def with_points(maps: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields the points (h * w, 2) of each level with its map."""
    for x, stride in zip(maps, STRIDES, strict=True):
        yield level_points(x.shape[2], x.shape[3], stride), x


def flatten_levels(maps: Sequence[Tensor]) -> Tensor:
    """Returns (B, P, channels) from per-level (B, channels, h, w): level-major, row-major inside a level."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in maps], dim=1)


def make_towers(config: ResolvedModel, channels: int) -> nn.ModuleList:
    """Returns one stack of convolutions per level, shared as ``head.sharing`` says."""

    def tower() -> nn.Sequential:
        convs = (conv3x3(channels, channels, depthwise=config.depthwise) for _ in range(config.head.stacked_convs))
        return nn.Sequential(*convs)

    first = tower()
    if config.head.sharing == "all":
        return nn.ModuleList([first] * len(STRIDES))
    towers = [first] + [tower() for _ in STRIDES[1:]]
    if config.head.sharing == "convs":
        for other in towers[1:]:
            share_convolutions(first, other)
    return nn.ModuleList(towers)


def share_convolutions(source: nn.Module, target: nn.Module) -> None:
    """Makes every convolution of ``target`` the one of ``source``; batch norm stays its own."""
    ours = [module for module in source.modules() if isinstance(module, ConvBNAct)]
    theirs = [module for module in target.modules() if isinstance(module, ConvBNAct)]
    for one, other in zip(ours, theirs, strict=True):
        other.conv = one.conv


def make_predictors(config: ResolvedModel, channels: int, outputs: int) -> nn.ModuleList:
    """Returns one 1 x 1 convolution with bias per level; a single one for all levels where everything is shared."""
    if config.head.sharing == "all":
        return nn.ModuleList([nn.Conv2d(channels, outputs, 1)] * len(STRIDES))
    return nn.ModuleList(nn.Conv2d(channels, outputs, 1) for _ in STRIDES)


def init_head(head: nn.Module) -> None:
    """Draws every convolution from normal(0, 0.01) and sets class biases for a prior of 0.01 (released head)."""
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for predictor in head.rtm_cls:
        nn.init.constant_(predictor.bias, -math.log((1 - CLASS_PRIOR) / CLASS_PRIOR))
