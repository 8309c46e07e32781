"""Polygons and run lengths give a mask back pixel for pixel, filled by pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rtmdet_lab.geometry.tracing import mask_to_polygons, mask_to_rle
from rtmdet_lab.synthetic.forms import SCENE_FORMS, fill, pose

# pycocotools 2.0.11 and earlier against NumPy 2; not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_ring_keeps_its_hole():
    rng = np.random.default_rng(2)
    ring = fill(pose(rng, SCENE_FORMS["ring"](rng), 60, (32, 32)))
    (polygon,) = mask_to_polygons(ring.solid)
    height, width = ring.solid.shape
    filled = coco_mask.decode(coco_mask.frPyObjects([polygon], height, width))[:, :, 0]
    assert filled[height // 2, width // 2] == 0
    assert np.array_equal(filled.astype(bool), ring.solid)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_polygons_and_run_lengths_give_any_mask_back(share):
    # Noise has every case: single pixels, corners that touch, holes in parts in holes.
    rng = np.random.default_rng(int(share * 10))
    for _ in range(20):
        mask = rng.random((13, 17)) < share
        wide = np.pad(mask, ((4, 0), (5, 0)))
        runs = coco_mask.frPyObjects(mask_to_polygons(mask, left=5, top=4), 17, 22)
        assert np.array_equal(coco_mask.decode(coco_mask.merge(runs)), wide)
        for one in (mask, wide, ~wide):  # beginning with a set pixel and with an unset one
            assert np.array_equal(coco_mask.decode(coco_mask.frPyObjects(mask_to_rle(one), *one.shape)), one)


def test_empty_mask_has_no_polygon_and_one_run():
    empty = np.zeros((3, 4), bool)
    assert mask_to_polygons(empty) == []
    assert mask_to_rle(empty) == {"counts": [12], "size": [3, 4]}
