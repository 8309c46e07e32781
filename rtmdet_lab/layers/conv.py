"""Convolution with batch norm and activation, and its depth-wise separable form.

Attribute names (``conv``, ``bn``, ``depthwise_conv``, ``pointwise_conv``) are those of the published checkpoints.
"""

from __future__ import annotations

from torch import Tensor, nn


class ConvBNAct(nn.Module):
    """Convolution without bias, batch norm, SiLU. Padding keeps the size at stride 1 (odd kernels)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)  # eps 1e-5, momentum 0.1: the released configurations' values
        # Not in place: its backward needs the input, so autograd would copy it first (a tenth of a training step on a CPU).
        self.activate = nn.SiLU() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.bn(self.conv(x)))


class DepthwiseSeparable(nn.Module):
    """Depth-wise k x k, then point-wise 1 x 1, each with its own batch norm and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNAct(in_channels, in_channels, kernel_size, stride, groups=in_channels)
        self.pointwise_conv = ConvBNAct(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, depthwise: bool = False) -> nn.Module:
    """Returns a 3 x 3 :class:`ConvBNAct`, or its separable form (the published nano layout)."""
    if depthwise:
        return DepthwiseSeparable(in_channels, out_channels, 3, stride)
    return ConvBNAct(in_channels, out_channels, 3, stride)
