"""Convolution, batch norm and activation, checked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from made_networks import noise, parameters_of

from rtmdet_lab.layers.conv import ConvBNAct, DepthwiseSeparable, conv3x3


def silu(x: float) -> float:
    return x / (1 + math.exp(-x))


@torch.no_grad()
def counting(activation: bool) -> ConvBNAct:
    """Counts the cells under a 3 x 3 window, minus 5, halved, plus 1."""
    layer = ConvBNAct(1, 1, 3, activation=activation).eval()
    layer.conv.weight.fill_(1)
    layer.bn.running_mean.fill_(5)
    layer.bn.running_var.fill_(4)
    layer.bn.bias.fill_(1)
    return layer


@pytest.mark.parametrize("activation", [True, False])
def test_hand_worked_window_norm_and_activation(activation):
    out = counting(activation)(torch.ones(1, 1, 3, 3))[0, 0]
    expected = {4: 0.5, 6: 1.5, 9: 3.0}  # corner, edge and middle: (cells - 5) / 2 + 1
    if activation:
        expected = {cells: silu(value) for cells, value in expected.items()}
    rows = [[4, 6, 4], [6, 9, 6], [4, 6, 4]]
    torch.testing.assert_close(out, torch.tensor([[expected[cells] for cells in row] for row in rows]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [ConvBNAct, DepthwiseSeparable])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize(("stride", "expected"), [(1, (9, 14)), (2, (5, 7))])
def test_odd_kernels_keep_the_size_and_stride_two_halves_it_upwards(make, kernel, stride, expected):
    assert make(4, 6, kernel, stride).eval()(noise(2, 4, 9, 14)).shape == (2, 6, *expected)


@pytest.mark.parametrize(("inputs", "outputs", "kernel"), [(3, 8, 1), (4, 4, 3), (6, 2, 5)])
def test_parameter_counts_by_hand(inputs, outputs, kernel):
    assert parameters_of(ConvBNAct(inputs, outputs, kernel)) == inputs * outputs * kernel**2 + 2 * outputs
    separable = inputs * kernel**2 + 2 * inputs + inputs * outputs + 2 * outputs
    assert parameters_of(DepthwiseSeparable(inputs, outputs, kernel)) == separable


def test_depth_wise_step_keeps_channels_apart_and_point_wise_step_mixes_them():
    layer = DepthwiseSeparable(3, 5, 3).eval()
    x, changed = noise(1, 3, 6, 6), noise(1, 3, 6, 6)
    changed[:, 1] += 1
    moved = (layer.depthwise_conv(x) != layer.depthwise_conv(changed)).flatten(2).any(dim=2)[0]
    assert moved.tolist() == [False, True, False]
    assert (layer(x) != layer(changed)).flatten(2).any(dim=2).all()


@pytest.mark.parametrize(("depthwise", "kind"), [(False, ConvBNAct), (True, DepthwiseSeparable)])
def test_three_by_three_is_separable_only_when_asked(depthwise, kind):
    layer = conv3x3(4, 6, stride=2, depthwise=depthwise)
    assert isinstance(layer, kind)
    assert layer.eval()(noise(1, 4, 8, 8)).shape == (1, 6, 4, 4)
