"""Pairs of detections, and what is said of them."""

from __future__ import annotations

import math

import pytest
import torch

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.export.compare import compare, match_same


def made(boxes, scores=None, labels=None, masks=None) -> Detections:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(len(boxes), -1)
    scores = torch.ones(len(boxes)) if scores is None else torch.tensor(scores)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Detections(boxes, scores, labels, masks=masks)


def test_the_order_of_detections_does_not_matter():
    one = made([[0, 0, 10, 10], [50, 50, 60, 70]], [0.9, 0.8])
    other = made([[50, 50, 60, 70.5], [0.25, 0, 10, 10]], [0.81, 0.9])
    first, second = match_same(one, other)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 1), (1, 0)]
    difference = compare([one], [other])
    assert (difference.matched, difference.boxes_px, difference.masks_equal) == (2, 0.5, None)
    assert difference.scores == pytest.approx(0.01)


def test_another_class_or_another_place_is_another_object():
    one = made([[0, 0, 10, 10], [50, 50, 60, 70]], labels=[0, 1])
    other = made([[0, 0, 10, 10], [56, 50, 66, 70], [0, 0, 10, 10]], labels=[1, 1, 2])
    difference = compare([one], [other])
    assert (difference.matched, difference.detections, difference.exported) == (0, 2, 3)
    assert "0 detections in common, 2 of PyTorch and 3 of the export" in str(difference)


def test_boxes_of_negative_sides_are_the_same_where_they_lie_in_the_same_place():
    difference = compare([made([[10, 10, 5, 40], [10, 10, 5, 43]])], [made([[10, 10.25, 5, 43], [10, 10, 5, 40]])])
    assert (difference.matched, difference.boxes_px) == (2, 0.25)


def test_masks_count_by_their_pixels_in_the_worst_image():
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    touched = mask.clone()
    touched[0, 3, 3:5] = True
    boxes = [[0, 0, 5, 5]]
    result = compare([made(boxes, masks=mask)] * 2, [made(boxes, masks=mask), made(boxes, masks=touched)])
    assert result.masks_equal == pytest.approx(0.98)
    assert "98.000 %" in str(result)


def test_rotated_boxes_are_compared_by_corners():
    half = math.pi / 2
    one, other = made([[50, 40, 30, 10, half - 1e-4]]), made([[50, 40, 30, 10, -half]])
    difference = compare([one], [other])
    assert difference.matched == 1
    assert 0 < difference.boxes_px < 0.01


@pytest.mark.parametrize("width", [4, 5])
def test_images_without_detections(width):
    empty = Detections(torch.zeros(0, width), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    difference = compare([empty], [empty])
    assert (difference.images, difference.matched, difference.boxes_px) == (1, 0, None)
    assert "0 detections in common, 0 of PyTorch and 0 of the export: nothing says whether they agree" in str(difference)


def test_masks_of_nothing_are_not_equal():
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 8, 8).bool())
    one = made([[0, 0, 4, 4]], masks=[torch.ones(8, 8).bool()])
    for reference, other in ((none, none), (none, one), (one, none)):
        difference = compare([reference], [other])
        assert (difference.boxes_px, difference.scores, difference.masks_equal) == (None, None, None)
        assert "%" not in str(difference)
