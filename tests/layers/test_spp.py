"""Spatial pyramid pooling."""

from __future__ import annotations

import pytest
import torch
from made_networks import noise, parameters_of, randomise_norms
from torch.nn import functional as F

from rtmdet_lab.layers.spp import SPP


@pytest.mark.parametrize("size", [(20, 20), (7, 15), (5, 3), (1, 1)])
@pytest.mark.parametrize("seed", [0, 1])
@torch.no_grad()
def test_pools_are_those_of_five_nine_and_thirteen(size, seed):
    layer = randomise_norms(SPP(8), seed)
    x = noise(2, 8, *size, seed=seed)
    inner = layer.conv1(x)
    pools = [F.max_pool2d(inner, kernel, stride=1, padding=kernel // 2) for kernel in (5, 9, 13)]
    assert torch.equal(layer(x), layer.conv2(torch.cat([inner, *pools], dim=1)))


@pytest.mark.parametrize("channels", [8, 32])
def test_parameter_count_by_hand(channels):
    half = channels // 2
    assert parameters_of(SPP(channels)) == channels * half + 2 * half + 4 * half * channels + 2 * channels
