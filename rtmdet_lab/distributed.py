"""The few questions a training step asks about other processes; all of them have an answer in a single process."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """Returns the mean of a scalar over all processes (the loss normalisers are averaged so, paper.md 3.4)."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world_size()
