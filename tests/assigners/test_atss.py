"""ATSS against an oracle of plain loops, and one case worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from made_matches import assert_equals_oracle, assert_same_assignment, made_batch, objects, predicted
from slow_assigners import slow_atss
from torch.testing import assert_close

from rtmdet_lab.assigners.atss import ATSSAssigner, anchor_squares
from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.core.structures import DensePredictions, Targets
from rtmdet_lab.geometry.rotated import points_in_rboxes, rotated_iou


@pytest.mark.parametrize(("topk", "seeds"), [(9, 200), (1, 30), (3, 30), (1000, 30)])
def test_assigner_equals_a_slow_oracle_on_random_batches(topk, seeds):
    compared, close = assert_equals_oracle(ATSSAssigner(topk), lambda image: slow_atss(image, topk), range(seeds))
    assert close < 0.03 * compared


def test_threshold_by_hand():
    # Squares of 64 pixels around (32, 32), (48, 32), (64, 32) overlap the object 0 0 64 64 by 1, 48/80, 32/96: mean 0.644,
    # deviation 0.336, threshold 0.98. The second point is inside the object, but below the threshold.
    predictions = predicted([[0.0]] * 3, [[0, 0, 64, 32]] * 3, [(32, 32), (48, 32), (64, 32)])
    assignment = ATSSAssigner()(predictions, [objects([[0, 0, 64, 64]])])
    assert assignment.gt_index.tolist() == [[0, -1, -1]]
    assert_close(assignment.quality, torch.tensor([[0.5, 0, 0]]))  # of the predicted box, not of the square


def test_point_wanted_by_two_objects_goes_to_the_one_its_square_overlaps_more():
    predictions = predicted([[0.0]], [[0, 0, 64, 64]], [(32, 32)])
    assert ATSSAssigner()(predictions, [objects([[0, 0, 64, 50], [0, 0, 64, 60]])]).gt_index.tolist() == [[1]]


def test_selection_does_not_depend_on_what_is_predicted():
    predictions, targets = made_batch(4)
    other = DensePredictions(-predictions.logits, predictions.boxes.flip(1), predictions.priors)
    first, second = ATSSAssigner()(predictions, targets), ATSSAssigner()(other, targets)
    assert first.positive.any()
    assert torch.equal(first.gt_index, second.gt_index)
    assert not torch.equal(first.quality, second.quality)


@pytest.mark.parametrize("seed", range(4, 9))
def test_images_do_not_see_each_other_nor_their_padding(seed):
    predictions, targets = made_batch(seed)
    together = ATSSAssigner()(predictions, targets)
    for number, target in enumerate(targets):
        assert_same_assignment(together[number], ATSSAssigner()(predictions[number], [target]))


def test_batch_without_objects_is_background_and_keeps_no_gradient():
    predictions, _ = made_batch(1)
    learning = DensePredictions(predictions.logits, predictions.boxes.requires_grad_(), predictions.priors)
    assignment = ATSSAssigner()(learning, [Targets.empty()] * len(predictions))
    assert not assignment.positive.any()
    assert not assignment.quality.requires_grad


def test_rotated_objects_have_the_overlap_of_their_turned_box():
    # A square of 64 pixels and the same one turned by 45 degrees share an octagon of 8 (sqrt 2 - 1) 32^2: IoU 0.71. The
    # squares around the points above and below, which lie inside the object, too, overlap it less: under the threshold.
    points, box = [(32, 32), (32, 0), (32, 64)], [32, 32, 64, 64, math.pi / 4]
    predictions = predicted([[0.0]] * 3, [box] * 3, points)
    truth = Targets(torch.tensor([box]), torch.tensor([0]))
    octagon = 8 * (math.sqrt(2) - 1) * 32**2
    first = rotated_iou(anchor_squares(predictions.priors, 5)[:1], truth.boxes)
    assert_close(first, torch.tensor([[octagon / (2 * 64**2 - octagon)]]))
    assert points_in_rboxes(predictions.priors.points, truth.boxes).all()
    geometry = BoxGeometry(iou=rotated_iou, inside=points_in_rboxes, centers=lambda targets: targets.boxes[:, :2])
    assignment = ATSSAssigner(geometry=geometry)(predictions, [truth])
    assert assignment.gt_index.tolist() == [[0, -1, -1]]
    assert_close(assignment.quality, torch.tensor([[1.0, 0, 0]]))
