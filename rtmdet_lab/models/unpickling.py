"""An unpickler that builds tensors, plain containers, text and numbers, and runs nothing that a pickle asks for.

A pickle is a program of small steps that may call any function by name. Here the few functions that checkpoints call for
their tensors are answered by ours; every other class or function is :class:`Foreign`, which does nothing. Steps that could
make much of little (copies of what was built, nested tuples as keys, sizes that are only declared) are counted or refused.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar

import torch
from torch import Tensor

from rtmdet_lab.models.strict_zip import UnreadableFile

MOST_STEPS = 2_000_000  # of one pickle; the published files take a hundredth
_MOST_REPEATED = 1_000_000  # elements that a tensor may have beyond its data, by a stride of 0
_MOST_ODD_KEYS = 5_000  # keys of mappings that are no names: a file could choose them to have one hash
_MOST_PARTS = 1_000  # of such a key
_MOST_DIMENSIONS = 64
_LONG = 1 << 60  # smaller numbers are their own hash


class Foreign:
    """Stands for an object of a class, or a function, that is not built."""

    __slots__ = ()


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """The data of tensors: its bytes, (N,) uint8, and the type of its elements."""

    data: Tensor
    dtype: torch.dtype


@dataclass(frozen=True, eq=False, slots=True)
class _StorageType:
    """The class of a storage, by which a file tells the type of its elements."""

    dtype: torch.dtype


@dataclass(frozen=True, eq=False, slots=True)
class _Function:
    """A function that files may call, answered by ours."""

    answer: Callable[..., Any]


_STORAGE_TYPES = {
    "UntypedStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_QUANTIZED = ("QInt8Storage", "QUInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage")
_REFUSED = {
    **dict.fromkeys(("_rebuild_qtensor", *_QUANTIZED), "a quantized tensor"),
    **dict.fromkeys(("_rebuild_sparse_tensor", "_rebuild_sparse_csr_tensor"), "a sparse tensor"),
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without data",
}
_DTYPES = {
    name for name in dir(torch) if isinstance(getattr(torch, name), torch.dtype) and not name.startswith(("q", "bits"))
}
FindStorage = Callable[[str, torch.dtype, int], Storage]  # of a key; type and number of its elements


class _Reader:
    """An open file from where it stands; a length that it only declares takes no memory."""

    def __init__(self, file: BinaryIO, left: int) -> None:
        self.file, self.left = file, left

    def read(self, count: int) -> bytes:
        if count > self.left:
            raise UnreadableFile("is damaged: it declares more data than it holds")
        self.left -= count
        return self.file.read(count)

    def readline(self) -> bytes:
        line = self.file.readline(self.left)
        self.left -= len(line)
        return line


class TensorUnpickler(pickle._Unpickler):
    """The steps of the pickle module's unpickler in Python, those that could do harm replaced or left out.

    The one in C would let a damaged file size its memo (many gigabytes).
    """

    dispatch: ClassVar[dict[int, Any]] = {}  # a step that is not here is refused

    def __init__(self, file: BinaryIO, size: int, storage: FindStorage, foreign: bool = True) -> None:
        """Prepares to read one pickle.

        Args:
            file: stands where the pickle begins and is left where it ends.
            size: bytes from there to the end of the file.
            storage: returns the data a tensor names.
            foreign: whether other classes and functions are passed over; else they are refused.
        """
        super().__init__(file, encoding="utf-8")
        reader = _Reader(file, size)
        self.read, self.readline = reader.read, reader.readline
        self.find_storage, self.foreign = storage, foreign
        self.stack: list[Any] = []
        self.append, self.metastack = self.stack.append, []
        self.odd_keys = self.copied = 0

    def load(self) -> Any:
        """Returns what the pickle holds.

        Raises:
            UnreadableFile: asks for what no checkpoint does, or without end. Damage may raise anything.
        """
        try:
            for _ in range(MOST_STEPS):
                (code,) = self.read(1)
                if code not in self.dispatch:
                    raise UnreadableFile(f"is damaged or not a PyTorch checkpoint (step {code:#x} in its pickle)")
                self.dispatch[code](self)
        except pickle._Stop as stop:
            return stop.value
        raise UnreadableFile(f"takes more than {MOST_STEPS} steps to read, which no checkpoint does")

    def find_class(self, module: str, name: str) -> Any:
        if module == "collections" and name == "OrderedDict":
            return _Function(self._ordered)
        if module == "torch" and name == "Size":
            return _Function(_size)
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGE_TYPES:
            return _StorageType(_STORAGE_TYPES[name])
        if module.partition(".")[0] == "torch" and name in _REFUSED:
            raise UnreadableFile(f"holds {_REFUSED[name]}, which no RTMDet has: save it as an ordinary tensor")
        if module == "torch._utils" and name in _REBUILD:
            return _REBUILD[name]
        if module == "torch._tensor" and name == "_rebuild_from_type_v2":
            return _Function(self._from_type)
        if not self.foreign:
            raise UnreadableFile(f"names {f'{module}.{name}'[:100]!r}, which no file of this kind does")
        return Foreign()

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) in (5, 6) and pid[0] == "storage":
            _, kind, key, _, count, *view = pid
            plain = isinstance(kind, _StorageType) and isinstance(key, str) and type(count) is int and count >= 0
            if plain and view in ([], [None]):
                return self.find_storage(key, kind.dtype, count)
        elif isinstance(pid, tuple) and len(pid) == 4 and pid[0] == "module":
            return pid[1]
        raise UnreadableFile("is damaged: it names data in a way that no checkpoint does")

    def call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Foreign):
            return function
        if isinstance(function, _Function) and isinstance(arguments, tuple) and len(arguments) <= 16:
            return function.answer(*arguments)
        raise UnreadableFile("is damaged: it calls what cannot be called")

    def put(self, mapping: Any, items: Sequence[Any]) -> None:
        """Adds keys and values, in turns, to a mapping."""
        if isinstance(mapping, Foreign):
            return
        if not isinstance(mapping, dict) or len(items) % 2:
            raise UnreadableFile("is damaged: it adds to what is no mapping")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.check_key(key)
            mapping[key] = value

    def check_key(self, key: Any) -> None:
        if isinstance(key, (str, bytes, Foreign)) or (isinstance(key, int) and -_LONG < key < _LONG):
            return
        self.odd_keys += 1
        if self.odd_keys > _MOST_ODD_KEYS:
            raise UnreadableFile(f"has more than {_MOST_ODD_KEYS} keys that are no names")
        # A tuple of tuples of tuples may be small in the file and take for ever to hash.
        parts, waiting = 0, [key]
        while waiting:
            part = waiting.pop()
            parts += len(part) if isinstance(part, tuple) else 1
            if parts > _MOST_PARTS or (isinstance(part, int) and not -_LONG < part < _LONG):
                raise UnreadableFile("has keys without end, which no checkpoint has")
            waiting += part if isinstance(part, tuple) else ()

    def extend(self, target: Any, items: Sequence[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Foreign):
            raise UnreadableFile("is damaged: it adds to what is no list")

    def _ordered(self, pairs: Any = ()) -> OrderedDict:
        made: OrderedDict = OrderedDict()
        if not isinstance(pairs, (list, tuple)):
            raise UnreadableFile("is damaged: it makes a mapping of what is none")
        self.copied += len(pairs)
        if self.copied > MOST_STEPS:
            raise UnreadableFile("copies without end what it holds")
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise UnreadableFile("is damaged: it makes a mapping of what is none")
            self.put(made, pair)
        return made

    def _from_type(self, function: Any, kind: Any, arguments: Any, state: Any) -> Any:
        return self.call(function, arguments)  # a tensor of a class of its own is read as a tensor


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Tensor:
    return _tensor(storage, None, offset, size, stride, more[2] if len(more) > 2 else None)


def _rebuild_typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, metadata: Any = None
) -> Tensor:
    if not isinstance(dtype, torch.dtype) or dtype == torch.bool:
        raise UnreadableFile("is damaged: it declares a tensor of no type")
    return _tensor(storage, dtype, offset, size, stride, metadata)


def _tensor(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any, metadata: Any) -> Tensor:
    """Returns a tensor that lies inside its data, and repeats no more of them than is harmless."""
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise UnreadableFile("is damaged: it declares a tensor without data or shape")
    dtype = storage.dtype if dtype is None else dtype
    numbers = (offset, *size, *stride)
    if not all(type(number) is int for number in numbers):
        raise UnreadableFile("declares a tensor whose shape is no whole numbers")
    if metadata:
        raise UnreadableFile("holds a tensor that is to be negated or conjugated when it is used: save it as it is")
    if len(size) > _MOST_DIMENSIONS or len(size) != len(stride) or not all(0 <= number < 1 << 48 for number in numbers):
        raise UnreadableFile(f"declares a tensor of shape {size[:8]} that its data does not hold")
    numel = 1
    for length in size:
        numel *= length
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if numel else offset - 1
    available = storage.data.numel() // dtype.itemsize
    if last >= available or numel > max(available, _MOST_REPEATED):
        raise UnreadableFile(f"declares a tensor of shape {size} that its data does not hold")
    return torch.empty(0, dtype=dtype).set_(storage.data.untyped_storage(), offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _size(values: Any) -> torch.Size:
    if (
        not isinstance(values, (list, tuple))
        or len(values) > _MOST_DIMENSIONS
        or not all(type(one) is int for one in values)
    ):
        raise UnreadableFile("declares a shape that is no whole numbers")
    return torch.Size(values)


_REBUILD = {
    "_rebuild_tensor": _Function(_rebuild_tensor),
    "_rebuild_tensor_v2": _Function(_rebuild_tensor),
    "_rebuild_tensor_v3": _Function(_rebuild_typed_tensor),
    "_rebuild_parameter": _Function(_rebuild_parameter),
    "_rebuild_parameter_with_state": _Function(_rebuild_parameter),
}


# The steps. Those of numbers, text, marks and the memo are the pickle module's own.
_TAKEN_OVER = """
    MARK STOP POP POP_MARK DUP NONE NEWFALSE NEWTRUE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE EMPTY_LIST LIST EMPTY_DICT EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    PROTO GLOBAL STACK_GLOBAL BINPERSID
"""
_STEPS = TensorUnpickler.dispatch
_STEPS |= {code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in _TAKEN_OVER.split())}


def _step(*codes: bytes) -> Callable[[Callable], Callable]:
    def add(function: Callable) -> Callable:
        _STEPS.update(dict.fromkeys((code[0] for code in codes), function))
        return function

    return add


@_step(pickle.FRAME)
def _frame(own: TensorUnpickler) -> None:
    own.read(8)  # a hint of how much to read at once


@_step(pickle.BYTEARRAY8)
def _byte_array(own: TensorUnpickler) -> None:
    own.append(bytearray(own.read(int.from_bytes(own.read(8), "little"))))


@_step(pickle.EMPTY_SET)
def _empty_set(own: TensorUnpickler) -> None:
    own.append([])  # of the same use here, and cannot be slow to fill


@_step(pickle.FROZENSET)
def _frozen_set(own: TensorUnpickler) -> None:
    own.append(own.pop_mark())


@_step(pickle.APPEND)
def _append(own: TensorUnpickler) -> None:
    own.extend(own.stack[-2], [own.stack.pop()])


@_step(pickle.APPENDS, pickle.ADDITEMS)
def _appends(own: TensorUnpickler) -> None:
    items = own.pop_mark()
    own.extend(own.stack[-1], items)


@_step(pickle.SETITEM)
def _set_item(own: TensorUnpickler) -> None:
    value, key = own.stack.pop(), own.stack.pop()
    own.put(own.stack[-1], (key, value))


@_step(pickle.SETITEMS)
def _set_items(own: TensorUnpickler) -> None:
    items = own.pop_mark()
    own.put(own.stack[-1], items)


@_step(pickle.DICT)
def _mapping(own: TensorUnpickler) -> None:
    items: Any = own.pop_mark()
    own.append({})
    own.put(own.stack[-1], items)


@_step(pickle.BUILD)
def _build(own: TensorUnpickler) -> None:
    own.stack.pop()  # states of objects are dropped: none is needed here


@_step(pickle.REDUCE, pickle.NEWOBJ)
def _call(own: TensorUnpickler) -> None:
    arguments = own.stack.pop()
    own.stack[-1] = own.call(own.stack[-1], arguments)


@_step(pickle.NEWOBJ_EX)
def _new_object(own: TensorUnpickler) -> None:
    own.stack.pop()
    _call(own)


@_step(pickle.OBJ)
def _object(own: TensorUnpickler) -> None:
    function, *arguments = own.pop_mark()
    own.append(own.call(function, tuple(arguments)))


@_step(pickle.INST)
def _instance(own: TensorUnpickler) -> None:
    module, name = own.readline()[:-1].decode("ascii"), own.readline()[:-1].decode("ascii")
    own.append(own.call(own.find_class(module, name), tuple(own.pop_mark())))
