"""Reads tensors out of PyTorch checkpoint files without running anything the file asks for.

A ``.pth`` file is a pickle, and a pickle may call any function by name. Published checkpoints also carry objects of the
library that wrote them. Here only tensors and plain containers are built (:mod:`rtmdet_lab.models.unpickling`); the data of
tensors are read by this module, from either layout of such files: the zip archive, and the stream that PyTorch before 1.6
wrote. PyTorch's own readers are not used: what they would run, and what they take memory for, is for the file to say.
"""

from __future__ import annotations

import io
import os
import stat
import sys
import tarfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from rtmdet_lab.models.strict_zip import StrictZip, UnreadableFile, fill
from rtmdet_lab.models.unpickling import Foreign, Storage, TensorUnpickler

__all__ = ["Foreign", "UnreadableFile", "read_tensors"]

_STREAM_MAGIC, _STREAM_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_tensors(path: Path, foreign: bool = True) -> Any:
    """Returns the content of a ``.pth`` file on the CPU: tensors, containers, text and numbers; the rest is inert.

    Takes the memory of the tensors that the file holds, and little more.

    Args:
        foreign: whether objects of other classes are passed over, as published files need; else they are refused.

    Raises:
        UnreadableFile: truncated, not a checkpoint, a compressed or script archive, or data that contradict themselves.
        OSError: the file cannot be read.
    """
    # Without waiting for whoever might write into a pipe.
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise UnreadableFile("is a device or pipe, not a file")
        if about.st_size == 0:
            raise UnreadableFile("is empty (0 bytes)")
        zipped = file.read(2) == b"PK"
        try:
            return (_read_zip if zipped else _read_stream)(file, about.st_size, foreign)
        except (UnreadableFile, OSError):
            raise
        except MemoryError as error:
            raise UnreadableFile("is damaged, or needs more memory than there is") from error
        except Exception as error:  # a damaged pickle may raise anything
            if not zipped and _is_tar(file):
                raise UnreadableFile("is a tar archive, not a checkpoint") from error
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UnreadableFile(f"is damaged or not a PyTorch checkpoint ({reason[:200]})") from error


def _read_zip(file: BinaryIO, size: int, foreign: bool) -> Any:
    archive = StrictZip(file, size)
    folders = {name.partition("/")[0] for name in archive.entries}
    if any(name.rpartition("/")[2] in ("constants.pkl", "constants.pkz") for name in archive.entries):
        raise UnreadableFile("is a TorchScript program, not a checkpoint")
    folder = folders.pop() if len(folders) == 1 else ""
    if f"{folder}/data.pkl" not in archive.entries:
        raise UnreadableFile("is damaged or not a PyTorch checkpoint (it has no data.pkl in its only folder)")
    if f"{folder}/byteorder" in archive.entries and archive.read(f"{folder}/byteorder") != sys.byteorder.encode():
        raise UnreadableFile("was written on a machine with another order of bytes: save it again on one like this")
    storages: dict[str, Storage] = {}

    def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
        if key not in storages:
            name = f"{folder}/data/{key}"
            held = archive.entries[name].size if name in archive.entries else -1
            if held != count * dtype.itemsize:
                raise UnreadableFile(f"is damaged: of {count} numbers in {name[:80]!r} it holds {max(held, 0)} bytes")
            storages[key] = Storage(torch.zeros(held, dtype=torch.uint8), dtype)
            archive.read_into(name, memoryview(storages[key].data.numpy()))
            _check_bools(storages[key])
        return _same(storages[key], dtype, count)

    content = archive.read(f"{folder}/data.pkl")
    return TensorUnpickler(io.BytesIO(content), len(content), storage, foreign).load()


def _read_stream(file: BinaryIO, size: int, foreign: bool) -> Any:
    """Reads the older layout: five pickles one after the other, then the data in the order of the last."""
    file.seek(0)
    storages: dict[str, Storage] = {}
    held = 0

    def storage(key: str, dtype: torch.dtype, count: int) -> Storage:
        nonlocal held
        if key not in storages:
            held += count * dtype.itemsize
            if held > size:
                raise UnreadableFile("is damaged: it declares more data than it holds")
            storages[key] = Storage(torch.zeros(count * dtype.itemsize, dtype=torch.uint8), dtype)
        return _same(storages[key], dtype, count)

    def load() -> Any:
        return TensorUnpickler(file, size - file.tell(), storage, foreign).load()

    if load() != _STREAM_MAGIC or load() != _STREAM_VERSION:
        raise UnreadableFile("is damaged or not a PyTorch checkpoint (it does not begin as one)")
    machine = load()
    if not isinstance(machine, dict) or machine.get("little_endian", True) is not True:
        raise UnreadableFile("was written on a machine with another order of bytes: save it again on one like this")
    content, keys = load(), load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise UnreadableFile("is damaged: it does not hold the data of all its tensors, or some twice")
    for key in keys:
        data, dtype = storages[key].data, storages[key].dtype
        count = int.from_bytes(file.read(8), "little")
        if count * dtype.itemsize != len(data):
            raise UnreadableFile(f"is damaged: it holds {count} numbers where it declares {len(data) // dtype.itemsize}")
        fill(file, memoryview(data.numpy()))
        _check_bools(storages[key])
    if file.read(1):
        raise UnreadableFile("is damaged: something stands behind its data")
    return content


def _same(storage: Storage, dtype: torch.dtype, count: int) -> Storage:
    if storage.dtype != dtype or len(storage.data) != count * dtype.itemsize:
        raise UnreadableFile("is damaged: two of its tensors share data of different types or sizes")
    return storage


def _check_bools(storage: Storage) -> None:
    if storage.dtype == torch.bool and len(storage.data) and int(storage.data.max()) > 1:
        raise UnreadableFile("is damaged: what is true or false in it is neither")


def _is_tar(file: BinaryIO) -> bool:
    file.seek(0)
    return tarfile.is_tarfile(file)
