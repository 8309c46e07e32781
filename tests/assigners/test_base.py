"""Ground truth as one batch, and what happens to points that several objects want."""

from __future__ import annotations

import pytest
import torch
from made_matches import made_batch, objects, predicted

from rtmdet_lab.assigners.base import BoxGeometry, match_inputs, pad_targets, resolve_conflicts, with_quality
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.geometry.box_kind import kind_of

CPU = torch.device("cpu")


def test_padding_keeps_every_object_in_its_row_and_marks_the_rest():
    ignore = torch.tensor([False, True])
    targets = [objects([[0, 0, 4, 2], [1, 1, 3, 9]], [5, 6], ignore=ignore), Targets.empty(), objects([[2, 2, 4, 4]], [7])]
    padded = pad_targets(targets, BoxGeometry(), CPU)
    assert padded.boxes.tolist() == [[[0, 0, 4, 2], [1, 1, 3, 9]], [[0] * 4, [0] * 4], [[2, 2, 4, 4], [0] * 4]]
    assert padded.labels.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert padded.centers[:, 0].tolist() == [[2, 1], [0, 0], [3, 3]]
    assert padded.valid.tolist() == [[True, False], [False, False], [True, False]]


@pytest.mark.parametrize("box_size", [4, 5])
def test_padding_a_batch_without_objects_leaves_one_row(box_size):
    geometry = BoxGeometry(centers=lambda targets: kind_of(targets.boxes).centers(targets.boxes))
    padded = pad_targets([Targets.empty(box_size)] * 3, geometry, CPU, box_size)
    assert padded.boxes.shape == (3, 1, box_size)
    assert not padded.valid.any()


def test_match_inputs_are_detached_float32_and_hold_no_point_inside_padding_or_ignored_objects():
    predictions, targets = made_batch(5)
    logits, boxes = predictions.logits.half().requires_grad_(), predictions.boxes.double().requires_grad_()
    inputs = match_inputs(type(predictions)(logits, boxes, predictions.priors), targets, BoxGeometry())
    for values in (inputs.logits, inputs.boxes, inputs.iou):
        assert values.dtype == torch.float32
        assert not values.requires_grad
    assert inputs.inside.any()
    assert not inputs.inside[~inputs.targets.valid].any()


def test_points_on_the_edge_of_an_object_are_not_inside():
    predictions = predicted([[0.0]] * 3, [[0, 0, 8, 8]] * 3, [(0, 4), (4, 4), (8, 4)])
    inputs = match_inputs(predictions, [objects([[0, 0, 8, 8]])], BoxGeometry())
    assert inputs.inside.tolist() == [[[False, True, False]]]


def test_a_wanted_point_goes_to_the_cheapest_object_even_one_that_did_not_ask():
    # points: nobody, object 1 alone though 0 is cheaper, 0 and 1 where 1 is cheaper, 0 and 1 where 2 is cheapest
    points = torch.tensor([[[3, 2, 0], [1, 2, 3], [0, 1, 2]]])
    taken = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 0, 0]]], dtype=torch.bool)
    cost = torch.tensor([[[1.0, 1.0, 5.0, 5.0], [2.0, 9.0, 4.0, 4.0], [3.0, 9.0, 9.0, 3.0]]])
    assert resolve_conflicts(points, taken, cost).tolist() == [[-1, 1, 1, 2]]


def test_quality_is_the_overlap_of_the_chosen_object_and_zero_for_background():
    iou = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]])
    assignment = with_quality(torch.tensor([[1, -1, 0]]), iou)
    assert torch.equal(assignment.quality, torch.tensor([[0.4, 0.0, 0.3]]))
    assert assignment.positive.tolist() == [[True, False, True]]
