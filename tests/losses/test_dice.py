"""Dice loss by hand and at its limits."""

from __future__ import annotations

import pytest
import torch

from rtmdet_lab.losses.dice import dice_loss


def test_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0]])  # one half everywhere
    masks = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    # 2 * (0.5 + 0.5) / (4 * 0.25 + 2) = 2 / 3
    assert dice_loss(logits, masks).item() == pytest.approx(1 / 3, abs=1e-4)


@pytest.mark.parametrize(("logit", "expected"), [(50.0, 0.0), (-50.0, 1.0)])
def test_right_and_wrong_masks_are_the_ends_of_the_range(logit, expected):
    assert dice_loss(torch.full((1, 3, 3), logit), torch.ones(1, 3, 3, dtype=torch.bool)).item() == pytest.approx(
        expected, abs=1e-5
    )


def test_empty_masks_and_no_masks_are_finite():
    logits = torch.full((1, 4), -200.0, requires_grad=True)
    loss = dice_loss(logits, torch.zeros(1, 4))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logits.grad.isfinite().all()
    assert dice_loss(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2)).shape == (0,)


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(1)
    masks = torch.rand(2, 5) > 0.5
    logits = torch.randn(2, 5, requires_grad=True)
    dice_loss(logits, masks).sum().backward()
    step = 1e-2
    for index in [(0, 0), (1, 3)]:
        shifted = [logits.detach().clone() for _ in range(2)]
        shifted[0][index] += step
        shifted[1][index] -= step
        up, down = (dice_loss(one, masks).sum() for one in shifted)
        assert logits.grad[index].item() == pytest.approx(((up - down) / (2 * step)).item(), abs=1e-3)
