"""Outlines: moved, mirrored, cut, against masks that are treated the same way."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdet_lab.geometry.masks import fill_polygons
from rtmdet_lab.geometry.outlines import Outlines


def star(rng, center, radius, corners=9):
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.4, 1.0, corners) * radius
    return np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None] + center


def filled(parts, size):
    return fill_polygons([part.ravel().tolist() for part in parts], size)


@pytest.fixture
def shapes():
    return Outlines.from_coco([[[0, 0, 4, 0, 4, 2]], [[1, 1, 3, 1, 3, 3, 1, 3], [5, 5, 6, 5, 6, 6]]])


def test_moving_mirroring_and_choosing_by_hand(shapes):
    assert shapes.boxes().tolist() == [[0, 0, 4, 2], [1, 1, 6, 6]]
    assert shapes.moved((2.0, 0.5), (1.0, -1.0)).boxes().tolist() == [[1, -1, 9, 0], [3, -0.5, 13, 2]]
    assert shapes.mirrored(10).boxes().tolist() == [[6, 0, 10, 2], [4, 1, 9, 6]]
    assert shapes.select([False, True]).boxes().tolist() == [[1, 1, 6, 6]]
    assert len(shapes.joined([shapes, Outlines([])])) == 4
    assert shapes.boxes().tolist() == [[0, 0, 4, 2], [1, 1, 6, 6]], "nothing changes in place"


@pytest.mark.parametrize("seed", range(20))
def test_cutting_is_what_cropping_the_mask_is(seed):
    rng = np.random.default_rng(seed)
    shape = star(rng, rng.uniform(0, 64, 2), rng.uniform(10, 60))
    left, top, side = 64, 64, 64
    whole = filled([shape + np.array([left, top])], (192, 192))[top : top + side, left : left + side]
    cut = Outlines([[shape]]).clipped(side, side)
    found = filled(cut.objects[0], (side, side))
    # Rounding moves a pixel here and there along the cut and along the outline.
    assert (found != whole).sum() <= 0.02 * whole.sum() + 12
    if whole.sum() > 20:
        rows, columns = np.nonzero(whole)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(cut.boxes()[0] - expected).max() <= 2


def test_outside_is_nothing_and_inside_is_untouched(shapes):
    outside = shapes.moved((1.0, 1.0), (100.0, 0.0)).clipped(50, 50)
    assert outside.objects == [[], []]
    assert outside.boxes().tolist() == [[0, 0, 0, 0]] * 2
    kept = shapes.clipped(50, 50)
    assert all(a is b for one, other in zip(kept, shapes, strict=True) for a, b in zip(one, other, strict=True))
    assert shapes.clipped(50, 5).boxes().tolist() == [[0, 0, 4, 2], [1, 1, 3, 3]], "the second part is cut away"
