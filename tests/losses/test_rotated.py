"""Losses of rotated boxes by hand, by finite differences and at their limits."""

from __future__ import annotations

import math

import pytest
import torch

from rtmdet_lab.losses.rotated import rotated_overlap_loss

KINDS = ["rotated_iou", "probiou", "kld"]


def one(box, target, kind):
    box, target = (torch.tensor([values], dtype=torch.float64) for values in (box, target))
    return rotated_overlap_loss(box, target, torch.ones(1, dtype=torch.float64), kind).item()


def test_by_hand():
    assert one([0, 0, 4, 2, 0.3], [0, 0, 2, 1, 0.3], "rotated_iou") == pytest.approx(0.75)
    # Two boxes of w = h = sqrt(12), variance 1, one apart: D = 1 / 8.
    side = math.sqrt(12)
    assert one([0, 0, side, side, 0.4], [1, 0, side, side, 0.4], "probiou") == pytest.approx(math.sqrt(1 - math.exp(-1 / 8)))
    # Sides of 2 have variance 1: KL of two unit Gaussians one apart is 1 / 2.
    assert one([0, 0, 2, 2, 0.1], [1, 0, 2, 2, 0.1], "kld") == pytest.approx(1 - 1 / (1 + math.log(1.5)))


@pytest.mark.parametrize("kind", KINDS)
def test_zero_for_the_same_box_and_growing_with_the_distance(kind):
    losses = [one([shift, 0, 8, 3, 0.5], [0, 0, 8, 3, 0.5], kind) for shift in (0, 1, 2, 4)]
    assert losses[0] == pytest.approx(0, abs=1e-3)
    assert losses == sorted(losses)
    assert losses[-1] < 1
    assert one([0, 0, 8, 3, 0.8], [0, 0, 8, 3, 0.5], kind) > losses[0] + 0.01


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("box", "target"),
    [
        ([5, 5, 4, 2, 0.3], [5, 5, 4, 2, 0.3]),
        ([5, 5, 0, 0, 0], [5, 5, 4, 2, 0.3]),
        ([500, 5, 4, 2, 0], [5, 5, 4, 2, 0.3]),
        ([5, 5, 1e-3, 90, 0], [5, 5, 90, 1e-3, 0.3]),
        ([5, 5, -3, 2, 0], [5, 5, 4, 2, 0.3]),
    ],
)
def test_gradients_are_finite_everywhere(kind, box, target):
    box = torch.tensor([box], dtype=torch.float32, requires_grad=True)
    loss = rotated_overlap_loss(box, torch.tensor([target], dtype=torch.float32), torch.ones(1), kind)
    loss.backward()
    assert loss.isfinite()
    assert 0 <= loss.item() <= 1
    assert box.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_finite_differences(kind):
    generator = torch.Generator().manual_seed(7)
    size, least = torch.tensor([6, 6, 9, 5, 1.5]), torch.tensor([0, 0, 3, 2, -0.7])
    boxes, targets = (torch.rand(12, 5, generator=generator, dtype=torch.float64) * size + least for _ in range(2))
    weight = torch.rand(12, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: rotated_overlap_loss(x, targets, weight, kind), boxes.requires_grad_(), eps=1e-6, atol=1e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_weights_half_precision_and_no_boxes(kind):
    boxes, targets = torch.tensor([[0.0, 0, 4, 2, 0.1]] * 2), torch.tensor([[1.0, 0, 4, 2, 0.3]] * 2)
    plain = rotated_overlap_loss(boxes[:1], targets[:1], torch.ones(1), kind)
    weighted = rotated_overlap_loss(boxes, targets, torch.tensor([0.5, 0.0]), kind)
    assert weighted.item() == pytest.approx(plain.item() / 2)
    assert rotated_overlap_loss(boxes.bfloat16(), targets, torch.ones(2), kind).dtype == torch.float32
    assert rotated_overlap_loss(boxes[:0], targets[:0], torch.zeros(0), kind) == 0
