"""Masks: centers, run lengths and polygons."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from rtmdet_lab.geometry.masks import decode_segmentation, encode_masks, fill_polygons, mask_centers


def test_centers_by_hand_and_nan_without_pixels():
    masks = torch.zeros(3, 4, 6, dtype=torch.bool)
    masks[0, 1, 2:5] = True
    masks[1, 0, 0] = masks[1, 3, 5] = masks[1, 3, 4] = True
    centers = mask_centers(masks)
    torch.testing.assert_close(centers[:2], torch.tensor([[3.0, 1.0], [3.0, 2.0]]))
    assert centers[2].isnan().all()
    assert mask_centers(masks[:0]).shape == (0, 2)


@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_give_the_masks_back(seed):
    masks = torch.from_numpy(np.random.default_rng(seed).random((3, 17, 9)) > 0.6)
    found = encode_masks(masks)
    assert all(isinstance(one["counts"], str) for one in found)
    back = np.stack([decode_segmentation(one, (17, 9)) for one in found])
    assert (back == masks.numpy()).all()
    assert encode_masks(masks[:0]) == []


def test_every_form_of_a_segmentation_is_read():
    square = [1.0, 1.0, 4.0, 1.0, 4.0, 3.0, 1.0, 3.0]
    expected = np.zeros((5, 6), bool)
    expected[1:3, 1:4] = True
    compressed = coco_mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    counts = {"size": [5, 6], "counts": [6, 2, 3, 2, 3, 2, 12]}
    for form in ([square], compressed, counts):
        assert (decode_segmentation(form, (5, 6)) == expected).all()
    with pytest.raises(ValueError, match=r"size \[5, 6\] on an image of \[6, 5\]"):
        decode_segmentation(counts, (6, 5))


def test_parts_are_joined_and_too_few_points_are_nothing():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 4, 1, 4, 3, 1, 3], [5, 5, 6, 6]]
    assert fill_polygons(parts, (6, 7)).sum() == 4 + 6 - 1
    assert not fill_polygons([[0, 0, 3, 3]], (4, 4)).any()
