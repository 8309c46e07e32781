"""Exponential moving average of the weights, with a momentum that starts high (paper.md 4.6)."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


def ema_momentum(step: int, momentum: float = 0.0002, gamma: int = 2000) -> float:
    """Returns the weight of the new parameters at update ``step``: near 1 at first, ``momentum`` in the end.

    >>> round(ema_momentum(0), 4), round(ema_momentum(10**6), 4)
    (0.9995, 0.0002)
    """
    return (1 - momentum) * math.exp(-(1 + step) / gamma) + momentum


class ModelEMA:
    """A copy of a model whose weights and buffers follow it slowly. The first update copies."""

    def __init__(self, model: nn.Module, momentum: float = 0.0002, gamma: int = 2000) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.momentum = momentum
        self.gamma = gamma
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards ``model`` by this step's momentum; counters are copied."""
        ours, theirs = _tensors(self.model), _tensors(model)
        averages, values = [], []
        for average, value in zip(ours, theirs, strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value.detach())
            else:
                average.copy_(value)
        weight = 1.0 if self.steps == 0 else ema_momentum(self.steps, self.momentum, self.gamma)
        torch._foreach_lerp_(averages, values, weight)
        self.steps += 1

    def state_dict(self) -> dict:
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]


def _tensors(model: nn.Module) -> list[Tensor]:
    # parameters() and buffers() visit a tensor that is shared by several modules once, in the same order on both sides.
    return [*model.parameters(), *model.buffers()]
