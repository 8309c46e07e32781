"""Dynamic convolutions against the same network written with torch's own layers, point by point."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rtmdet_lab.layers.dynamic_masks import NUM_PARAMETERS, mask_logits, split_kernels


def slow_logits(features, kernel, point, stride):
    """One point: build its ten channels and convolve them three times."""
    height, width = features.shape[1:]
    x = (point[0] - torch.arange(width) * 8.0) / (8 * stride)
    y = (point[1] - torch.arange(height) * 8.0) / (8 * stride)
    channels = torch.cat([x.expand(1, height, width), y[:, None].expand(1, height, width), features])
    weights, biases = kernel[:152], kernel[152:]
    hidden = F.conv2d(channels[None], weights[:80].reshape(8, 10, 1, 1), biases[:8]).relu()
    hidden = F.conv2d(hidden, weights[80:144].reshape(8, 8, 1, 1), biases[8:16]).relu()
    return F.conv2d(hidden, weights[144:].reshape(1, 8, 1, 1), biases[16:])[0, 0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [(3, 7), (20, 16)])
def test_all_points_at_once_equal_one_after_the_other(seed, size):
    torch.manual_seed(seed)
    features, kernels = torch.randn(8, *size), torch.randn(6, NUM_PARAMETERS)
    points, strides = torch.rand(6, 2) * 8 * size[0], torch.tensor([8.0, 16.0, 32.0]).repeat(2)
    found = mask_logits(features, kernels, points, strides)
    expected = torch.stack([slow_logits(features, *one) for one in zip(kernels, points, strides, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_numbers_are_all_weights_then_all_biases():
    assert NUM_PARAMETERS == 169
    weights, biases = split_kernels(torch.arange(169.0)[None])
    assert [one[0].flatten()[0].item() for one in weights] == [0, 80, 144]
    assert [one[0, 0].item() for one in biases] == [152, 160, 168]


def test_gradients_reach_features_and_kernels_and_no_points_give_no_masks():
    features, kernels = torch.randn(8, 4, 4, requires_grad=True), torch.randn(2, 169, requires_grad=True)
    mask_logits(features, kernels, torch.zeros(2, 2), torch.full((2,), 8.0)).sum().backward()
    assert features.grad.abs().sum() > 0
    assert kernels.grad[:, -1].tolist() == [16, 16]  # the last bias is added to every cell
    assert mask_logits(features, kernels[:0], torch.zeros(0, 2), torch.zeros(0)).shape == (0, 4, 4)


def test_half_precision_around_it_does_not_round_the_coordinates():
    torch.manual_seed(0)
    features, kernels = torch.randn(8, 6, 90), torch.randn(3, 169)
    points, strides = torch.tensor([[700.0, 20.0]]).repeat(3, 1), torch.full((3,), 8.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = mask_logits(features, kernels, points, strides)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, mask_logits(features, kernels, points, strides))
