"""Cross-stage partial layer: the unit backbone and neck are made of (paper 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmdet_lab.layers.attention import ChannelAttention
from rtmdet_lab.layers.blocks import BLOCKS
from rtmdet_lab.layers.conv import ConvBNAct


class CSPLayer(nn.Module):
    """Half of the width goes through the blocks, half around them; then concat, attention, 1 x 1.

    Shapes: (B, in_channels, H, W) to (B, out_channels, H, W). Inner width is ``out_channels * expand_ratio``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        blocks: int,
        residual: bool,
        expand_ratio: float = 0.5,
        channel_attention: bool = False,
        block: str = "large_kernel",
        kernel_size: int = 5,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        inner = int(out_channels * expand_ratio)
        self.main_conv = ConvBNAct(in_channels, inner, 1)
        self.short_conv = ConvBNAct(in_channels, inner, 1)
        self.final_conv = ConvBNAct(2 * inner, out_channels, 1)
        make_block = BLOCKS[block]
        self.blocks = nn.Sequential(
            *(make_block(inner, residual, kernel_size=kernel_size, depthwise=depthwise) for _ in range(blocks))
        )
        self.attention = ChannelAttention(2 * inner) if channel_attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        main = self.blocks(self.main_conv(x))
        return self.final_conv(self.attention(torch.cat([main, self.short_conv(x)], dim=1)))
