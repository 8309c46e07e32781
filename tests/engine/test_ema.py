"""Averaged weights against a slow loop (paper.md 4.6)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rtmdet_lab.engine.ema import ModelEMA, ema_momentum


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)
        self.same = self.conv  # shared, as in the head
        self.register_buffer("table", torch.zeros(2))

    def change(self, number: int) -> None:
        with torch.no_grad():
            for tensor in (*self.parameters(), self.norm.running_mean, self.norm.running_var, self.table):
                tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number + tensor.numel())))
            self.norm.num_batches_tracked += 1


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.9998 * math.exp(-1 / 2000) + 0.0002),
        (1999, 0.9998 * math.exp(-1) + 0.0002),  # 0.368
        (19_999, 0.9998 * math.exp(-10) + 0.0002),
        (10**6, 0.0002),
    ],
)
def test_momentum_by_hand(step, expected):
    assert ema_momentum(step) == pytest.approx(expected, rel=1e-12)


def test_first_update_copies():
    model = Net()
    ema = ModelEMA(model)
    model.change(1)
    ema.update(model)
    for key, value in model.state_dict().items():
        assert torch.equal(ema.model.state_dict()[key], value), key


def test_average_is_that_of_a_slow_loop():
    model = Net()
    ema = ModelEMA(model, momentum=0.01, gamma=3)
    average = None
    for step in range(12):
        model.change(step)
        ema.update(model)
        current = {key: value.double() for key, value in model.state_dict().items() if value.is_floating_point()}
        if average is None:
            average = current
        else:
            weight = (1 - 0.01) * math.exp(-(1 + step) / 3) + 0.01
            average = {key: (1 - weight) * average[key] + weight * current[key] for key in average}
    for key, value in average.items():
        assert_close(ema.model.state_dict()[key].double(), value, rtol=1e-5, atol=1e-6)
    assert ema.steps == 12


def test_counters_are_copied_and_running_statistics_averaged():
    model = Net()
    ema = ModelEMA(model, momentum=0.5, gamma=1)
    for step in range(3):
        model.change(step)
        ema.update(model)
    assert ema.model.norm.num_batches_tracked == 3
    assert not torch.equal(ema.model.norm.running_mean, model.norm.running_mean)
    assert not torch.equal(ema.model.table, model.table)


def test_shared_weights_stay_shared_and_move_once():
    model = Net()
    ema = ModelEMA(model, momentum=0.25, gamma=1)
    assert ema.model.same is ema.model.conv
    for step in range(2):
        model.change(step)
        ema.update(model)
    first = Net()
    first.change(0)
    weight = 0.75 * math.exp(-2) + 0.25
    expected = (1 - weight) * first.conv.weight + weight * model.conv.weight
    assert_close(ema.model.conv.weight, expected.detach(), rtol=1e-5, atol=1e-6)


def test_average_has_no_gradient_no_training_mode_and_is_a_copy():
    model = Net().train()
    ema = ModelEMA(model)
    assert not ema.model.training
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())
    assert model.training
    model.change(1)
    assert not torch.equal(ema.model.conv.weight, model.conv.weight)


def test_state_goes_there_and_back():
    model = Net()
    ema = ModelEMA(model, gamma=5)
    for step in range(4):
        model.change(step)
        ema.update(model)
    other = ModelEMA(Net(), gamma=5)
    other.load_state_dict(ema.state_dict())
    model.change(9)
    ema.update(model)
    other.update(model)
    for key, value in ema.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[key], value), key
