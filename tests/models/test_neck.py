"""CSP-PAFPN."""

from __future__ import annotations

import pytest
import torch
from made_networks import SMALL, noise, randomise_norms, weights_without_gradient

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve_model
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.models.neck import CSPPAFPN

CHANNELS = (16, 24, 40)


def made(seed: int = 0, **settings) -> CSPPAFPN:
    torch.manual_seed(seed)
    return randomise_norms(CSPPAFPN(resolve_model(with_overrides(ModelConfig(), SMALL | settings)), CHANNELS), seed)


def maps(height: int, width: int, seed: int = 0) -> list[torch.Tensor]:
    """Returns the maps that a backbone gives for an image of that size: each halving rounds up."""
    sizes = [(-(-height // stride), -(-width // stride)) for stride in (8, 16, 32)]
    return [noise(2, channels, *size, seed=seed) for channels, size in zip(CHANNELS, sizes, strict=True)]


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (72, 40), (8, 120)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_levels_keep_their_size_and_get_one_width(size, depthwise):
    neck, inputs = made(depthwise=depthwise), maps(*size)
    assert neck.out_channels == CHANNELS[0]
    assert [tuple(one.shape) for one in neck(inputs)] == [(2, CHANNELS[0], *one.shape[2:]) for one in inputs]


@pytest.mark.parametrize("changed", [0, 1, 2])
@torch.no_grad()
def test_every_level_hears_of_every_other(changed):
    neck, inputs = made(), maps(64, 64)
    before = neck(inputs)
    inputs[changed] = inputs[changed] + 1
    assert [torch.equal(one, other) for one, other in zip(before, neck(inputs), strict=True)] == [False] * 3


def test_every_weight_gets_a_gradient():
    neck = made(seed=1)
    sum((one * noise(*one.shape, seed=2)).sum() for one in neck(maps(64, 64))).backward()
    assert not weights_without_gradient(neck)


@torch.no_grad()
def test_upsampled_map_comes_first_and_the_reduced_one_joins_on_the_way_down():
    neck = made(seed=3)
    fine, middle, coarse = maps(64, 64, seed=3)
    reduced_coarse = neck.reduce_layers[0](coarse)
    up = reduced_coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    joined = neck.top_down_blocks[0](torch.cat([up, middle], dim=1))
    reduced_middle = neck.reduce_layers[1](joined)
    up = reduced_middle.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    first = neck.top_down_blocks[1](torch.cat([up, fine], dim=1))
    second = neck.bottom_up_blocks[0](torch.cat([neck.downsamples[0](first), reduced_middle], dim=1))
    third = neck.bottom_up_blocks[1](torch.cat([neck.downsamples[1](second), reduced_coarse], dim=1))
    expected = [conv(x) for conv, x in zip(neck.out_convs, (first, second, third), strict=True)]
    for found, wanted in zip(neck((fine, middle, coarse)), expected, strict=True):
        torch.testing.assert_close(found, wanted)
