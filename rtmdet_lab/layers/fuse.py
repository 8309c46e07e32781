"""Exact inference form: batch norm folded into convolutions, re-parameterized branches summed into one.

Both are linear maps in eval mode, so the fused network computes the same function up to float rounding.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rtmdet_lab.layers.blocks import RepConv, RepDepthwise
from rtmdet_lab.layers.conv import ConvBNAct


class FusedConv(nn.Module):
    """Convolution with bias, then the activation the unfused module had."""

    def __init__(self, conv: nn.Conv2d, activate: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.conv(x))


@torch.no_grad()
def fuse(model: nn.Module) -> nn.Module:
    """Returns a copy of ``model`` in eval mode with batch norm folded and re-parameterized branches merged.

    Its weights lie channels-last, which the small models' convolutions want on a CPU (docs/results/performance.md). Its
    state-dict keys are no longer the published ones: fuse after loading, and save the unfused model.
    """
    return _fused(copy.deepcopy(model).eval()).to(memory_format=torch.channels_last)


def _fused(module: nn.Module) -> nn.Module:
    if isinstance(module, ConvBNAct):
        weight, bias = _fold(module.conv.weight, module.bn)
        return FusedConv(_conv_like(module.conv, weight, bias), module.activate)
    if isinstance(module, (RepConv, RepDepthwise)):
        return FusedConv(merge_branches(module), module.activate)
    for name, child in module.named_children():
        setattr(module, name, _fused(child))
    return module


def merge_branches(rep: RepConv | RepDepthwise) -> nn.Conv2d:
    """Returns the single convolution equal to the sum of the branches in eval mode, as large as the largest of them."""
    largest = rep.branches[0].conv
    middle = largest.kernel_size[0] // 2
    weight, bias = torch.zeros_like(largest.weight), torch.zeros_like(largest.weight[:, 0, 0, 0])
    for branch in rep.branches:
        weight_own, bias_own = _fold(branch.conv.weight, branch.bn)
        border = middle - branch.conv.kernel_size[0] // 2
        weight, bias = weight + F.pad(weight_own, (border,) * 4), bias + bias_own
    if rep.identity is not None:
        # The identity as a convolution: one at the center of the channel's own filter.
        out_channels, per_group = weight.shape[:2]
        identity = torch.zeros_like(weight)
        channels = torch.arange(out_channels, device=weight.device)
        identity[channels, channels % per_group, middle, middle] = 1
        weight_id, bias_id = _fold(identity, rep.identity)
        weight, bias = weight + weight_id, bias + bias_id
    return _conv_like(largest, weight, bias)


def _fold(weight: Tensor, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    # In float64: rsqrt of a small variance times a large weight would otherwise lose digits twice.
    assert bn.running_var is not None
    assert bn.running_mean is not None
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    folded = weight.double() * scale[:, None, None, None]
    bias = bn.bias.double() - bn.running_mean.double() * scale
    return folded.to(weight.dtype), bias.to(weight.dtype)


def _conv_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    kernel_size, stride, padding = (cast("tuple[int, int]", pair) for pair in (conv.kernel_size, conv.stride, conv.padding))
    fused = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        kernel_size,
        stride,
        padding,
        groups=conv.groups,
        bias=True,
        device=weight.device,
        dtype=weight.dtype,
    )
    fused.weight.copy_(weight)
    assert fused.bias is not None
    fused.bias.copy_(bias)
    return fused
