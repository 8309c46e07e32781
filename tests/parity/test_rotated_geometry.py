"""Overlaps, suppression and corners of rotated boxes against recorded values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtmdet_lab.geometry.rotated import quads_to_rboxes, rboxes_to_quads, rotated_iou, rotated_nms, to_le90

FIXTURE = Path(__file__).parents[1] / "fixtures" / "rotated_geometry_seed0.npz"


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.mark.parametrize("turn", [0.0, 0.7])
@pytest.mark.parametrize("swap", [False, True])
def test_overlaps_are_the_exact_ones(recorded, turn, swap):
    a, b = (recorded[name].float() for name in (("boxes_b", "boxes_a") if swap else ("boxes_a", "boxes_b")))
    if turn:
        a, b = (turned(boxes, turn) for boxes in (a, b))
    found = rotated_iou(a, b, aligned=True)
    assert (found - recorded["iou_aligned_exact_float64"]).abs().max() <= 1e-4


def turned(boxes, angle):
    x, y = (
        boxes[:, 0] * np.cos(angle) - boxes[:, 1] * np.sin(angle),
        boxes[:, 0] * np.sin(angle) + boxes[:, 1] * np.cos(angle),
    )
    return torch.stack([x, y, boxes[:, 2], boxes[:, 3], boxes[:, 4] + angle], dim=1)


def test_matrix_of_overlaps(recorded):
    found = rotated_iou(recorded["boxes_a"][:40].float(), recorded["boxes_b"][:40].float())
    assert (found - recorded["iou_matrix_40"]).abs().max() <= 1e-4


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_suppression_keeps_the_same_boxes_in_the_same_order(recorded, threshold):
    found = rotated_nms(recorded["nms_boxes"].float(), recorded["nms_scores"], recorded["nms_labels"], threshold)
    assert found.tolist() == recorded[f"nms_keep_{threshold:g}"].tolist()


def test_corners_become_the_published_boxes_and_come_back(recorded):
    found = quads_to_rboxes(recorded["quads"])
    torch.testing.assert_close(found, recorded["quads_to_le90"], rtol=1e-5, atol=1e-3)
    again = quads_to_rboxes(rboxes_to_quads(found))
    assert rotated_iou(again, found, aligned=True).min() > 0.999
    assert rotated_iou(to_le90(found), found, aligned=True).min() > 0.9999
