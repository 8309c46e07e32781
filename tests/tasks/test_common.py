"""What the tasks share: labels and boxes of matched points, the normaliser, candidates for NMS, the way back."""

from __future__ import annotations

import math

import pytest
import torch
from made_matches import objects
from torch.testing import assert_close

from rtmdet_lab.config.presets import resolve_test
from rtmdet_lab.config.settings import LossConfig, TestConfig
from rtmdet_lab.core.structures import Assignment, ImageMeta, Targets
from rtmdet_lab.tasks import common
from rtmdet_lab.tasks.common import (
    box_weights,
    gather_objects,
    loss_normaliser,
    matched_labels,
    select_candidates,
    to_original,
)

ASSIGNMENT = Assignment(torch.tensor([[1, -1, 0], [-1, -1, 0]]), torch.tensor([[0.5, 0.0, 0.25], [0.0, 0.0, 0.75]]))
TARGETS = [objects([[0, 0, 1, 1], [2, 2, 3, 3]], [4, 0]), objects([[5, 5, 6, 6]], [3])]


def resolved(**settings) -> TestConfig:
    """Returns test settings with the published values of detection where none are given."""
    return resolve_test(TestConfig(**settings), "detection")


def test_points_learn_the_class_of_their_object_and_minus_one_is_background():
    assert matched_labels(ASSIGNMENT, TARGETS).tolist() == [[0, -1, 4], [-1, -1, 3]]


def test_points_get_the_row_of_their_object():
    rows = gather_objects(ASSIGNMENT, [one.boxes for one in TARGETS])
    assert rows.shape == (2, 3, 4)
    assert rows[ASSIGNMENT.positive].tolist() == [[2, 2, 3, 3], [0, 0, 1, 1], [5, 5, 6, 6]]


def test_batch_without_objects_has_background_labels_and_rows_of_zeros():
    assignment = Assignment(torch.full((2, 3), -1), torch.zeros(2, 3))
    empty = [Targets.empty(), Targets.empty()]
    assert matched_labels(assignment, empty).tolist() == [[-1] * 3] * 2
    assert_close(gather_objects(assignment, [one.boxes for one in empty]), torch.zeros(2, 3, 4))


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.5), (4.0, 6.0), (0.1, 1.0), (0.0, 1.0)])
def test_normaliser_is_the_sum_of_matched_overlaps_but_at_least_one(factor, expected):
    assert loss_normaliser(Assignment(ASSIGNMENT.gt_index, ASSIGNMENT.quality * factor)).item() == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "expected"), [(4.0, 3.0), (1.0, 1.0)])
def test_normaliser_is_averaged_over_processes_before_the_limit(factor, expected, monkeypatch):
    monkeypatch.setattr(common, "mean_over_processes", lambda value: value / 2)  # the other process matched nothing
    assert loss_normaliser(Assignment(ASSIGNMENT.gt_index, ASSIGNMENT.quality * factor)).item() == pytest.approx(expected)


def test_box_weights_are_the_overlaps_or_one_for_each_positive():
    assert_close(box_weights(ASSIGNMENT, LossConfig()), ASSIGNMENT.quality)
    without = box_weights(ASSIGNMENT, LossConfig(quality_weighting=False))
    assert without.tolist() == [[1, 0, 1], [0, 0, 1]]


def logits_of(scores) -> torch.Tensor:
    return torch.logit(torch.tensor(scores, dtype=torch.float64)).float()


def test_candidates_are_points_and_classes_strictly_above_the_threshold():
    logits = logits_of([[0.9, 0.2], [0.5, 0.6], [0.1, 0.3]])
    points, labels, scores = select_candidates(logits, [2, 1], resolved(score_threshold=0.5))
    assert list(zip(points.tolist(), labels.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert_close(scores, torch.tensor([0.9, 0.6]))


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_each_level_keeps_its_best_candidates(most):
    generator = torch.Generator().manual_seed(most)
    logits, sizes = torch.randn(10, 3, generator=generator), [6, 3, 1]
    config = resolved(score_threshold=0.4, max_per_level=most)
    points, labels, scores = select_candidates(logits, sizes, config)
    expected, start = [], 0
    for size in sizes:
        level = [(1 / (1 + math.exp(-logits[p, c].item())), p, c) for p in range(start, start + size) for c in range(3)]
        expected += sorted((one for one in level if one[0] > 0.4), reverse=True)[:most]
        start += size
    found = zip(scores.tolist(), points.tolist(), labels.tolist(), strict=True)
    assert sorted((p, c) for _, p, c in found) == sorted((p, c) for _, p, c in expected)
    assert_close(scores.sort().values, torch.tensor(sorted(one[0] for one in expected)))


def test_boxes_go_back_by_offset_then_by_a_scale_of_each_axis():
    meta = ImageMeta(scale=(0.5, 0.25), offset=(10.0, 20.0), canvas_size=(320, 640))
    boxes = torch.tensor([[10.0, 20, 110, 70], [60, 45, 110, 95]])
    assert to_original(boxes, meta).tolist() == [[0, 0, 200, 200], [100, 100, 200, 300]]


def test_boxes_are_clipped_to_the_canvas_before_they_go_back():
    meta = ImageMeta(original_size=(30, 40), scale=(2.0, 1.0), canvas_size=(50, 100))
    # The canvas is larger than the image by its padding: only the canvas clips.
    assert to_original(torch.tensor([[-9.0, -9, 300, 300]]), meta).tolist() == [[0, 0, 50, 50]]


def test_boxes_of_an_image_without_canvas_stay_as_they_are():
    boxes = torch.tensor([[-9.0, -9, 300, 300]])
    assert_close(to_original(boxes, ImageMeta()), boxes)


@pytest.mark.parametrize("seed", range(3))
def test_going_back_undoes_the_way_onto_the_canvas(seed):
    generator = torch.Generator().manual_seed(seed)
    scale, offset = (torch.rand(2, generator=generator) + 0.5).tolist(), (torch.rand(2, generator=generator) * 30).tolist()
    original = torch.rand(20, 4, generator=generator) * 100
    canvas = original * torch.tensor(scale * 2) + torch.tensor(offset * 2)
    meta = ImageMeta(scale=tuple(scale), offset=tuple(offset), canvas_size=(400, 300))
    assert_close(to_original(canvas, meta), original, rtol=1e-5, atol=1e-4)
