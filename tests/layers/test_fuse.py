"""The inference form computes the same function."""

from __future__ import annotations

import pytest
import torch
from made_networks import noise, parameters_of, randomise_norms, small_model, weights_without_gradient
from torch import nn

from rtmdet_lab.layers.blocks import BLOCKS, RepConv, RepDepthwise
from rtmdet_lab.layers.conv import ConvBNAct
from rtmdet_lab.layers.csp import CSPLayer
from rtmdet_lab.layers.fuse import fuse, merge_branches


def norms(model: nn.Module) -> list[nn.Module]:
    return [one for one in model.modules() if isinstance(one, nn.BatchNorm2d)]


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("block", list(BLOCKS))
@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.no_grad()
def test_fused_layer_equals_the_trained_one(block, depthwise, seed):
    torch.manual_seed(seed)
    layer = randomise_norms(
        CSPLayer(8, 8, 2, True, channel_attention=True, block=block, kernel_size=7, depthwise=depthwise), seed
    )
    fused = fuse(layer)
    assert not norms(fused)
    assert not [one for one in fused.modules() if isinstance(one, (RepConv, RepDepthwise))]
    x = noise(2, 8, 7, 6, seed=seed)
    assert_equal(fused(x), layer(x))


@pytest.mark.parametrize("sharing", ["convs", "all", "none"])
@pytest.mark.parametrize("depthwise", [False, True])
@torch.no_grad()
def test_fused_detector_equals_the_trained_one(sharing, depthwise):
    model = small_model(depthwise=depthwise, **{"head.sharing": sharing}).double()
    randomise_norms(model, seed=1)
    fused = fuse(model)
    assert not norms(fused)
    x = noise(2, 3, 64, 96).double()
    before, after = model(x), fused(x)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after.boxes, before.boxes, rtol=1e-5, atol=1e-3)  # pixels, rounded to float32 on the way


@pytest.mark.parametrize("make", [lambda: ConvBNAct(4, 4, 3), lambda: RepConv(4, True), lambda: RepConv(4, False, groups=2)])
@torch.no_grad()
def test_single_convolution_is_fused_too(make):
    layer, x = randomise_norms(make(), seed=3), noise(1, 4, 5, 5)
    fused = fuse(layer)
    assert not norms(fused)
    assert_equal(fused(x), layer(x))


@pytest.mark.parametrize("groups", [1, 2, 6])
@torch.no_grad()
def test_branches_become_one_three_by_three_convolution(groups):
    rep = randomise_norms(RepConv(6, True, groups), seed=groups)
    merged = merge_branches(rep)
    assert merged.weight.shape == rep.branch3x3.conv.weight.shape
    x = noise(1, 6, 5, 5)
    assert_equal(rep.activate(merged(x)), rep(x))


@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
@torch.no_grad()
def test_branches_of_a_large_kernel_become_one_convolution_of_its_size(kernel):
    rep = randomise_norms(RepDepthwise(6, kernel), seed=kernel)
    merged = merge_branches(rep)
    assert merged.weight.shape == (6, 1, kernel, kernel)
    x = noise(1, 6, 13, 9)
    assert_equal(rep.activate(merged(x)), rep(x))


@pytest.mark.parametrize("kernel", [3, 7])
def test_fused_large_kernel_costs_the_same_with_and_without_branches(kernel):
    plain, rep = (fuse(BLOCKS[kind](8, True, kernel_size=kernel)) for kind in ("large_kernel", "rep_large_kernel"))
    assert parameters_of(plain) == parameters_of(rep) == 9 * 64 + kernel**2 * 8 + 64 + 3 * 8


def test_original_is_left_as_it_was():
    model = small_model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fuse(model)
    assert model.training
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_gradient_flows_through_the_fused_form():
    fused = fuse(randomise_norms(CSPLayer(4, 4, 1, True, block="yolov6_rep"), seed=0))
    x = noise(1, 4, 6, 6).requires_grad_()
    (fused(x) * noise(1, 4, 6, 6, seed=1)).sum().backward()
    assert x.grad.abs().sum() > 0
    assert not weights_without_gradient(fused)
