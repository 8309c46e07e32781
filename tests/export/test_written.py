"""Exports that are programs: those written here are opened, a stranger's is not, and nothing of it has run by then."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.export import exported, written
from rtmdet_lab.export.exported import open_exported


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RTMDET_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(written, "_BY_THIS_PROCESS", set())
    return tmp_path / "cache" / "written"


def refused(path: Path) -> None:
    with pytest.raises(DataError) as error:
        open_exported(path)
    assert_one_sentence(error.value, str(path), "not written here", "run_code=True")


def stranger(path: Path, marker: Path) -> None:
    """Writes an archive as torch.export does, in which every pickle makes a file."""

    class Bomb:
        def __reduce__(self):
            return (os.system, (f"touch {marker}",))

    held = io.BytesIO()
    torch.save(Bomb(), held)
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("archive_format", "data/weights/model.pt", "data/constants/model.pt", "models/model.json"):
            archive.writestr(f"a/{name}", b"pt2" if name == "archive_format" else held.getvalue())


@pytest.mark.parametrize("suffix", exported.PROGRAMS)
def test_file_of_a_stranger_is_refused_and_does_not_run(tmp_path, suffix):
    path, marker = tmp_path / f"net{suffix}", tmp_path / "ran"
    stranger(path, marker)
    refused(path)
    assert not marker.exists()
    with pytest.raises(DataError, match="cannot be opened"):  # who says so gets what PyTorch makes of it
        open_exported(path, run_code=True)


def test_file_that_was_written_here_is_known_until_it_changes(tmp_path, cache, monkeypatch):
    path = tmp_path / "net.torchscript"
    path.write_bytes(b"one")
    assert not written.was_written_here(b"one")
    written.remember(path)
    assert written.was_written_here(b"one")
    monkeypatch.setattr(written, "_BY_THIS_PROCESS", set())  # another process of the user
    assert written.was_written_here(b"one")
    assert not written.was_written_here(b"one ")
    assert cache.stat().st_mode & 0o777 == 0o700


def test_register_that_others_can_write_is_not_believed(tmp_path, cache, monkeypatch):
    path = tmp_path / "net.torchscript"
    path.write_bytes(b"one")
    written.remember(path)
    monkeypatch.setattr(written, "_BY_THIS_PROCESS", set())
    for place in (cache, next(cache.iterdir())):
        mode = place.stat().st_mode
        place.chmod(0o777)
        assert not written.was_written_here(b"one")
        place.chmod(mode)
    assert written.was_written_here(b"one")
    moved = tmp_path / "moved"
    cache.rename(moved)
    cache.symlink_to(moved)
    assert not written.was_written_here(b"one")


def test_without_a_folder_for_it_a_process_knows_what_it_wrote(tmp_path, cache):
    path = tmp_path / "net.torchscript"
    path.write_bytes(b"one")
    cache.parent.write_text("in the way")
    written.remember(path)
    assert written.was_written_here(b"one")


def test_what_is_opened_is_what_was_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "net.torchscript"
    path.write_bytes(b"good")
    written.remember(path)
    opened = []

    def swap(content: bytes) -> bool:
        path.write_bytes(b"bad")
        return True

    monkeypatch.setattr(exported, "was_written_here", swap)
    monkeypatch.setitem(exported.OPENERS, ".torchscript", lambda file, *_: opened.append(file.read()) or (None, "{}"))
    open_exported(path)
    assert opened == [b"good"]
