"""Both kinds of boxes answer the same questions about the same rectangles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rtmdet_lab.geometry.box_kind import ROTATED, UPRIGHT, kind_of

BOXES = torch.tensor([[10.0, 20, 30, 60], [0, 0, 5, 2]])
# The same rectangles, not turned.
SAME = torch.tensor([[20.0, 40, 20, 40, 0], [2.5, 1, 5, 2, 0]])


def test_columns_tell_the_kind():
    assert kind_of(BOXES) is UPRIGHT
    assert kind_of(BOXES[0]) is UPRIGHT
    assert kind_of(np.zeros((0, 4))) is UPRIGHT
    assert kind_of(SAME) is ROTATED
    assert kind_of(torch.zeros(2, 0, 5)) is ROTATED


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 6\)"):
        kind_of(torch.zeros(3, 6))


def test_answers_are_those_of_the_same_rectangles():
    for ask in ("centers", "sides", "corners", "has_area"):
        assert_close(getattr(UPRIGHT, ask)(BOXES), getattr(ROTATED, ask)(SAME), msg=ask)
    assert_close(UPRIGHT.iou(BOXES, BOXES + 3), ROTATED.iou(SAME, ROTATED.shifted(SAME, (3, 3))))
    points = torch.tensor([[20.0, 40], [10, 20], [4, 1]])
    assert torch.equal(UPRIGHT.inside(points, BOXES), ROTATED.inside(points, SAME))
    assert UPRIGHT.sides(BOXES).tolist() == [[20, 40], [5, 2]]
    assert UPRIGHT.centers(BOXES).tolist() == [[20, 40], [2.5, 1]]


def test_moves_are_those_of_the_same_rectangles():
    size = (100, 80)
    for upright, rotated in (
        (UPRIGHT.scaled(BOXES, (0.5, 2.0)), ROTATED.scaled(SAME, (0.5, 2.0))),
        (UPRIGHT.shifted(BOXES, (-3.0, 4.0)), ROTATED.shifted(SAME, (-3.0, 4.0))),
        (UPRIGHT.mirrored(BOXES, size, True, False), ROTATED.mirrored(SAME, size, True, False)),
    ):
        assert_close(UPRIGHT.centers(upright), ROTATED.centers(rotated))
        assert_close(UPRIGHT.sides(upright), ROTATED.sides(rotated))


def test_upright_boxes_are_not_mirrored_top_to_bottom():
    with pytest.raises(ValueError, match="left to right"):
        UPRIGHT.mirrored(BOXES, (100, 80), False, True)
