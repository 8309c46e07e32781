"""The few questions a training asks about other processes; all of them have an answer in a single process.

The processes are those of ``torchrun``: its environment variables say who is who.
"""

from __future__ import annotations

import inspect
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

Result = TypeVar("Result")


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def local_rank() -> int:
    """Returns this process's number on its machine, which is the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", 0))


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that ``torchrun`` started, for as long as the context lasts; alone, nothing happens."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    store, number, size = next(dist.rendezvous("env://"))
    # Every life of the processes gets names of its own: PyTorch 2.14 would find the addresses of those that were killed.
    life = dist.PrefixStore(f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
    # Small questions (does anybody want to stop?) go through the CPU, so that they never wait for a GPU.
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, store=life, rank=number, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def one_per_machine(make: Callable[[], Result]) -> Result:
    """Returns what ``make`` returns in the first process of this machine, unpickled in its others."""
    if world_size() == 1:
        return make()
    made = make() if local_rank() == 0 else None
    told: list[tuple[str, bytes | None]] = [("", None)] * world_size()
    here = os.environ.get("GROUP_RANK", os.uname().nodename)  # torchrun's number of the machine
    # As bytes: only on its own machine can it be unpickled.
    dist.all_gather_object(told, (here, None if made is None else pickle.dumps(made)))
    if made is None:
        made = pickle.loads(next(one for machine, one in told if machine == here and one is not None))
    wait_for_all()  # the first one keeps it open until all have it
    return made


def wait_for_all() -> None:
    """Returns when every process has come here."""
    if world_size() > 1:
        max_over_processes(0)  # a barrier of its own would choose a GPU


def max_over_processes(value: int) -> int:
    """Returns the largest of the processes' values."""
    if world_size() == 1:
        return value
    values = torch.tensor(value)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return int(values)


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """Returns the mean of a tensor over all processes (the loss normalisers are averaged so, paper.md 3.4)."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world_size()


def sum_over_processes(value: Tensor) -> Tensor:
    """Returns the sum of a tensor over all processes; its gradient is the sum of theirs."""
    return _Sum.apply(value)


def share_gradients(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Returns the network whose gradients are the mean over all processes. Norm statistics are synchronised already."""
    devices = [device] if device.type == "cuda" else None
    known = inspect.signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # renamed in PyTorch 2.14
    return DistributedDataParallel(model, devices, gradient_as_bucket_view=True, **{name: False})


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: object, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient
