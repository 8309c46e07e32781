"""Weight files from strangers: nothing in them runs, and what is wrong with them is said in one sentence."""

from __future__ import annotations

import builtins
import collections
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import types
import zipfile
from pathlib import Path

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import CheckpointError
from rtmdet_lab.models.checkpoints import read_checkpoint
from rtmdet_lab.models.safe_pickle import Foreign, read_tensors

TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.tensor([1, 2, 3])}
LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def write(path: Path, content, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def assert_tensors(found) -> None:
    assert list(found) == list(TENSORS)
    for key, value in TENSORS.items():
        assert torch.equal(found[key], value)
        assert found[key].dtype == value.dtype


def refused(path: Path, *words: str) -> str:
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    return assert_one_sentence(error.value, str(path), *words)


class Calls:
    """Asks whoever unpickles it to call a function."""

    def __init__(self, function, *arguments):
        self.asked = function, arguments

    def __reduce__(self):
        return self.asked


def hostile(marker: Path) -> dict[str, Calls]:
    python = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Calls(os.system, f"touch {marker}"),
        "builtins.eval": Calls(builtins.eval, python),
        "builtins.exec": Calls(builtins.exec, python),
        "builtins.open": Calls(builtins.open, str(marker), "w"),
        "subprocess.Popen": Calls(subprocess.Popen, ["touch", str(marker)]),
        "torch.save": Calls(torch.save, 1, str(marker)),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
    }


@LAYOUTS
@pytest.mark.parametrize("kind", list(hostile(Path("x"))))
@pytest.mark.parametrize("as_key", [False, True])
def test_nothing_in_a_hostile_file_runs_and_its_tensors_come_through(tmp_path, zipped, kind, as_key):
    marker = tmp_path / "ran"
    bomb = hostile(marker)[kind]
    path = write(tmp_path / "bad.pth", {"state_dict": {**TENSORS, **({bomb: 1} if as_key else {"x": bomb})}}, zipped)
    found = read_checkpoint(path).tensors
    assert not marker.exists()
    assert_tensors(found)


@LAYOUTS
def test_file_cannot_change_the_classes_it_may_name(tmp_path, zipped):
    class Changes:
        def __reduce__(self):
            return (torch.UntypedStorage, (1,))

    path = write(tmp_path / "bad.pth", {"x": Changes(), "state_dict": TENSORS}, zipped)
    # The storage is not made, and its class gets the state that was meant for an object of it.
    asked, given = b"K\x01\x85", b"N}(X\x05\x00\x00\x00hurtsK\x07u\x86b"

    def change(data: bytes) -> bytes:
        start = data.index(asked)
        end = data.index(b"R", start) + 1
        return data[:start] + given + data[end:]

    if zipped:
        replace_entry(path, "data.pkl", change)
    else:
        path.write_bytes(change(path.read_bytes()))
    assert_tensors(read_checkpoint(path).tensors)
    assert not hasattr(torch.UntypedStorage, "hurts")


@LAYOUTS
@pytest.mark.parametrize("number", [2**20, 2**26])
def test_damaged_memo_index_does_not_fill_the_memory(tmp_path, zipped, number):
    path = write(tmp_path / "made.pth", {"state_dict": TENSORS}, zipped)

    def change(data: bytes) -> bytes:
        at = data.index(b"q\x01", data.index(b"state_dict"))
        return data[:at] + b"r" + struct.pack("<I", number) + data[at + 2 :]

    if zipped:
        replace_entry(path, "data.pkl", change)
    else:
        path.write_bytes(change(path.read_bytes()))
    tracemalloc.start()
    assert_tensors(read_checkpoint(path).tensors)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


@LAYOUTS
@pytest.mark.filterwarnings("ignore::torch.serialization.SourceChangeWarning")
def test_whole_modules_in_a_file_do_not_hide_the_tensors(tmp_path, zipped):
    path = write(tmp_path / "made.pth", {"model": torch.nn.Sequential(torch.nn.Linear(2, 2)), "state_dict": TENSORS}, zipped)
    assert_tensors(read_checkpoint(path).tensors)


@LAYOUTS
def test_hostile_file_would_run_if_it_were_simply_loaded(tmp_path, zipped):
    marker = tmp_path / "ran"
    path = write(tmp_path / "bad.pth", {"state_dict": hostile(marker)["builtins.exec"]}, zipped)
    refused(path, "state_dict")
    assert not marker.exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # the files above are armed


@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch._utils _rebuild_wrapper_subclass", "torch.Storage x"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_any_name_but_the_few_allowed_ones_is_inert(tmp_path, name, protocol):
    module, attribute = name.split()
    if protocol < 4:
        body = b"c" + f"{module}\n{attribute}\n".encode() + b"(V1\ntR."
    else:
        body = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(one)]) + one.encode() for one in (module, attribute))
        body += b"\x93K\x01\x85R."
    path = write(tmp_path / "bad.pth", 0)
    replace_entry(path, "data.pkl", lambda _: body)
    assert type(read_tensors(path)) is Foreign


def replace_entry(path: Path, name: str, change) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = [(one.filename, archive.read(one)) for one in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for filename, data in entries:
            archive.writestr(filename, change(data) if filename.endswith(f"/{name}") else data)


@pytest.fixture
def vanished():
    """Makes classes in a module that is gone when the file is read."""
    module = types.ModuleType("library_that_is_not_here")
    code = """
import collections, enum, dataclasses
class Plain:
    def __init__(self): self.value, self.inner = 3, {"deep": [1]}
class State(Plain):
    def __getstate__(self): return {"value": self.value}
    def __setstate__(self, state): raise RuntimeError("runs")
class Slots:
    __slots__ = ("one", "__weakref__")
class Mapping(dict): pass
class Ordered(collections.OrderedDict): pass
class Items(list): pass
class Many(set): pass
class Kind(enum.Enum): ONE = 1
@dataclasses.dataclass(frozen=True)
class Record: value: int = 1
class Tensors(Plain):
    def __init__(self, tensor): self.tensor = tensor
def function(): raise RuntimeError("runs")
"""
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    yield module
    sys.modules.pop(module.__name__, None)


@LAYOUTS
def test_objects_of_a_library_that_is_not_installed_do_not_hide_the_tensors(tmp_path, vanished, zipped):
    slots = vanished.Slots()
    slots.one = 1
    foreign = {
        "plain": vanished.Plain(),
        "state": vanished.State(),
        "slots": slots,
        "mapping": vanished.Mapping(a=1),
        "ordered": vanished.Ordered(a=1),
        "items": vanished.Items([1, 2, 3]),
        "many": vanished.Many([1]),
        "kind": vanished.Kind.ONE,
        "record": vanished.Record(2),
        "tensors": vanished.Tensors(torch.ones(2)),
        "class": vanished.Plain,
        "function": vanished.function,
        "default": collections.defaultdict(vanished.Items, {1: vanished.Items()}),
        vanished.Record(3): "as a key",
    }
    content = {"meta": {"CLASSES": ("one", "two")}, "message_hub": foreign, "state_dict": collections.OrderedDict(TENSORS)}
    path = write(tmp_path / "made.pth", content, zipped)
    del sys.modules[vanished.__name__]
    checkpoint = read_checkpoint(path)
    assert_tensors(checkpoint.tensors)
    assert checkpoint.classes == ("one", "two")


@LAYOUTS
def test_tensors_arrive_as_they_were_saved(tmp_path, zipped):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "view": base[1:3, ::2],
        "transposed": base.T,
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.ones(1).expand(5),
        "half": base.half(),
        "bfloat": base.bfloat16(),
        "double": base.double(),
        "bool": base > 3,
        "bytes": base.byte(),
        "parameter": torch.nn.Parameter(base),
    }
    found = read_tensors(write(tmp_path / "made.pth", tensors, zipped))
    for key, value in tensors.items():
        assert torch.equal(found[key], value), key
        assert (found[key].dtype, found[key].stride()) == (value.dtype, value.stride()), key


@LAYOUTS
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(tmp_path, zipped, share):
    whole = write(tmp_path / "whole.pth", {"state_dict": {"w": torch.arange(3000.0)}}, zipped).read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, *(["is empty (0 bytes)"] if share == 0 else []))


@pytest.mark.parametrize("seed", range(10))
@LAYOUTS
def test_damaged_bytes_are_a_sentence_or_harmless(tmp_path, zipped, seed):
    data = bytearray(write(tmp_path / "made.pth", {"state_dict": TENSORS}, zipped).read_bytes())
    generator = torch.Generator().manual_seed(seed)
    for at in torch.randint(len(data), (20,), generator=generator).tolist():
        data[at] = int(torch.randint(256, (1,), generator=generator))
    path = tmp_path / "damaged.pth"
    path.write_bytes(data)
    try:
        read_checkpoint(path)
    except CheckpointError as error:
        assert_one_sentence(error, str(path))


def four_floats(path: Path, storage: int, shape: int, zipped: bool = True) -> Path:
    """Writes four floats whose file claims a storage of ``storage`` and a tensor of ``shape`` elements."""
    write(path, {"w": torch.arange(4.0)}, zipped)

    def lie(data: bytes) -> bytes:
        at_storage, at_shape = data.index(b"K\x04N") if not zipped else data.index(b"K\x04t"), data.index(b"K\x04\x85")
        assert at_storage < at_shape
        numbers = [b"J" + struct.pack("<i", one) for one in (storage, shape)]
        return data[:at_storage] + numbers[0] + data[at_storage + 2 : at_shape] + numbers[1] + data[at_shape + 2 :]

    if zipped:
        replace_entry(path, "data.pkl", lie)
    else:
        path.write_bytes(lie(path.read_bytes()))
    return path


@LAYOUTS
@pytest.mark.parametrize(
    ("storage", "shape"),
    [(4, 5), (4, 2**31 - 1), (4, -1), (2, 2), (100, 4), (100, 100), (2**31 - 1, 2**31 - 1), (-4, 4)],
)
def test_sizes_that_lie_about_the_data_are_refused(tmp_path, storage, shape, zipped):
    assert torch.equal(read_tensors(four_floats(tmp_path / "true.pth", 4, 4, zipped))["w"], torch.arange(4.0))
    told = [f"declares a tensor of shape ({shape},)"] if storage == 4 else []  # else torch finds it first
    refused(four_floats(tmp_path / "lie.pth", storage, shape, zipped), *told)


def test_archives_that_are_no_checkpoints_are_told_apart(tmp_path):
    program, packed, tar, text = (tmp_path / name for name in ("program.pth", "packed.pth", "old.pth", "text.pth"))
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("code/constants.pkl", b"")
    refused(program, "TorchScript")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("packed/data.pkl", bytes(10**6))
    refused(packed, "compressed")
    with tarfile.open(tar, "w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    refused(tar, "tar archive")
    text.write_text("<html>404 not found</html>")
    refused(text)
    refused(tmp_path)


@pytest.mark.parametrize("content", [[1, 2], torch.ones(2), "text", {"state_dict": [1]}])
def test_content_that_is_no_mapping_of_weights_is_refused(tmp_path, content):
    refused(write(tmp_path / "odd.pth", content))


def test_plain_pickle_is_refused_without_running(tmp_path):
    marker, path = tmp_path / "ran", tmp_path / "plain.pth"
    path.write_bytes(pickle.dumps(hostile(marker)["os.system"]))
    refused(path)
    assert not marker.exists()


@LAYOUTS
def test_ordinary_tuples_are_read_however_long(tmp_path, zipped):
    names = tuple(f"class {number}" for number in range(50_000))
    content = {"state_dict": dict(TENSORS), "meta": {"CLASSES": names, "palette": ((1, 2, 3),) * 2000, (1, (2, 3)): "a key"}}
    checkpoint = read_checkpoint(write(tmp_path / "made.pth", content, zipped))
    assert_tensors(checkpoint.tensors)
    assert checkpoint.classes == names
