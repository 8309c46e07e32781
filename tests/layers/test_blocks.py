"""The basic blocks."""

from __future__ import annotations

import pytest
import torch
from made_networks import noise, parameters_of, randomise_norms, weights_without_gradient
from torch import nn
from torch.nn import functional as F

from rtmdet_lab.layers.blocks import BLOCKS, RepConv, RepDepthwise

KINDS = list(BLOCKS)
COUNTS = {  # by hand, for c channels and kernel k
    "large_kernel": lambda c, k: 9 * c * c + k * k * c + c * c + 6 * c,
    "darknet": lambda c, k: c * c + 9 * c * c + 4 * c,
    "ppyoloe_rep": lambda c, k: 9 * c * c + 2 * c + (9 * c * c + 2 * c) + (c * c + 2 * c),
    "yolov6_rep": lambda c, k: (9 * c * c + 2 * c) + (c * c + 2 * c) + 2 * c,
    "rep_large_kernel": lambda c, k: 9 * c * c + (k * k + 9) * c + c * c + 10 * c,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel", [1, 3, 5, 7, 9])
def test_block_keeps_the_shape_and_trains_every_weight(kind, depthwise, kernel):
    block = BLOCKS[kind](6, True, kernel_size=kernel, depthwise=depthwise)
    out = block(noise(2, 6, 5, 7, seed=kernel))
    assert out.shape == (2, 6, 5, 7)
    (out * noise(2, 6, 5, 7, seed=1)).sum().backward()
    assert not weights_without_gradient(block)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("channels", [4, 10])
def test_parameter_count_by_hand(kind, kernel, channels):
    assert parameters_of(BLOCKS[kind](channels, True, kernel_size=kernel)) == COUNTS[kind](channels, kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_depthwise_setting_leaves_fewer_parameters(kind):
    dense, separable = (parameters_of(BLOCKS[kind](16, True, depthwise=one)) for one in (False, True))
    assert separable < dense / 1.5


@pytest.mark.parametrize("kind", ["large_kernel", "darknet", "ppyoloe_rep", "rep_large_kernel"])
@pytest.mark.parametrize("residual", [True, False])
def test_silenced_convolutions_leave_the_input_of_a_residual_block_and_nothing_of_another(kind, residual):
    block = BLOCKS[kind](4, residual).eval()
    for norm in block.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.zeros_(norm.weight)
    x = noise(1, 4, 5, 5)
    assert torch.equal(block(x), x if residual else torch.zeros_like(x))


@pytest.mark.parametrize("kind", ["large_kernel", "rep_large_kernel"])
def test_large_kernel_sees_as_far_as_its_kernels(kind):
    for kernel in (3, 5, 7):
        block = randomise_norms(BLOCKS[kind](2, False, kernel_size=kernel), seed=kernel).double()
        x = noise(1, 2, 21, 21).double()
        touched = x.clone()
        touched[:, :, 10, 10] += 5
        rows = (block(x) != block(touched)).any(dim=1)[0].any(dim=1).nonzero().flatten()
        assert rows.tolist() == list(range(10 - 1 - kernel // 2, 10 + 2 + kernel // 2))


@pytest.mark.parametrize("identity", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_branches_are_summed_before_the_activation(identity, groups):
    rep = randomise_norms(RepConv(6, identity, groups), seed=groups)
    x = noise(2, 6, 5, 4)

    def norm(value, bn):
        return F.batch_norm(value, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)

    expected = norm(F.conv2d(x, rep.branch3x3.conv.weight, padding=1, groups=groups), rep.branch3x3.bn)
    expected = expected + norm(F.conv2d(x, rep.branch1x1.conv.weight, groups=groups), rep.branch1x1.bn)
    if identity:
        expected = expected + norm(x, rep.identity)
    torch.testing.assert_close(rep(x), F.silu(expected))


@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
def test_depthwise_branches_are_summed_before_the_activation(kernel):
    rep = randomise_norms(RepDepthwise(4, kernel), seed=kernel)
    x = noise(2, 4, 9, 7)

    def branch(weight, bn):
        out = x if weight is None else F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=4)
        return F.batch_norm(out, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)

    assert rep.large.conv.kernel_size == (kernel, kernel)
    assert rep.small.conv.kernel_size == (min(3, kernel),) * 2
    expected = branch(rep.large.conv.weight, rep.large.bn) + branch(rep.small.conv.weight, rep.small.bn)
    torch.testing.assert_close(rep(x), F.silu(expected + branch(None, rep.identity)))
