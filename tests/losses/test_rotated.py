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


def matrices(box, divisor):
    x, y, w, h, angle = box.double()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return torch.stack([x, y]), turn @ torch.diag(torch.stack([w, h]) ** 2 / divisor) @ turn.T


def slow_loss(box, target, kind):
    """The papers' formulas in matrices and double precision."""
    (m1, s1), (m2, s2) = (matrices(one, 12 if kind == "probiou" else 4) for one in (box, target))
    d = m1 - m2
    if kind == "probiou":
        s = (s1 + s2) / 2
        distance = d @ s.inverse() @ d / 8 + (s.det() / (s1.det() * s2.det()).sqrt()).log() / 2
        return math.sqrt(-math.expm1(-distance))
    divergence = (d @ s2.inverse() @ d + (s2.inverse() @ s1).trace() + (s2.det() / s1.det()).log()) / 2 - 1
    return 1 - 1 / (1 + math.log1p(divergence))


@pytest.mark.parametrize("kind", ["probiou", "kld"])
@pytest.mark.parametrize("seed", range(3))
def test_distances_of_gaussians_equal_the_formulas_in_matrices(kind, seed):
    generator = torch.Generator().manual_seed(seed)
    size, least = torch.tensor([20, 20, 40, 40, 7.0]), torch.tensor([500, 500, 1, 1, -3.5])
    boxes, targets = torch.rand(2, 40, 5, generator=generator) * size + least
    expected = [slow_loss(box, target, kind) for box, target in zip(boxes, targets, strict=True)]
    found = [rotated_overlap_loss(boxes[[i]], targets[[i]], torch.ones(1), kind).item() for i in range(40)]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(100, 1e-3), (1000, 1), (5, 4), (7, 7)])
def test_float32_loses_nothing_on_identical_boxes_however_thin(kind, sides):
    box = torch.tensor([[700, 300, *sides, 0.785]], requires_grad=True)
    loss = rotated_overlap_loss(box, box.detach().clone(), torch.ones(1), kind)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=2e-6)
    assert box.grad.abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["probiou", "kld"])
def test_float32_equals_double_precision_on_thin_boxes(kind):
    boxes, targets = torch.tensor([[100, 100, 1000, 1, 0.6]]), torch.tensor([[101, 100.5, 1000, 2, 0.601]])
    found, exact = (
        rotated_overlap_loss(boxes.to(dtype), targets.to(dtype), torch.ones(1, dtype=dtype), kind).item()
        for dtype in (torch.float32, torch.float64)
    )
    assert found == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e30])
def test_boxes_of_weight_zero_give_neither_loss_nor_gradient_whatever_they_are(kind, value):
    boxes = torch.tensor([[value] * 5, [1, 2, 5, 4, 0.5]], requires_grad=True)
    targets, weight = torch.tensor([[1.0, 1, 3, 2, 0.1]] * 2), torch.tensor([0.0, 1.0])
    loss = rotated_overlap_loss(boxes, targets, weight, kind)
    loss.backward()
    assert loss.item() == pytest.approx(rotated_overlap_loss(boxes[1:], targets[1:], weight[1:], kind).item())
    assert not boxes.grad[0].any()
    assert boxes.grad[1].any()


@pytest.mark.parametrize("kind", ["probiou", "kld"])
def test_gaussians_pull_boxes_together_that_do_not_meet(kind):
    box, target = torch.tensor([[14.0, 4, 6, 8, -0.4]], requires_grad=True), torch.tensor([[0.0, 0, 12, 4, 0.5]])
    optimizer = torch.optim.Adam([box], lr=0.3)
    for _ in range(300):
        optimizer.zero_grad()
        loss = rotated_overlap_loss(box, target, torch.ones(1), kind)
        loss.backward()
        optimizer.step()
    assert rotated_overlap_loss(torch.tensor([[14.0, 4, 6, 8, -0.4]]), target, torch.ones(1)) == 1
    assert loss < 0.1
    assert rotated_overlap_loss(box, target, torch.ones(1)) < 0.1


def test_unknown_loss_is_named():
    with pytest.raises(ValueError, match="rotated_iou, probiou or kld, not 'giou'"):
        rotated_overlap_loss(torch.zeros(1, 5), torch.zeros(1, 5), torch.ones(1), "giou")


@pytest.mark.parametrize("kind", KINDS)
def test_zero_for_the_same_box_and_growing_with_the_distance(kind):
    losses = [one([shift, 0, 8, 3, 0.5], [0, 0, 8, 3, 0.5], kind) for shift in (0, 1, 2, 4)]
    assert losses[0] == pytest.approx(0, abs=2e-6)
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
