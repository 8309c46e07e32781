"""CSP-PAFPN: top-down, then bottom-up, then one convolution per level to a common width (paper 3.2, paper.md 4.7)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtmdet_lab.config.presets import scaled_blocks
from rtmdet_lab.config.resolved import ResolvedModel
from rtmdet_lab.layers.conv import ConvBNAct, conv3x3
from rtmdet_lab.layers.csp import CSPLayer


class CSPPAFPN(nn.Module):
    """Maps with ``in_channels`` at strides 8, 16, 32 to maps that all have the first one's channels."""

    def __init__(self, config: ResolvedModel, in_channels: Sequence[int]) -> None:
        super().__init__()
        depthwise = config.depthwise
        levels = len(in_channels)
        self.out_channels = in_channels[0]

        def csp(inputs: int, outputs: int) -> CSPLayer:
            return CSPLayer(
                inputs,
                outputs,
                blocks=scaled_blocks(config.neck.blocks, config.depth),
                residual=False,
                expand_ratio=config.neck.expand_ratio,
                block=config.block,
                kernel_size=config.kernel_size,
                depthwise=depthwise,
            )

        self.reduce_layers = nn.ModuleList()
        self.top_down_blocks = nn.ModuleList()
        for level in range(levels - 1, 0, -1):  # from the coarsest down, the order of the published keys
            lower = in_channels[level - 1]
            self.reduce_layers.append(ConvBNAct(in_channels[level], lower, 1))
            self.top_down_blocks.append(csp(2 * lower, lower))
        self.downsamples = nn.ModuleList()
        self.bottom_up_blocks = nn.ModuleList()
        for level in range(levels - 1):
            self.downsamples.append(conv3x3(in_channels[level], in_channels[level], stride=2, depthwise=depthwise))
            self.bottom_up_blocks.append(csp(2 * in_channels[level], in_channels[level + 1]))
        self.out_convs = nn.ModuleList(conv3x3(channels, self.out_channels, depthwise=depthwise) for channels in in_channels)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        # Top-down. The reduced map, not the full one, is what later joins the bottom-up path.
        reduced: list[Tensor] = []
        current = features[-1]
        for step, lower in enumerate(reversed(features[:-1])):
            current = self.reduce_layers[step](current)
            reduced.append(current)
            upsampled = F.interpolate(current, size=lower.shape[-2:], mode="nearest")
            current = self.top_down_blocks[step](torch.cat([upsampled, lower], dim=1))
        # Bottom-up.
        outputs = [current]
        for step, side in enumerate(reversed(reduced)):
            joined = torch.cat([self.downsamples[step](outputs[-1]), side], dim=1)
            outputs.append(self.bottom_up_blocks[step](joined))
        return tuple(conv(x) for conv, x in zip(self.out_convs, outputs, strict=True))
