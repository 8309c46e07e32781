"""Channel attention, by hand."""

from __future__ import annotations

import pytest
import torch
from made_networks import noise, parameters_of

from rtmdet_lab.layers.attention import ChannelAttention


@pytest.mark.parametrize(("mean", "factor"), [(-3.5, 0), (-3, 0), (-1.5, 0.25), (0, 0.5), (1.5, 0.75), (3, 1), (7, 1)])
@torch.no_grad()
def test_factor_is_the_hard_sigmoid_of_the_channel_mean(mean, factor):
    layer = ChannelAttention(2)
    layer.fc.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]])[:, :, None, None])  # each channel listens to the other
    layer.fc.bias.zero_()
    x = noise(1, 2, 4, 3)
    x[0, 1] += mean - x[0, 1].mean()
    torch.testing.assert_close(layer(x)[0, 0], x[0, 0] * factor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 8, 24])
def test_one_full_matrix_and_no_hidden_layer(channels):
    assert parameters_of(ChannelAttention(channels)) == channels**2 + channels


def test_bias_starts_at_zero_and_weights_are_drawn():
    layer = ChannelAttention(8)
    assert not layer.fc.bias.any()
    assert layer.fc.weight.abs().max() <= 8**-0.5  # uniform, fan-in, a = sqrt 5
    assert layer.fc.weight.std() > 0.1


@torch.no_grad()
def test_images_of_a_batch_do_not_touch_each_other():
    layer, x = ChannelAttention(4), noise(3, 4, 5, 5)
    torch.testing.assert_close(layer(x), torch.cat([layer(one[None]) for one in x]))
