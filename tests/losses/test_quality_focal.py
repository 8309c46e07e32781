"""Classification losses: by hand, against finite differences and torchvision, and where they could break."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

from rtmdet_lab.losses.quality_focal import one_hot_quality, quality_focal_loss, sigmoid_focal_loss

HALF, THREE_QUARTERS = 0.0, math.log(3)  # logits whose sigmoids these are


def case(seed: int, *shape: int, num_classes: int = 4, dtype=torch.float64):
    """Returns logits, labels (a third background) and qualities."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, num_classes, generator=generator, dtype=dtype) * 3
    labels = torch.randint(-2, num_classes, shape, generator=generator).clamp(min=-1)
    quality = torch.rand(shape, generator=generator, dtype=dtype).where(labels >= 0, torch.zeros((), dtype=dtype))
    return logits, labels, quality


@pytest.mark.parametrize(
    ("label", "quality", "beta", "expected"),
    [
        (0, 0.7, 2.0, 0.2**2 * math.log(2) + 0.75**2 * math.log(4)),
        (0, 0.7, 1.0, 0.2 * math.log(2) + 0.75 * math.log(4)),
        (0, 0.7, 0.0, math.log(2) + math.log(4)),
        (0, 0.5, 2.0, 0.75**2 * math.log(4)),  # p = y: the factor is zero
        (1, 1.0, 2.0, 0.5**2 * math.log(2) + 0.25**2 * math.log(4 / 3)),
        (1, 0.0, 2.0, 0.5**2 * math.log(2) + 0.75**2 * math.log(4)),  # a match without overlap teaches like background
        (-1, 0.0, 2.0, 0.5**2 * math.log(2) + 0.75**2 * math.log(4)),
    ],
)
def test_quality_focal_loss_by_hand(label, quality, beta, expected):
    logits = torch.tensor([[HALF, THREE_QUARTERS]])
    loss = quality_focal_loss(logits, torch.tensor([label]), torch.tensor([quality]), beta)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_quality_focal_loss_equals_the_formula_in_loops(seed):
    logits, labels, quality = case(seed, 2, 7)
    total = 0.0
    for image in range(2):
        for point in range(7):
            for number, z in enumerate(logits[image, point].tolist()):
                p, y = 1 / (1 + math.exp(-z)), quality[image, point].item() if number == labels[image, point] else 0.0
                total -= (y - p) ** 2 * (y * math.log(p) + (1 - y) * math.log(1 - p))
    assert quality_focal_loss(logits, labels, quality).item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("beta", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_quality_focal_gradient_is_that_of_finite_differences(beta):
    logits, labels, quality = case(3, 6)
    assert torch.autograd.gradcheck(lambda z: quality_focal_loss(z, labels, quality, beta), logits.requires_grad_())


def test_focal_gradient_is_that_of_finite_differences():
    logits, labels, _ = case(4, 6)
    assert torch.autograd.gradcheck(lambda z: sigmoid_focal_loss(z, labels), logits.requires_grad_())


@pytest.mark.parametrize("quality", [0.1, 0.5, 0.9])
def test_quality_focal_loss_is_smallest_where_the_score_is_the_quality(quality):
    target = math.log(quality / (1 - quality))

    def loss(logit):
        return quality_focal_loss(torch.tensor([[logit]]), torch.tensor([0]), torch.tensor([quality])).item()

    assert loss(target) == pytest.approx(0, abs=1e-9)
    assert loss(target) < loss(target + 0.3) < loss(target + 1)
    assert loss(target) < loss(target - 0.3) < loss(target - 1)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.5, 0.0), (0.75, 1.0)])
def test_focal_loss_equals_torchvision(alpha, gamma):
    logits, labels, _ = case(5, 2, 9)
    target = F.one_hot(labels.clamp(min=0), 4) * (labels >= 0)[..., None]
    expected = torchvision_focal_loss(logits, target.double(), alpha, gamma, reduction="sum")
    assert_close(sigmoid_focal_loss(logits, labels, alpha, gamma), expected)


def both_losses(logits, labels, quality):
    return {"quality": quality_focal_loss(logits, labels, quality), "hard": sigmoid_focal_loss(logits, labels)}


@pytest.mark.parametrize("name", ["quality", "hard"])
@pytest.mark.parametrize("logit", [-1e4, -90.0, 0.0, 90.0, 1e4])
def test_extreme_logits_have_finite_loss_and_gradient(name, logit):
    logits = torch.full((5, 1), logit, requires_grad=True)
    labels, quality = torch.tensor([0, 0, 0, 0, -1]), torch.tensor([1.0, 0.0, 0.5, 1e-7, 0.0])
    loss = both_losses(logits, labels, quality)[name]
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["quality", "hard"])
@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_points_lose_nothing_and_keep_the_gradient_alive(name, shape):
    logits = torch.zeros(*shape, 3, requires_grad=True)
    loss = both_losses(logits, torch.zeros(shape, dtype=torch.int64), torch.zeros(shape))[name]
    loss.backward()
    assert loss == 0
    assert logits.grad.shape == (*shape, 3)


def test_targets_of_background_points_are_zero_whatever_their_quality():
    target = one_hot_quality(torch.tensor([1, -1, 0]), torch.tensor([0.3, 0.9, 0.0]), 2)
    assert_close(target, torch.tensor([[0.0, 0.3], [0, 0], [0, 0]]))


def test_loss_of_a_batch_is_the_sum_over_its_images():
    logits, labels, quality = case(6, 3, 5)
    parts = sum(quality_focal_loss(*one) for one in zip(logits, labels, quality, strict=True))
    assert_close(quality_focal_loss(logits, labels, quality), parts)
