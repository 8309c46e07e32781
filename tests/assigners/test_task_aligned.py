"""TOOD's assigner against an oracle of plain loops, and cases worked out by hand."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from made_matches import assert_equals_oracle, assert_same_assignment, made_batch, objects, predicted
from slow_assigners import slow_task_aligned
from torch.testing import assert_close

from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.task_aligned import TaskAlignedAssigner
from rtmdet_lab.core.structures import DensePredictions, Targets
from rtmdet_lab.geometry.rotated import points_in_rboxes, rotated_iou

OBJECT = [0, 0, 100, 100]


@pytest.mark.lengthy
@pytest.mark.parametrize(("topk", "seeds"), [(13, 200), (1, 30), (4, 30), (1000, 30)])
def test_assigner_equals_a_slow_oracle_on_random_batches(topk, seeds):
    # The sixth power of an overlap has six times its rounding error.
    oracle = partial(slow_task_aligned, topk=topk)
    compared, close = assert_equals_oracle(TaskAlignedAssigner(topk), oracle, range(seeds), atol=1e-5)
    assert close < 0.2 * compared


def test_alignment_and_quality_by_hand():
    # Scores 1/2 and 1/4 (logits 0 and -ln 3), IoU 0.8 and 0.9: alignments 0.131072 and 0.13286025. The second is the best
    # aligned and takes the object's highest IoU, 0.9; the first 0.9 * 0.131072 / 0.13286025 = 0.8878862.
    logits = [[0.0], [-math.log(3)], [5.0]]
    boxes = [[0, 0, 100, 80], [0, 0, 100, 90], [0, 0, 100, 10]]
    found = TaskAlignedAssigner(topk=2)(predicted(logits, boxes, [(10, 10), (20, 20), (30, 30)]), [objects([OBJECT])])
    assert found.gt_index.tolist() == [[0, 0, -1]]
    assert_close(found.quality, torch.tensor([[0.8878862, 0.9, 0.0]]), rtol=0, atol=2e-6)


def test_overlap_counts_far_more_than_the_score():
    logits, boxes = [[math.log(9)], [-math.log(3)]], [[0, 0, 100, 70], [0, 0, 100, 90]]  # 0.9 * 0.118 < 0.25 * 0.531
    found = TaskAlignedAssigner(topk=1)(predicted(logits, boxes, [(10, 10), (20, 20)]), [objects([OBJECT])])
    assert found.gt_index.tolist() == [[-1, 0]]


def test_score_is_that_of_the_class_of_the_object():
    logits = [[4.0, -4.0], [-4.0, 4.0]]
    predictions = predicted(logits, [OBJECT, OBJECT], [(10, 10), (20, 20)])
    for label, point in ((0, 0), (1, 1)):
        found = TaskAlignedAssigner(topk=1)(predictions, [objects([OBJECT], [label])])
        assert found.gt_index[0].nonzero().flatten().tolist() == [1 - point]
        assert found.gt_index[0, point] == 0


def test_best_points_outside_the_object_are_dropped_and_not_replaced():
    predictions = predicted([[0.0]] * 2, [OBJECT, [0, 0, 100, 50]], [(150, 50), (50, 50)])
    assert TaskAlignedAssigner(topk=1)(predictions, [objects([OBJECT])]).gt_index.tolist() == [[-1, -1]]
    assert TaskAlignedAssigner(topk=2)(predictions, [objects([OBJECT])]).gt_index.tolist() == [[-1, 0]]


def test_point_claimed_twice_goes_to_the_object_it_overlaps_most():
    # It aligns better with object 0 (score 0.98), but overlaps object 1 more.
    predictions = predicted([[4.0, -4.0]], [[0, 0, 100, 90]], [(50, 50)])
    pair = objects([OBJECT, [0, 0, 100, 92]], [0, 1])
    found = TaskAlignedAssigner()(predictions, [pair])
    assert found.gt_index.tolist() == [[1]]
    # Alone with object 1, its alignment is the strongest: 1 / (1 + eps / alignment) of its overlap.
    aligned = torch.sigmoid(torch.tensor(-4.0)) * (90 / 92) ** 6
    assert_close(found.quality, (aligned / (aligned + 1e-7) * 90 / 92).reshape(1, 1))


def test_point_that_overlaps_nothing_learns_nothing():
    predictions = predicted([[9.0]], [[200, 200, 210, 210]], [(50, 50)])
    found = TaskAlignedAssigner()(predictions, [objects([OBJECT])])
    assert not found.positive.any()
    assert found.quality.tolist() == [[0.0]]


def test_hardly_fitting_object_asks_for_low_scores():
    """While an object's strongest alignment is below the released epsilon, its quality stays below its overlap."""
    predictions = predicted([[0.0]], [[0, 0, 100, 5]], [(50, 50)])  # 0.5 * 0.05^6 = 7.8e-9
    aligned = 0.5 * 0.05**6
    found = TaskAlignedAssigner()(predictions, [objects([OBJECT])])
    assert_close(found.quality, torch.tensor([[aligned / (aligned + 1e-7) * 0.05]]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("seed", range(8))
def test_best_aligned_point_has_the_highest_overlap_of_its_object_as_quality(seed):
    predictions, targets = made_batch(seed)
    assignment = TaskAlignedAssigner()(predictions, targets)
    for image, one in enumerate(targets):
        for number in assignment.gt_index[image].unique().tolist():
            if number < 0:
                continue
            mine = assignment.gt_index[image] == number
            overlaps = BoxGeometry().iou(one.boxes[number : number + 1], predictions.boxes[image, mine])[0]
            scores = predictions.logits[image, mine, one.labels[number]].sigmoid()
            best = (scores * overlaps**6).max()
            assert_close(assignment.quality[image, mine].max(), best / (best + 1e-7) * overlaps.max())
            assert assignment.quality[image, mine].argmax() == (scores * overlaps**6).argmax()


@pytest.mark.parametrize("seed", range(4, 9))
def test_images_do_not_see_each_other_nor_their_padding(seed):
    predictions, targets = made_batch(seed)
    together = TaskAlignedAssigner()(predictions, targets)
    for number, target in enumerate(targets):
        assert_same_assignment(together[number], TaskAlignedAssigner()(predictions[number], [target]))


def test_batch_without_objects_is_background_and_keeps_no_gradient():
    predictions, _ = made_batch(1)
    learning = DensePredictions(predictions.logits.requires_grad_(), predictions.boxes.requires_grad_(), predictions.priors)
    assignment = TaskAlignedAssigner()(learning, [Targets.empty()] * len(predictions))
    assert not assignment.positive.any()
    assert not assignment.quality.requires_grad


def test_rotated_objects_have_the_overlap_of_their_turned_box():
    # A square of 64 pixels and the same one turned by 45 degrees share an octagon of 8 (sqrt 2 - 1) 32^2. Of the points,
    # (32, 70) is inside the turned square alone, (60, 60) inside the upright one alone.
    turned, upright = [32, 32, 64, 64, math.pi / 4], [32, 32, 64, 64, 0]
    predictions = predicted([[0.0]] * 3, [turned, upright, turned], [(32, 32), (32, 70), (60, 60)])
    geometry = BoxGeometry(iou=rotated_iou, inside=points_in_rboxes, centers=lambda targets: targets.boxes[:, :2])
    found = TaskAlignedAssigner(geometry=geometry)(predictions, [Targets(torch.tensor([turned]), torch.tensor([0]))])
    octagon = 8 * (math.sqrt(2) - 1) * 32**2
    overlap = octagon / (2 * 64**2 - octagon)
    assert found.gt_index.tolist() == [[0, 0, -1]]
    assert_close(found.quality, torch.tensor([[1.0, overlap**6, 0.0]]), rtol=1e-4, atol=1e-5)
