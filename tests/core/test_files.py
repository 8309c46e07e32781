"""Files are written whole or not at all, and read with errors that say where."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from rtmdet_lab.core.errors import DataError, StorageError, UserError
from rtmdet_lab.core.files import read_json, require_plain, write_atomic, write_json

OLD = b"the old content"


@pytest.fixture
def old_file(tmp_path):
    path = tmp_path / "state.bin"
    path.write_bytes(OLD)
    return path


def names(folder) -> list[str]:
    return sorted(os.listdir(folder))


def test_bytes_and_writer_give_the_same_file(tmp_path):
    write_atomic(tmp_path / "a", b"content")
    write_atomic(tmp_path / "b", lambda file: file.write(b"content") and None)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"content"
    assert names(tmp_path) == ["a", "b"]


def test_missing_folders_are_made(tmp_path):
    write_atomic(tmp_path / "x" / "y" / "file", b"1")
    assert (tmp_path / "x" / "y" / "file").read_bytes() == b"1"


def test_new_content_replaces_the_old(old_file):
    write_atomic(old_file, b"new")
    assert old_file.read_bytes() == b"new"
    assert names(old_file.parent) == ["state.bin"]


def test_old_content_can_be_kept_under_another_name(tmp_path):
    path, earlier = tmp_path / "state.bin", tmp_path / "earlier.bin"
    for content in (b"1", b"2", b"3"):
        write_atomic(path, content, earlier=earlier)
    assert (path.read_bytes(), earlier.read_bytes()) == (b"3", b"2")
    assert names(tmp_path) == ["earlier.bin", "state.bin"]


def test_old_content_keeps_its_name_where_the_new_one_cannot_be_written(tmp_path):
    path, earlier = tmp_path / "state.bin", tmp_path / "earlier.bin"
    write_atomic(path, b"1")
    write_atomic(path, b"2", earlier=earlier)

    def writer(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError):
        write_atomic(path, writer, earlier=earlier)
    assert (path.read_bytes(), earlier.read_bytes()) == (b"2", b"1")


def test_empty_content_makes_an_empty_file(tmp_path):
    write_atomic(tmp_path / "empty", b"")
    assert (tmp_path / "empty").read_bytes() == b""


def test_old_content_is_there_until_the_new_one_is_whole(old_file):
    def writer(file):
        file.write(b"half of the new")
        file.flush()
        assert old_file.read_bytes() == OLD
        file.write(b" content")

    write_atomic(old_file, writer)
    assert old_file.read_bytes() == b"half of the new content"


def test_full_disk_leaves_the_old_content_and_says_how_much_is_needed(old_file):
    def writer(file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError) as caught:
        write_atomic(old_file, writer, size=5 * 2**20)
    message = str(caught.value)
    assert isinstance(caught.value, OSError)
    assert str(old_file) in message
    assert "No space left" in message
    assert "about 5.0 MiB are needed" in message
    assert "any earlier version is intact" in message
    assert old_file.read_bytes() == OLD
    assert names(old_file.parent) == ["state.bin"]


def test_full_disk_as_torch_reports_it_is_a_storage_error(old_file):
    def writer(file):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed\nframe #0: ...")

    with pytest.raises(StorageError, match="PytorchStreamWriter failed writing file data/0: file write failed"):
        write_atomic(old_file, writer)
    assert old_file.read_bytes() == OLD
    assert names(old_file.parent) == ["state.bin"]


@pytest.mark.parametrize("error", [ValueError("a bug in the writer"), KeyboardInterrupt()])
def test_any_other_failure_passes_through_and_leaves_the_old_content(old_file, error):
    def writer(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(old_file, writer)
    assert old_file.read_bytes() == OLD
    assert names(old_file.parent) == ["state.bin"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB, where the machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = done.stderr.strip()
    except OSError as error:
        done, reason = None, str(error)
    if done is None or done.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {reason}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_really_full_disk_leaves_the_old_content(small_disk):
    path = small_disk / "state.bin"
    write_atomic(path, OLD)
    with pytest.raises(StorageError, match=r"No space left on device.*about 1.0 MiB are needed"):
        write_atomic(path, bytes(2**20))
    assert path.read_bytes() == OLD
    assert names(small_disk) == ["state.bin"]
    write_atomic(path, b"there is room again")  # nothing of the failed attempt is left in the way
    assert path.read_bytes() == b"there is room again"


def test_disk_that_fills_up_while_torch_saves_is_a_storage_error(small_disk):
    import torch

    path = small_disk / "state.pt"
    write_atomic(path, OLD)
    with pytest.raises(StorageError, match=r"state.pt"):
        write_atomic(path, lambda file: torch.save({"w": torch.zeros(2**18)}, file), size=2**20)
    assert path.read_bytes() == OLD
    assert names(small_disk) == ["state.pt"]


def test_file_in_place_of_a_folder_is_a_storage_error(old_file):
    with pytest.raises(StorageError, match="cannot write"):
        write_atomic(old_file / "child", b"1")
    assert old_file.read_bytes() == OLD


def test_folder_in_place_of_the_file_is_a_storage_error(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        write_atomic(tmp_path / "taken", b"1")
    assert names(tmp_path) == ["taken"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_other_new_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_atomic(tmp_path / "file", b"1")
        assert os.umask(umask) == umask  # looking at it did not change it
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_long_file_name_can_be_written(tmp_path):
    # 255 bytes is the usual limit of a name; the temporary file must not need more than the file itself.
    path = tmp_path / ("n" * 240 + ".json")
    write_atomic(path, b"1")
    assert names(tmp_path) == [path.name]


# ---- JSON


def test_json_goes_out_and_back(tmp_path):
    content = {"AP": 0.4037, "classes": ["ship", "hårbor"], "none": None, "nested": {"a": [1, 2]}}
    write_json(tmp_path / "r.json", content)
    assert read_json(tmp_path / "r.json") == content
    assert (tmp_path / "r.json").read_text().endswith("}\n")


def test_missing_json_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no record .*r.json: the file does not exist"):
        read_json(tmp_path / "r.json", "record")


@pytest.mark.parametrize("content", [b"", b"  \n\t "])
def test_empty_json_is_named(tmp_path, content):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"annotation file .*r.json is empty"):
        read_json(path, "annotation file")


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{\n "a": 1,\n "b": \n}')
    with pytest.raises(DataError, match=r"r.json is not valid JSON \(line 4: Expecting value\)"):
        read_json(path)


BROKEN = {
    "cut off": b'{"images": [1, 2',
    "not text": b"\xff\xfe\x00\x9f\x80",
    "image": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "too deep": b"[" * 200_000,
    "two documents": b'{"a": 1}\n{"a": 2}\n',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_json_is_a_data_error_with_the_file_name(tmp_path, kind):
    path = tmp_path / "r.json"
    path.write_bytes(BROKEN[kind])
    with pytest.raises(DataError, match=r"r.json is not valid JSON"):
        read_json(path)


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "r.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')  # as some editors on Windows save it
    assert read_json(path) == {"a": 1}


def test_folder_in_place_of_json_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot read file"):
        read_json(tmp_path)


def test_unreadable_json_is_a_data_error(tmp_path):
    path = tmp_path / "r.json"
    path.write_text("{}")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataError, match="Permission denied"):
        read_json(path)


def test_errors_are_user_errors():
    assert issubclass(StorageError, UserError)
    assert issubclass(DataError, UserError)


def test_what_is_no_file_is_refused_and_files_and_folders_are_not(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for good in (tmp_path, tmp_path / "file", tmp_path / "link"):
        require_plain(good)
    for bad in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(DataError, match=r"label .* is a device or pipe, not a file"):
            require_plain(bad, "label")
    with pytest.raises(FileNotFoundError):
        require_plain(tmp_path / "gone")
