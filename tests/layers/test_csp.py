"""The cross-stage partial layer."""

from __future__ import annotations

import pytest
import torch
from made_networks import noise, parameters_of, randomise_norms, weights_without_gradient

from rtmdet_lab.layers.blocks import BLOCKS
from rtmdet_lab.layers.csp import CSPLayer

PLAIN = {"blocks": 2, "residual": True}


def made(seed=0, **settings):
    torch.manual_seed(seed)
    return randomise_norms(CSPLayer(6, 8, **PLAIN | settings), seed)


@pytest.mark.parametrize("block", list(BLOCKS))
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (5, 9), (2, 1)])
def test_shape_and_gradient_for_every_block(block, attention, size):
    layer = made(block=block, channel_attention=attention)
    out = layer(noise(2, 6, *size))
    assert out.shape == (2, 8, *size)
    (out * noise(*out.shape, seed=1)).sum().backward()
    assert not weights_without_gradient(layer)


@torch.no_grad()
def test_main_path_comes_first_in_what_is_joined():
    layer = made(channel_attention=True)
    x = noise(1, 6, 5, 5)
    joined = torch.cat([layer.blocks(layer.main_conv(x)), layer.short_conv(x)], dim=1)
    torch.testing.assert_close(layer(x), layer.final_conv(layer.attention(joined)))


@pytest.mark.parametrize(
    ("change", "same_count"),
    [
        ({"blocks": 3}, False),
        ({"residual": False}, True),
        ({"expand_ratio": 0.75}, False),
        ({"channel_attention": True}, False),
        ({"kernel_size": 7}, False),
        ({"depthwise": True}, False),
        *(({"block": block}, False) for block in BLOCKS if block != "large_kernel"),
    ],
    ids=str,
)
@torch.no_grad()
def test_every_setting_changes_the_layer(change, same_count):
    plain, changed = made(), made(**change)
    x = noise(1, 6, 6, 6)
    assert (parameters_of(plain) == parameters_of(changed)) == same_count
    if same_count:  # the same weights, another output
        changed.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(x), changed(x), atol=1e-3)
