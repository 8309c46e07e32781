"""The few questions a training asks about other processes; all of them have an answer in a single process.

The processes are those of ``torchrun``: its environment variables say who is who.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import os
import pickle
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from rtmdet_lab.core.errors import StorageError

Result = TypeVar("Result")

STORE_FOLDER = "RTMDET_LAB_STORE_FOLDER"  # where the processes of one machine meet; without it as torchrun says
SECRET = "RTMDET_LAB_SECRET"  # signs what processes pickle for each other


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
    # Every life of the processes gets names of its own: PyTorch 2.14 would find the addresses of those that were killed.
    life = f"life {os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    store: dist.Store
    if folder := os.environ.get(STORE_FOLDER):
        number, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store = dist.FileStore(str(Path(folder) / life), size)
    else:
        store, number, size = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(life, store)
    # Small questions (does anybody want to stop?) go through the CPU, so that they never wait for a GPU.
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backends, store=store, rank=number, world_size=size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def one_machine_environment(folder: Path) -> dict[str, str]:
    """Returns the environment variables with which processes of this machine answer nobody else.

    They meet in files of ``folder``, which nobody else may enter, where ``torchrun`` by itself opens a port on all addresses
    and unpickles what comes in. Gloo and NCCL, which know no passwords, listen on the loopback device alone, and what is
    unpickled must be signed with a secret of this run.
    """
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")
    return {
        STORE_FOLDER: str(folder),
        SECRET: secrets.token_hex(32),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # torchrun's store for others to use: a port on all addresses
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "NCCL_RAS_ENABLE": "0",  # a port that tells of the run's health
    }


def gather_objects(value: Any) -> list[Any]:
    """Returns the ``value`` of every process, in their order.

    Objects travel pickled and signed with the secret that the processes of one machine share, so that whoever else reaches
    their sockets has nothing unpickled. Processes that were started by ``torchrun`` have what ``RTMDET_LAB_SECRET`` holds.

    Raises:
        StorageError: a signature is not that of the secret.
    """
    if world_size() == 1:
        return [value]
    sent = torch.frombuffer(bytearray(sign(pickle.dumps(value))), dtype=torch.uint8)
    lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor([len(sent)]))
    longest = int(torch.stack(lengths).max())
    padded = torch.zeros(longest, dtype=torch.uint8)
    padded[: len(sent)] = sent
    received = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(received, padded)
    signed = [part[: int(length)].numpy().tobytes() for part, length in zip(received, lengths, strict=True)]
    return [pickle.loads(checked(part)) for part in signed]


def sign(data: bytes) -> bytes:
    """Returns ``data`` behind its signature of 32 bytes, made with the secret of this run."""
    return hmac.digest(os.environ.get(SECRET, "").encode(), data, hashlib.sha256) + data


def checked(signed: bytes) -> bytes:
    """Returns what was signed by a process that knows the secret of this run.

    Raises:
        StorageError: another secret, or none.
    """
    data = signed[32:]
    if not hmac.compare_digest(sign(data), signed):
        raise StorageError(
            f"another process sent what is not signed with this run's secret: give all machines of a run the same {SECRET}"
        )
    return data


def one_per_machine(make: Callable[[], Result]) -> Result:
    """Returns what ``make`` returns in the first process of this machine, unpickled in its others."""
    if world_size() == 1:
        return make()
    made = make() if local_rank() == 0 else None
    here = os.environ.get("GROUP_RANK", os.uname().nodename)  # torchrun's number of the machine
    # As bytes: only on its own machine can it be unpickled.
    told = gather_objects((here, None if made is None else pickle.dumps(made)))
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
    unsynchronised: dict[str, Any] = {name: False}
    return DistributedDataParallel(model, devices, gradient_as_bucket_view=True, **unsynchronised)


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
