"""Weight files that are damaged, lie about their size, ask for code to run, or belong to something else."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from made_faults import Case, Place
from safetensors import safe_open
from safetensors.torch import save

PREDICTOR = "bbox_head.rtm_cls.0.weight"


class Call:
    """Asks whoever unpickles it to call a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.asked = function, arguments

    def __reduce__(self) -> tuple:
        return self.asked


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def header(content: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """Returns a safetensors file by hand."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[int], end: int, start: int = 0, kind: str = "F32") -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": [start, end]}


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def repacked(content: Any, change: Callable[[str, bytes], bytes]) -> bytes:
    """Returns a checkpoint with its entries changed."""
    with zipfile.ZipFile(io.BytesIO(saved(content))) as archive:
        return zipped(*((one.filename, change(one.filename, archive.read(one))) for one in archive.infolist()))


def tarred(link: bool = False) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        member = tarfile.TarInfo("../../outside")
        if link:
            member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member, io.BytesIO(b""))
    return file.getvalue()


def repeated(*shape: int) -> torch.Tensor:
    """Returns a tensor of any size that holds one number."""
    return torch.zeros(1).expand(*shape)


def laughs() -> list:
    """Returns a list that is small in a file and has 2^40 parts written out."""
    part: list = ["ha"] * 2
    for _ in range(40):
        part = [part, part]
    return part


def damaged(data: bytes, place: int, length: int = 8) -> bytes:
    return data[:place] + b"\xff" * length + data[place + length :]


def allocation(name: str) -> bytes:
    """Returns a pickle stream that asks torch for a terabyte of storage, without data."""
    code = b"\x80\x02}(X\x01\x00\x00\x00ac" + f"torch\n{name}\n".encode() + b"\x8a\x06" + (1 << 40).to_bytes(6, "little")
    return code + b"\x85Ru."


def folded(depth: int = 60) -> tuple:
    """Returns a tuple that is small in a file and takes for ever to hash."""
    part: tuple = ("ha", "ha")
    for _ in range(depth):
        part = (part, part)
    return part


def keyed() -> bytes:
    """Returns a checkpoint in which such a tuple is the key of a mapping; it cannot be made as one."""
    code = pickle.dumps(folded(), protocol=2)
    return b"\x80\x02}" + code[2:-1] + b"K\x01su."


def shaped() -> bytes:
    """Returns a pickle of a tensor whose shape is a list and a large number: multiplied, they fill the memory."""
    start = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(X\x01\x00\x00\x00aK\x00"
    return start + b"]K\x01a\x8a\x06" + (1 << 40).to_bytes(6, "little") + b"\x86K\x01K\x01\x86\x89}tR."


def joined(first: bytes, second: bytes) -> bytes:
    """Returns an archive with two tables of contents: by its offsets it is ``second``, from its end it is either."""
    end = struct.unpack("<4s4H2IH", second[-22:])
    return first + second[:-22] + struct.pack("<4s4H2IH", *end[:6], len(first) + end[6], end[7])


def forgetful() -> bytes:
    """Returns an older file that leaves its storage out: what read it filled it with whatever was in memory."""
    head = STREAM[: STREAM.rindex(b"\x80\x02]")]
    return head + pickle.dumps([], protocol=2)


def pickled(code: bytes) -> bytes:
    """Returns a checkpoint whose pickle is ``code``."""
    return repacked({}, lambda name, old: code if name.endswith("data.pkl") else old)


GOOD = {"backbone.weight": torch.arange(12.0).reshape(3, 4)}
PTH, STREAM, SAFE = saved(GOOD), saved(GOOD, zipped=False), save(GOOD)
PROGRAM = zipped(("a/constants.pkl", b"."), ("a/data.pkl", b"N."), ("a/code/__torch__.py", b""))
NOT_WHOLE = ("damaged",)
NO_DETECTOR = ("no class predictors", "not a detector")
FILES: list[tuple[str, str, bytes, tuple[str, ...]]] = [
    ("empty file", "a.pth", b"", ("is empty (0 bytes)",)),
    ("empty safetensors file", "a.safetensors", b"", ("is empty (0 bytes)",)),
    ("text", "a.pth", b"weights to follow", NOT_WHOLE),
    ("web page", "a.pth", b"<html>Not Found</html>", NOT_WHOLE),
    ("pointer of Git LFS", "a.pth", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", NOT_WHOLE),
    ("zip cut off", "a.pth", PTH[: len(PTH) // 2], ("truncated", "table of contents is missing")),
    ("zip with damaged table of contents", "a.pth", damaged(PTH, len(PTH) - 60, 30), NOT_WHOLE),
    ("stream cut off", "a.pth", STREAM[:-20], NOT_WHOLE),
    ("stream cut in its pickle", "a.pth", STREAM[:90], NOT_WHOLE),
    ("archive that is not a checkpoint", "a.pth", zipped(("notes.txt", b"hello")), NOT_WHOLE),
    ("archive that leads out of its folder", "a.pth", zipped(("../../out", b"x"), ("/etc/x", b"x")), NOT_WHOLE),
    (
        "compressed archive",
        "a.pth",
        zipped(("a/data.pkl", bytes(10**7)), method=zipfile.ZIP_DEFLATED),
        ("compressed entries",),
    ),
    ("script program", "a.pt", zipped(("a/data.pkl", b"."), ("a/constants.pkl", b".")), ("TorchScript program",)),
    ("program behind weights", "a.pth", joined(repacked(GOOD, lambda name, old: old), PROGRAM), NOT_WHOLE),
    ("weights behind a program", "a.pth", joined(PROGRAM, repacked(GOOD, lambda name, old: old)), NOT_WHOLE),
    ("archive behind something else", "a.pth", PTH + b"\n", NOT_WHOLE),
    ("older file without its data", "a.pth", forgetful(), NOT_WHOLE),
    ("quantized weights", "a.pth", pickled(b"\x80\x02ctorch._utils\n_rebuild_qtensor\n)R."), ("quantized tensor",)),
    ("steps without end", "a.pth", pickled(b"\x80\x02" + b"]0" * 1_100_000 + b"N."), ("steps to read",)),
    ("tar archive", "a.pth", tarred(), ("tar archive, not a checkpoint",)),
    ("tar archive of a link", "a.pth", tarred(link=True), ("tar archive, not a checkpoint",)),
    ("data of a tensor missing", "a.pth", repacked(GOOD, lambda name, old: old[:8] if "/data/" in name else old), NOT_WHOLE),
    ("numbers alone", "a.pth", saved([1, 2, 3]), ("holds a list", "not a mapping of weights")),
    ("tensor alone", "a.pth", saved(torch.zeros(3)), ("holds a Tensor", "not a mapping of weights")),
    ("weights that are a number", "a.pth", saved({"state_dict": 5}), ("no readable state_dict",)),
    ("no weights at all", "a.pth", saved({}), NO_DETECTOR),
    ("weights of another program", "a.pth", PTH, NO_DETECTOR),
    ("call of the shell", "a.pth", saved({"state_dict": Call(os.system, "touch ran")}), ("no readable state_dict",)),
    ("call of the shell as everything", "a.pth", saved(Call(os.system, "touch ran")), ("not a mapping of weights",)),
    ("call in a stream", "a.pth", saved(Call(exec, "open('ran', 'w')"), zipped=False), ("not a mapping of weights",)),
    ("call in a plain pickle", "a.pkl", pickle.dumps(Call(os.system, "touch ran")), NOT_WHOLE),
    ("tensor that repeats a number", "a.pth", saved({PREDICTOR: repeated(10**12, 1, 1, 1)}), ("data does not hold",)),
    (
        "repeating tensor in a stream",
        "a.pth",
        saved({PREDICTOR: repeated(10**12, 1)}, zipped=False),
        ("data does not hold",),
    ),
    ("predictor without elements", "a.pth", saved({PREDICTOR: torch.zeros(10**12, 0)}), NO_DETECTOR),
    ("predictors of 200,000 classes", "a.pth", saved({PREDICTOR: torch.zeros(200_000, 1)}), ("200,000 classes", "damaged")),
    (
        "class names that unfold without end",
        "a.pth",
        saved({"state_dict": {PREDICTOR: torch.zeros(2, 1)}, "meta": {"CLASSES": laughs()}}),
        ("does not fit this model",),
    ),
    (
        "terabyte of storage",
        "a.pth",
        repacked({}, lambda name, old: allocation("UntypedStorage") if name.endswith("data.pkl") else old),
        NOT_WHOLE,
    ),
    (
        "terabyte of floats",
        "a.pth",
        repacked({}, lambda name, old: allocation("FloatStorage") if name.endswith("data.pkl") else old),
        NOT_WHOLE,
    ),
    (
        "terabyte of any type",
        "a.pth",
        repacked({}, lambda name, old: allocation("TypedStorage") if name.endswith("data.pkl") else old),
        NO_DETECTOR,
    ),
    ("key that takes for ever to hash", "a.pth", pickled(keyed()), ("keys without end",)),
    ("shape that is a list", "a.pth", pickled(shaped()), ("without data or shape",)),
    (
        "name of data that unfolds without end",
        "a.pth",
        pickled(pickle.dumps((laughs(), 1), protocol=2)[:-1] + b"Q."),
        ("names data in a way",),
    ),
    (
        "array of a terabyte",
        "a.pth",
        pickled(b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b"ab."),
        ("declares more data than it holds",),
    ),
    ("safetensors cut off", "a.safetensors", SAFE[:-8], NOT_WHOLE),
    ("safetensors cut in its header", "a.safetensors", SAFE[:20], NOT_WHOLE),
    ("safetensors of a header alone", "a.safetensors", b"\x02\0\0\0\0\0\0\0", NOT_WHOLE),
    ("safetensors whose header has no end", "a.safetensors", header({}, length=1 << 60), NOT_WHOLE),
    ("safetensors whose header is no JSON", "a.safetensors", header(b"{none}"), NOT_WHOLE),
    ("safetensors whose header is a list", "a.safetensors", header([]), NOT_WHOLE),
    ("safetensors of deep JSON", "a.safetensors", header(b'{"a":' * 50_000), NOT_WHOLE),
    ("safetensors without tensors", "a.safetensors", header({}), NO_DETECTOR),
    ("safetensors of a terabyte", "a.safetensors", header({"a": tensor([1 << 38], 1 << 40)}), NOT_WHOLE),
    ("safetensors of an overflowing shape", "a.safetensors", header({"a": tensor([1 << 62, 8], 32)}, bytes(32)), NOT_WHOLE),
    ("safetensors whose shape is not its data's", "a.safetensors", header({"a": tensor([9], 8)}, bytes(8)), NOT_WHOLE),
    (
        "safetensors with overlapping tensors",
        "a.safetensors",
        header({"a": tensor([2], 8), "b": tensor([2], 12, 4)}, bytes(12)),
        NOT_WHOLE,
    ),
    ("safetensors of an unknown type", "a.safetensors", header({"a": tensor([2], 8, kind="F33")}, bytes(8)), NOT_WHOLE),
    (
        "safetensors with a predictor without elements",
        "a.safetensors",
        header({PREDICTOR: tensor([10**12, 0], 0)}),
        NO_DETECTOR,
    ),
]


def described(changes: dict[str, str]) -> Callable[[Place], Path]:
    """Returns what writes the good weights with another description."""

    def make(place: Place) -> Path:
        with safe_open(place.weights, framework="pt") as file:
            metadata = dict(file.metadata())
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return place.file("own.safetensors", save(tensors, metadata | changes))

    return make


def configured(**settings: Any) -> Callable[[Place], Path]:
    """Returns what writes the good weights with settings changed: dots in their names stand as two underscores."""

    def make(place: Place) -> Path:
        with safe_open(place.weights, framework="pt") as file:
            config = json.loads(file.metadata()["config"])
        for name, value in settings.items():
            *parts, last = name.split("__")
            part = config
            for one in parts:
                part = part[one]
            part[last] = value
        return described({"config": json.dumps(config)})(place)

    return make


def named(place: Place, weights: Path) -> list[Any]:
    return place.predict(weights=weights, more=["--model", "rtmdet-nano"])


def folder(place: Place) -> Path:
    (place.bad / "weights").mkdir()
    return place.bad / "weights"


def named_pipe(place: Place) -> Path:
    os.mkfifo(place.bad / "pipe.pth")
    return place.bad / "pipe.pth"


OWN: list[tuple[str, Callable[[Place], Any], tuple[str, ...]]] = [
    ("file that does not exist", lambda place: place.bad / "gone.pth", ("gone.pth", "does not exist")),
    ("name that is not published", lambda place: "rtmdet-tny-coco", ("did you mean 'rtmdet-tiny-coco'",)),
    ("folder", folder, ("holds no weights", "name a run folder or a weight file")),
    ("named pipe", named_pipe, ("pipe.pth", "name a file")),
    ("device", lambda place: "/dev/zero", ("/dev/zero", "name a file")),
    ("name longer than names can be", lambda place: "w" * 300 + ".pth", ("cannot read", "www")),
    ("name with a zero byte", lambda place: "a\0b.pth", ("a", "exist")),
    ("description that is no JSON", described({"config": "{"}), ("own.safetensors", "damaged metadata")),
    ("description of deep JSON", described({"config": "[" * 50_000}), ("own.safetensors", "damaged metadata")),
    ("description with a long number", described({"classes": "1" * 9999}), ("own.safetensors", "damaged metadata")),
    ("description that is a list", described({"config": "[1]"}), ("own.safetensors", "not a mapping")),
    ("classes that are numbers", described({"classes": "[1, 2]"}), ("own.safetensors", "not a list of names")),
    ("three classes for two", described({"classes": '["a", "b", "c"]'}), ("2 class(es)", "names 3")),
    ("setting that does not exist", configured(model__kernl=5), ("cannot use", "model.kernl")),
    ("setting of another type", configured(model__kernel_size="5"), ("cannot use", "whole number")),
    ("kernel of a billion", configured(model__kernel_size=10**9 + 1), ("cannot use", "model.kernel_size")),
    ("blocks without end", configured(model__backbone__stage_blocks=[10**9] * 4), ("cannot use", "stage_blocks")),
    ("width of a million", configured(model__width=1e6), ("cannot use", "model.width")),
    ("network larger than its weights", configured(model__width=16.0), ("its settings need", "damaged")),
    ("size that does not exist", configured(model__size="xxl"), ("cannot use", "model.size")),
    ("task that does not exist", configured(task="pose"), ("cannot use", "task")),
]
CASES = [
    *(
        Case(f"weights: {name}", lambda place, file=file, data=data: named(place, place.file(file, data)), (file, *words))
        for name, file, data, words in FILES
    ),
    *(
        Case(f"weights: {name}", lambda place, make=make: place.predict(weights=make(place)), words)
        for name, make, words in OWN
    ),
]
