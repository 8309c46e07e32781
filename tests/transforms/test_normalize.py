"""The only place that knows about BGR."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from rtmdet_lab.transforms.normalize import MEAN_BGR, STD_BGR, normalize


def test_published_mean_and_deviation_in_bgr_order():
    assert MEAN_BGR == (103.53, 116.28, 123.675)
    assert STD_BGR == (57.375, 57.12, 58.395)


def test_one_pixel_by_hand():
    rgb = torch.tensor([200, 100, 50], dtype=torch.uint8).reshape(1, 3, 1, 1)
    # blue first: (50 - 103.53) / 57.375, (100 - 116.28) / 57.12, (200 - 123.675) / 58.395
    expected = torch.tensor([-53.53 / 57.375, -16.28 / 57.12, 76.325 / 58.395]).reshape(1, 3, 1, 1)
    assert_close(normalize(rgb), expected, rtol=0, atol=1e-6)


def test_batch_layout_and_single_image():
    images = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    out = normalize(images)
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert_close(out[1], normalize(images[1]))
    assert images.dtype == torch.uint8  # the bytes stay


def test_padding_grey_is_near_zero_everywhere():
    grey = normalize(torch.full((1, 3, 2, 2), 114, dtype=torch.uint8))
    assert grey.abs().max() < 0.2


def test_empty_batch_passes():
    assert normalize(torch.empty(0, 3, 8, 8, dtype=torch.uint8)).shape == (0, 3, 8, 8)


def test_channels_last_is_kept():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert normalize(images).is_contiguous(memory_format=torch.channels_last)
