"""Reads tensors out of PyTorch checkpoint files without running anything the file asks for.

A ``.pth`` file is a pickle, and a pickle may call any function by name. Published checkpoints also carry objects of the
library that wrote them. Here only tensors and plain containers are built; every other class or function the file names is
replaced by :class:`Foreign`, which accepts whatever is done to it and does nothing.

PyTorch's own ``weights_only`` loading refuses such files instead of reading past them, which is why this exists; storages
and the two file layouts (zip and the older stream) are still read by ``torch.load``.
"""

from __future__ import annotations

import functools
import pickle
import struct
import tarfile
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch


class UnreadableFile(ValueError):
    """The file is not a checkpoint that can be read safely; the message says why."""


class Foreign:
    """Stands for an object of a class that is not built: takes any construction and change, and does nothing."""

    dump_patches = False  # torch asks this of the classes of modules in old files

    def __new__(cls, *args: Any, **kwargs: Any) -> Foreign:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Foreign:
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_REPEATED = 1_000_000  # elements that a tensor may have beyond its data, by a stride of 0


class _Bytes:
    """Stands for the class of untyped storages: torch asks it for its type, and a file cannot make one of any size."""

    dtype = torch.uint8


def _rebuild_tensor(held: int, storage: Any, offset: int, size: tuple, stride: tuple, *_: Any) -> torch.Tensor:
    """Returns a tensor that lies inside its data, and repeats no more of them than is harmless.

    Args:
        held: bytes of the file; storages may be declared larger, and are then not filled.
    """
    if not all(type(one) is int for one in (offset, *size, *stride)):
        raise UnreadableFile("declares a tensor whose shape is no whole numbers")
    numel = 1
    for length in size:
        numel *= length
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if numel else 0
    untyped = storage._untyped_storage
    available = min(untyped.nbytes(), held) // storage.dtype.itemsize
    if min([0, offset, *size, *stride]) < 0 or (numel and last >= available) or numel > max(available, _REPEATED):
        raise UnreadableFile(f"declares a tensor of shape {tuple(size)} that its data does not hold")
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _rebuild_parameter(data: torch.Tensor, *_: Any) -> torch.Tensor:
    return data


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "UntypedStorage"): _Bytes(),
    ("torch.storage", "UntypedStorage"): _Bytes(),
}
_DTYPES = {name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype)}
_UNFOLDED = 20_000  # parts that a tuple may have inside of its tuples


def _nested(unpickler: _SafeUnpickler, load: Callable[[Any], None]) -> None:
    unpickler.load_nested(load)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, str, bytes))


class _SafeUnpickler(pickle._Unpickler):
    """The pickle module's own unpickler in Python: the one in C lets a damaged file size its memo (many gigabytes)."""

    dispatch: ClassVar = dict(pickle._Unpickler.dispatch)
    held: ClassVar[int] = 0  # bytes of the file

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.unfolded: dict[int, tuple[int, Any]] = {}  # id of a tuple -> how many parts it unfolds to, itself

    def load_build(self) -> None:
        # States of objects are dropped: none is needed here, and with one a file could change classes of torch, or resize
        # a tensor past the check above.
        self.stack.pop()

    dispatch[pickle.BUILD[0]] = load_build

    def load_nested(self, load: Callable[[pickle._Unpickler], None]) -> None:
        # A tuple of tuples of tuples may be small in the file and take for ever to hash: what it unfolds to is counted.
        load(self)
        made = self.stack[-1]
        parts = 1 + sum(self.unfolded.get(id(one), (1, None))[0] for one in made)
        if parts > _UNFOLDED + len(made):
            raise UnreadableFile("holds tuples that unfold without end")
        self.unfolded[id(made)] = parts, made  # kept, so that its id stays its own

    for _code in (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.FROZENSET):
        dispatch[_code[0]] = functools.partial(_nested, load=pickle._Unpickler.dispatch[_code[0]])

    def load_bytearray8(self) -> None:
        # The original takes the declared memory before it looks for the bytes.
        (length,) = struct.unpack("<Q", self.read(8))
        if length > self.held:
            raise UnreadableFile("declares more data than it holds")
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8

    def load_binpersid(self) -> None:
        # What torch does not understand it writes into its error: nested lists could unfold to any length there.
        for one in self.stack[-1] if isinstance(self.stack[-1], tuple) else self.stack[-1:]:
            if isinstance(one, (list, dict, set, frozenset)) or (isinstance(one, tuple) and not all(map(_is_plain, one))):
                raise UnreadableFile("names data in a way that no checkpoint does")
        super().load_binpersid()

    dispatch[pickle.BINPERSID[0]] = load_binpersid

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch._utils" and name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
            return functools.partial(_rebuild_tensor, self.held)
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        return Foreign  # storages with a type never come here: torch answers for their names itself


def _pickle_for(held: int) -> Any:
    """Returns the "module" that torch.load takes its unpickler from, for a file of ``held`` bytes; it uses two names."""
    unpickler = type("_Unpickler", (_SafeUnpickler,), {"held": held})

    def load(file: Any, **kwargs: Any) -> Any:
        return unpickler(file, **kwargs).load()

    return types.SimpleNamespace(Unpickler=unpickler, load=load, __name__="safe_pickle")


def read_tensors(path: Path) -> Any:
    """Returns the content of a ``.pth`` file on the CPU: tensors, containers, text and numbers; the rest is inert.

    Raises:
        UnreadableFile: truncated, not a checkpoint, a compressed or script archive, or data that contradicts itself.
    """
    _check_container(path)
    try:
        module = _pickle_for(path.stat().st_size)
        return torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise UnreadableFile("is damaged, or needs more memory than there is") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreadableFile(f"is damaged or not a PyTorch checkpoint ({reason[:200]})") from error


def _check_container(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise UnreadableFile("is empty (0 bytes)")
    entries = _zip_entries(path)
    if entries is not None:
        if any(Path(entry.filename).name == "constants.pkl" for entry in entries):
            raise UnreadableFile("is a TorchScript program, not a checkpoint")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise UnreadableFile("holds compressed entries, which no checkpoint has")
        if sum(entry.file_size for entry in entries) > size:
            raise UnreadableFile("declares more data than it holds")
        return
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        raise UnreadableFile(f"is truncated: its table of contents is missing after {size} bytes")
    if tarfile.is_tarfile(path):
        raise UnreadableFile("is a tar archive, not a checkpoint")


def _zip_entries(path: Path) -> list[zipfile.ZipInfo] | None:
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except OSError:
        raise
    except Exception as error:  # besides BadZipFile: names that do not decode, fields of the wrong length, versions
        raise UnreadableFile(f"is damaged ({error})") from error
