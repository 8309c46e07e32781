"""Box losses: weights, finite differences and boxes without area. The overlaps themselves: tests/geometry/test_boxes.py."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from rtmdet_lab.losses.iou import overlap_loss

KINDS = ("iou", "giou", "diou", "ciou")
every_kind = pytest.mark.parametrize("kind", KINDS)


def random_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 50
    return torch.cat([corner, corner + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40 + 1], dim=-1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    # 4 of 28 pixels; hull 6 * 6; centers 2, 2 apart with a hull diagonal of 6, 6; both square
    [("iou", 24 / 28), ("giou", 24 / 28 + 8 / 36), ("diou", 24 / 28 + 8 / 72), ("ciou", 24 / 28 + 8 / 72)],
)
def test_loss_by_hand(kind, expected):
    boxes, targets = torch.tensor([[2.0, 2, 6, 6]]), torch.tensor([[0.0, 0, 4, 4]])
    assert overlap_loss(boxes, targets, torch.ones(1), kind).item() == pytest.approx(expected, rel=1e-6)


def test_loss_is_the_weighted_sum_with_giou_unless_another_is_named():
    boxes = torch.tensor([[[2.0, 2, 6, 6], [0, 0, 4, 4]], [[6, 0, 8, 4], [0, 0, 4, 2]]])
    targets = torch.tensor([0.0, 0, 4, 4]).expand(2, 2, 4)
    weight = torch.tensor([[0.5, 3.0], [0.1, 0.2]])
    each = torch.tensor([[24 / 28 + 8 / 36, 0.0], [1.25, 0.5]])
    assert_close(overlap_loss(boxes, targets, weight), (each * weight).sum())


@pytest.mark.parametrize("kind", ["iou", "giou", "diou"])
def test_gradient_is_that_of_finite_differences(kind):
    # not ciou: its aspect weight is held constant on purpose
    boxes, targets = random_boxes(12, seed=1).requires_grad_(), random_boxes(12, seed=2)
    weight = torch.linspace(0, 1, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda one: overlap_loss(one, targets, weight, kind), boxes)


@pytest.mark.parametrize("kind", ["giou", "diou", "ciou"])
def test_following_the_gradient_brings_distant_boxes_together(kind):
    box, target = torch.tensor([[50.0, 60, 90, 80]], requires_grad=True), torch.tensor([[0.0, 0, 20, 30]])
    optimizer = torch.optim.Adam([box], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        loss = overlap_loss(box, target, torch.ones(1), kind)
        loss.backward()
        optimizer.step()
    assert loss < 0.15


@every_kind
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e30])
def test_boxes_of_weight_zero_give_neither_loss_nor_gradient_whatever_they_are(kind, value):
    boxes = torch.tensor([[value] * 4, [0.0, value, 5, 5], [2, 2, 6, 6]], requires_grad=True)
    targets, weight = torch.tensor([0.0, 0, 4, 4]).expand(3, 4), torch.tensor([0.0, 0.0, 1.0])
    loss = overlap_loss(boxes, targets, weight, kind)
    loss.backward()
    assert_close(loss, overlap_loss(boxes[2:], targets[2:], weight[2:], kind))
    assert not boxes.grad[:2].any()
    assert boxes.grad[2].any()


@every_kind
def test_identical_boxes_lose_nothing_and_have_a_finite_gradient(kind):
    targets = random_boxes(20, seed=3).float()
    boxes = targets.clone().requires_grad_()
    loss = overlap_loss(boxes, targets, torch.ones(20), kind)
    loss.backward()
    assert_close(loss, torch.tensor(0.0), rtol=0, atol=1e-5)
    assert boxes.grad.isfinite().all()


@every_kind
@pytest.mark.parametrize("box", [[3, 3, 3, 3], [0, 3, 0, 9], [9, 9, 3, 3], [70, 70, 70, 70]])
@pytest.mark.parametrize("target", [[3, 3, 3, 3], [0, 0, 10, 10]])
def test_boxes_without_area_have_finite_loss_and_gradient(kind, box, target):
    boxes = torch.tensor([box], dtype=torch.float32, requires_grad=True)
    loss = overlap_loss(boxes, torch.tensor([target], dtype=torch.float32), torch.ones(1), kind)
    loss.backward()
    assert loss.isfinite()
    assert boxes.grad.isfinite().all()


@every_kind
def test_no_boxes_lose_nothing_and_keep_the_gradient_alive(kind):
    boxes = torch.zeros(2, 0, 4, requires_grad=True)
    loss = overlap_loss(boxes, torch.zeros(2, 0, 4), torch.zeros(2, 0), kind)
    loss.backward()
    assert loss == 0
    assert boxes.grad.shape == (2, 0, 4)
