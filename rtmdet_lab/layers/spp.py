"""Spatial pyramid pooling (backbone stage 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtmdet_lab.layers.conv import ConvBNAct


class SPP(nn.Module):
    """1 x 1 to half the channels; identity and max-pools of 5, 9 and 13 concatenated; 1 x 1 back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(channels, channels // 2, 1)
        self.conv2 = ConvBNAct(channels // 2 * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        # Pooling by 5 twice equals pooling by 9 once, three times by 13: the same values with a third of the reads.
        pooled5 = F.max_pool2d(x, 5, stride=1, padding=2)
        pooled9 = F.max_pool2d(pooled5, 5, stride=1, padding=2)
        pooled13 = F.max_pool2d(pooled9, 5, stride=1, padding=2)
        return self.conv2(torch.cat([x, pooled5, pooled9, pooled13], dim=1))
