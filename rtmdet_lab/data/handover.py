"""How processes of one machine hand over what is large: in files without a name, which lie in memory or are gone at once.

PyTorch passes an open file for every tensor, and keeps them in ``/dev/shm``: a batch of 256 with its boxes and labels takes
more open files than Linux allows by default (1024), a batch of 64 more than the 64 MB that a container has there, and the
loader process which meets either limit says nothing. Here a batch is one file of memory outside ``/dev/shm``. The receiver
copies it out, so that tensors are its own, frees it, and keeps no file open. Whatever ends the processes, nothing stays.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
from collections import deque
from typing import Any

import torch
from torch import Tensor

Address = tuple[str, tuple[int, int]]  # an entry of /proc, and which file is to be found there
_BUFFER_BYTES = 1 << 20


def address_of(handle: int) -> Address:
    """Returns where other processes of this machine find an open file, while this one has it open."""
    return f"/proc/{os.getpid()}/fd/{handle}", _identity(handle)


def open_address(address: Address) -> int:
    """Returns a handle of another process's file, to read and write.

    Raises:
        OSError: it is gone, or is another one by now.
    """
    path, identity = address
    handle = os.open(path, os.O_RDWR)
    # Process numbers are given again, and machines may share a name: another file must not be written into.
    if _identity(handle) != identity:
        os.close(handle)
        raise OSError(None, "its file is gone")
    return handle


def _identity(handle: int) -> tuple[int, int]:
    status = os.fstat(handle)
    return status.st_dev, status.st_ino


class Outbox:
    """What a process has handed over lately.

    Args:
        kept: parcels that may be under way at once; older ones have been received, and their files are closed.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._handles: deque[int] = deque()

    def send(self, content: Any) -> Parcel:
        """Returns a parcel with ``content``; pickled, it is the content itself in the process that unpickles it.

        Raises:
            OSError: no open file, or no memory, is left.
        """
        buffers: list[pickle.PickleBuffer] = []
        stream = io.BytesIO()
        _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(content)
        views = [buffer.raw() for buffer in buffers]
        head = pickle.dumps(([view.nbytes for view in views], stream.getvalue()))
        handle = os.memfd_create("batch")
        self._handles.append(handle)
        while len(self._handles) > self._kept:
            os.close(self._handles.popleft())
        with open(handle, "wb", buffering=_BUFFER_BYTES, closefd=False) as file:
            file.write(head)
            file.writelines(views)
        return Parcel(address_of(handle), len(head))


class Parcel:
    """A message of a few bytes, so that it is written whole or not at all, however its writer ends."""

    def __init__(self, address: Address, head_bytes: int) -> None:
        self.address, self.head_bytes = address, head_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return receive, (self.address, self.head_bytes)


class Lost:
    """What arrives of a parcel whose content cannot be had. An exception would end the thread that pins memory."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def receive(address: Address, head_bytes: int) -> Any:
    """Returns the content of a parcel in memory of this process, and frees its file; Lost where that cannot be done."""
    try:
        handle = open_address(address)
    except OSError as error:
        return Lost(error.strerror)
    try:
        with open(handle, "rb", buffering=_BUFFER_BYTES, closefd=False) as file:
            sizes, content = pickle.loads(file.read(head_bytes))
            buffers = [torch.empty(size, dtype=torch.uint8).numpy() for size in sizes]
            for buffer in buffers:
                file.readinto(buffer)
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)  # its sender has it open for a while
    finally:
        os.close(handle)
    return pickle.loads(content, buffers=buffers)


class _Pickler(pickle.Pickler):
    """Pickles tensors as arrays, whose bytes stay where they are until they are written."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor:
            return NotImplemented
        if not value.numel():
            return _empty, (tuple(value.shape), value.dtype)
        # In the order in which the numbers lie in memory: images lie row by row with the channels together.
        order = sorted(range(value.ndim), key=lambda axis: -value.stride(axis))
        array = value.detach().permute(order).contiguous().numpy()
        return _to_tensor, (array, [order.index(axis) for axis in range(value.ndim)])


def _to_tensor(array: Any, order: list[int]) -> Tensor:
    return torch.from_numpy(array).permute(order)


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype)
