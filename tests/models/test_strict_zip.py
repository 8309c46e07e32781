"""Weight files whose archive could be read in two ways, or declares more than it holds: each is refused before it is read.

What is refused is made from a file of PyTorch's own, which is read first.
"""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.models.safe_pickle import UnreadableFile, read_tensors

TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.tensor([1, 2, 3])}


def saved(content=TENSORS, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def entries(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def packed(contents, method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return file.getvalue()


def refused(tmp_path: Path, data: bytes, *words: str) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(data)
    with pytest.raises(UnreadableFile) as error:
        read_tensors(path)
    assert_one_sentence(f"{path} {error.value}", *words)


def program(*steps: bytes) -> bytes:
    """Returns an archive whose pickle takes these steps."""
    code = b"\x80\x02" + b"".join(steps) + b"."
    return packed([(name, code if name.endswith("data.pkl") else old) for name, old in entries(saved())])


def number(value: int) -> bytes:
    return pickle.dumps(value, protocol=2)[2:-1]


def test_archives_of_pytorch_and_of_pythons_zipfile_are_read(tmp_path):
    for data in (saved(), packed(entries(saved()))):
        (tmp_path / "good.pth").write_bytes(data)
        found = read_tensors(tmp_path / "good.pth")
        assert all(torch.equal(found[key], value) for key, value in TENSORS.items())


def test_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(TENSORS, tmp_path / "good.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_tensors(tmp_path / "good.pth")["a.weight"], TENSORS["a.weight"])


def two_directories(first: bytes, second: bytes) -> bytes:
    """Returns an archive which one reader takes for ``first`` and another for ``second``.

    Python's zipfile goes by the distance from the end, so that it passes over what stands before; PyTorch goes by the
    offsets.
    """
    end = struct.unpack("<4s4H2IH", second[-22:])
    shifted = struct.pack("<4s4H2IH", *end[:6], len(first) + end[6], end[7])
    return first + second[:-22] + shifted


@pytest.mark.parametrize("other", ["x/constants.pkz", "x/data.pkl"])
def test_two_tables_of_contents_are_refused(tmp_path, other):
    inner = packed([("x/constants.pkl", b"."), (other, b".")])
    refused(tmp_path, two_directories(inner, packed(entries(saved()))), "damaged")
    refused(tmp_path, two_directories(packed(entries(saved())), inner), "damaged")
    refused(tmp_path, saved() + inner)
    refused(tmp_path, inner + saved())


def test_table_that_names_another_place_than_where_it_ends_is_refused(tmp_path):
    # The record of 64 bits says one place, that of 32 bits another: readers differ in which they believe.
    data = bytearray(saved())
    start = struct.unpack_from("<I", data, len(data) - 6)[0]
    struct.pack_into("<I", data, len(data) - 6, start - 46)
    refused(tmp_path, bytes(data), "contradict each other")
    struct.pack_into("<I", data, len(data) - 6, start)
    struct.pack_into("<Q", data, len(data) - 50, start - 46)
    refused(tmp_path, bytes(data), "contradict each other")


def test_bytes_around_or_between_entries_are_refused(tmp_path):
    data = saved()
    refused(tmp_path, b"#!/bin/sh\n" + data)
    refused(tmp_path, data + b"\n", "table of contents is missing")
    commented = io.BytesIO(packed(entries(data)))
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"PK\5\6 hello"
    refused(tmp_path, commented.getvalue(), "table of contents")
    with zipfile.ZipFile(io.BytesIO(packed(entries(data)))) as archive:
        table = archive.start_dir
    gap = packed(entries(data))
    end = list(struct.unpack("<4s4H2IH", gap[-22:]))
    end[6] += 5
    refused(tmp_path, gap[:table] + b"extra" + gap[table:-22] + struct.pack("<4s4H2IH", *end), "between")


def test_entries_that_overlap_or_share_their_bytes_are_refused(tmp_path):
    contents = entries(saved())
    data = bytearray(packed(contents))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        table = archive.start_dir
        first = archive.infolist()[0]
    # The last entry of the table points to the first one's place.
    last = data.rindex(b"PK\1\2")
    struct.pack_into("<I", data, last + 42, first.header_offset)
    refused(tmp_path, bytes(data), "damaged")
    # An entry reaches into the one behind it.
    data = bytearray(packed(contents))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        larger = archive.infolist()[0].file_size + 40
    for place in (18, 22):
        struct.pack_into("<I", data, place, larger)
        struct.pack_into("<I", data, table + place + 2, larger)
    refused(tmp_path, bytes(data), "overlap")


def test_two_entries_of_one_name_are_refused(tmp_path):
    contents = entries(saved())
    with pytest.warns(UserWarning, match="Duplicate"):
        data = packed([*contents, contents[0]])
    refused(tmp_path, data, "two entries of one name")


@pytest.mark.parametrize("place", [8, 14, 18, 22, 30], ids=["method", "checksum", "packed", "size", "name"])
def test_header_that_says_something_else_than_the_table_is_refused(tmp_path, place):
    data = bytearray(packed(entries(saved())))
    data[place] ^= 1
    refused(tmp_path, bytes(data), "damaged")


def test_compressed_entries_are_refused_before_they_are_unpacked(tmp_path):
    refused(tmp_path, packed([("x/data.pkl", bytes(10**7))], zipfile.ZIP_DEFLATED), "compressed entries")
    # Marked as stored in the table, compressed in the header.
    data = bytearray(packed([("x/data.pkl", bytes(10**7))], zipfile.ZIP_DEFLATED))
    struct.pack_into("<H", data, data.rindex(b"PK\1\2") + 10, 0)
    refused(tmp_path, bytes(data), "damaged")


@pytest.mark.parametrize(
    "extra",
    [struct.pack("<2HQ", 1, 8, 4), struct.pack("<2H2Q", 1, 16, 4, 4), struct.pack("<2H", 1, 0), b"\1"],
    ids=["one", "two", "empty", "cut"],
)
def test_long_sizes_that_stand_for_nothing_are_refused(tmp_path, extra):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries(saved()):
            entry = zipfile.ZipInfo(name)
            archive.writestr(entry, content)
            entry.extra = extra  # of the table alone
    refused(tmp_path, file.getvalue(), "an entry")


def test_byte_that_changed_is_noticed_by_its_checksum(tmp_path):
    data = bytearray(saved())
    data[data.index(TENSORS["a.weight"].numpy().tobytes()) + 5] ^= 1
    refused(tmp_path, bytes(data), "checksum")


def storage(kind: str, count: int) -> bytes:
    """Returns the steps that name the storage ``0``."""
    return b"(X\7\0\0\0storagectorch\n" + kind.encode() + b"\nX\1\0\0\x000X\3\0\0\0cpu" + number(count) + b"tQ"


@pytest.mark.parametrize("second", [storage("FloatStorage", 24), storage("DoubleStorage", 6), storage("IntStorage", 12)])
def test_one_storage_of_two_sizes_or_types_is_refused(tmp_path, second):
    refused(tmp_path, program(storage("FloatStorage", 12), second), "share data of different types or sizes")


def stream_parts(data: bytes) -> tuple[bytes, list, bytes]:
    """Returns an older file's pickles before the list of its storages, that list, and the data behind."""
    file = io.BytesIO(data)
    for _ in range(3):
        pickle.load(file)

    class Reader(pickle.Unpickler):
        def persistent_load(self, pid):
            return None

        def find_class(self, module, name):
            return lambda *_: None

    Reader(file).load()
    place = file.tell()
    keys = pickle.load(file)
    return data[:place], keys, data[file.tell() :]


def test_data_that_an_older_file_leaves_out_is_never_filled_with_memory(tmp_path):
    before, keys, data = stream_parts(saved(zipped=False))
    assert len(keys) == 2
    (tmp_path / "good.pth").write_bytes(before + pickle.dumps(keys) + data)
    assert torch.equal(read_tensors(tmp_path / "good.pth")["a.weight"], TENSORS["a.weight"])
    count = struct.unpack_from("<q", data)[0]
    first = 8 + count * (4 if count == 12 else 8)
    for left, rest in (([], b""), (keys[:1], data[:first]), (keys[:1] * 2, data[:first] * 2), ([*keys, "9"], data)):
        refused(tmp_path, before + pickle.dumps(left) + rest, "does not hold the data of all")
    refused(tmp_path, before + pickle.dumps(keys) + data[:-3], "too early")
    refused(tmp_path, before + pickle.dumps(keys) + data + b"x", "stands behind")
    for wrong in (count - 1, count + 1, 1 << 62, -1):
        refused(tmp_path, before + pickle.dumps(keys) + struct.pack("<q", wrong) + data[8:], "where it declares")


def test_data_that_an_archive_leaves_out_or_cuts_are_refused(tmp_path):
    contents = entries(saved())
    refused(tmp_path, packed([one for one in contents if not one[0].endswith("data/0")]), "holds 0 bytes")
    for change in (lambda old: old[:-1], lambda old: old + b"\0", lambda old: b""):
        altered = [(name, change(old) if name.endswith("data/0") else old) for name, old in contents]
        refused(tmp_path, packed(altered), "it holds")


@pytest.mark.parametrize("order", [b"big", b"", b"little\n"])
def test_other_order_of_bytes_is_told(tmp_path, order):
    contents = [(name, order if name.endswith("byteorder") else old) for name, old in entries(saved())]
    refused(tmp_path, packed(contents), "order of bytes")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantized"),
        (lambda: torch.empty(3, device="meta"), "without data"),
        (lambda: torch.complex(torch.ones(2), torch.ones(2)).conj(), "conjugated"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds_are_named(tmp_path, make, words):
    refused(tmp_path, saved({"state_dict": {"a": make()}}), words)


def test_truth_values_that_are_neither_are_refused(tmp_path):
    data = saved({"a": torch.tensor([True, False, True])})
    contents = [(name, b"\1\0\7" if name.endswith("data/0") else old) for name, old in entries(data)]
    refused(tmp_path, packed(contents), "neither")


def test_every_way_of_saving_is_read_bit_for_bit(tmp_path):
    base = torch.randn(6, 8)
    half = torch.nn.Parameter(base.half(), requires_grad=False)
    half.note = "an attribute of its own"
    content = {
        "shared": base,
        "also shared": base[2:4, 1::3],
        "transposed": base.t(),
        "bfloat": base.bfloat16(),
        "eight bits": base.to(torch.float8_e4m3fn),
        "sixteen bits": torch.arange(5).to(torch.uint16),
        "complex": torch.complex(base, -base),
        "parameter": torch.nn.Parameter(base),
        "marked": half,
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "not a number": torch.tensor([float("nan"), float("-inf"), -0.0]),
    }
    for zipped in (True, False):
        for protocol in (2, 3, 4, 5):
            path = tmp_path / "made.pth"
            torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
            found = read_tensors(path)
            assert list(found) == list(content)
            for name, tensor in content.items():
                assert (found[name].dtype, found[name].stride()) == (tensor.dtype, tensor.stride()), name
                own, theirs = found[name].detach().contiguous(), tensor.detach().contiguous()
                assert own.reshape(-1).view(torch.uint8).tolist() == theirs.reshape(-1).view(torch.uint8).tolist(), name
            assert found["also shared"].untyped_storage().data_ptr() == found["shared"].untyped_storage().data_ptr()


ORDERED = b"ccollections\nOrderedDict\n"
BOMBS = {
    # What is small in the file and would take minutes or gigabytes.
    "copies": (ORDERED + b"q\0(" + b"](X\1\0\0\0aNe" * 1_000 + b"lq\1" + b"h\0h\1\x85R0" * 3_000, "copies without end"),
    "calls with many arguments": (ORDERED + b"q\0(" + b"N" * 100_000 + b"tq\1h\0h\1R", "cannot be called"),
    "numbers of one hash": (b"}(" + b"".join(number((k << 61) - k) + b"N" for k in range(1, 9)) + b"u", "keys without end"),
    "keys of one hash": (b"}(" + b"K\1\x85N" * 9_000 + b"u", "no names"),
    "keys that unfold": (b")" + b"2\x86" * 60 + b"q\0}h\0Ns", "keys without end"),
    "long keys": (number(1 << 100_000) + b"q\0}h\0Ns", "keys without end"),
    "steps without end": (b"]0" * 1_100_000, "steps to read"),
    "text that is only declared": (b"X\xff\xff\xff\x7fabc", "declares more data than it holds"),
    "bytes that are only declared": (b"\x8e" + struct.pack("<Q", 1 << 62), "declares more data than it holds"),
    "storage that is only declared": (storage("FloatStorage", 1 << 50), "holds 48 bytes"),
    "items of what is no mapping": (b"]NNs", "no mapping"),
    "items of what is no list": (b"}Na", "no list"),
    "extension of another program": (b"\x82\1", "step 0x82"),
    "name of another kind": (b"Pabc\n", "step 0x50"),
}


@pytest.mark.lengthy
@pytest.mark.parametrize("name", BOMBS)
def test_programs_that_make_much_of_little_are_refused(tmp_path, name):
    steps, words = BOMBS[name]
    refused(tmp_path, program(steps), words)


@pytest.mark.slow
def test_reading_takes_little_more_than_the_size_of_the_file(tmp_path):
    path = tmp_path / "large.pth"
    torch.save({str(number): torch.full((250_000,), float(number)) for number in range(100)}, path)
    code = f"""
import resource
from pathlib import Path
from rtmdet_lab.models.safe_pickle import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read_tensors(Path({str(path)!r}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.check_output([sys.executable, "-c", code])) * 1024
    assert grown < 1.2 * path.stat().st_size
