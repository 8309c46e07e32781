"""Outlines: moved, mirrored, cut, against masks that are treated the same way."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdet_lab.geometry.masks import fill_polygons
from rtmdet_lab.geometry.polygons import Outlines


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
    found = filled(next(iter(cut)), (side, side))
    # Rounding moves a pixel here and there along the cut and along the outline.
    assert (found != whole).sum() <= 0.02 * whole.sum() + 12
    if whole.sum() > 20:
        rows, columns = np.nonzero(whole)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(cut.boxes()[0] - expected).max() <= 2


def test_outside_is_nothing_and_inside_is_untouched(shapes):
    outside = shapes.moved((1.0, 1.0), (100.0, 0.0)).clipped(50, 50)
    assert list(outside) == [[], []]
    assert outside.boxes().tolist() == [[0, 0, 0, 0]] * 2
    assert shapes.clipped(50, 50) is shapes
    assert shapes.clipped(50, 5).boxes().tolist() == [[0, 0, 4, 2], [1, 1, 3, 3]], "the second part is cut away"


def test_flags_for_other_objects_are_refused(shapes):
    with pytest.raises(ValueError, match="3 flags for 2 objects"):
        shapes.select([True, False, True])


def test_objects_without_parts_keep_their_place():
    shapes = Outlines([[], [np.array([[0.0, 0], [4, 0], [4, 2]])], [], [np.array([[6.0, 6], [9, 6], [9, 9]])]])
    assert [len(parts) for parts in shapes] == [0, 1, 0, 1]
    assert shapes.boxes().tolist() == [[0, 0, 0, 0], [0, 0, 4, 2], [0, 0, 0, 0], [6, 6, 9, 9]]
    assert [len(parts) for parts in shapes.clipped(5, 5)] == [0, 1, 0, 0]
    chosen = shapes.select([True, False, False, True])
    assert [len(parts) for parts in chosen] == [0, 1]
    assert chosen.boxes().tolist() == [[0, 0, 0, 0], [6, 6, 9, 9]]
    twice = chosen.joined([shapes, chosen])
    assert [len(parts) for parts in twice] == [0, 1, 0, 1, 0, 1, 0, 1]
    assert twice.boxes().tolist() == [*chosen.boxes().tolist(), *shapes.boxes().tolist(), *chosen.boxes().tolist()]


@pytest.mark.parametrize("objects", [[], [[]], [[], []]])
def test_nothing_stays_nothing(objects):
    shapes = Outlines(objects)
    for same in (shapes.moved((2.0, 2.0), (1.0, 1.0)), shapes.mirrored(9), shapes.clipped(5, 5), shapes.joined([])):
        assert list(same) == objects
        assert same.boxes().tolist() == [[0, 0, 0, 0]] * len(objects)
    assert list(shapes.select([False] * len(objects))) == []


@pytest.mark.parametrize("seed", range(20))
def test_many_parts_are_cut_as_each_is_alone(seed):
    rng = np.random.default_rng(seed)
    objects = [[star(rng, rng.uniform(-10, 40, 2), rng.uniform(2, 20)) for _ in range(rng.integers(4))] for _ in range(6)]
    together = list(Outlines(objects).clipped(30, 20))
    for parts, found in zip(objects, together, strict=True):
        alone = [one for part in parts for one in next(iter(Outlines([[part]]).clipped(30, 20)))]
        assert len(alone) == len(found)
        assert all(np.array_equal(one, other) for one, other in zip(alone, found, strict=True))
