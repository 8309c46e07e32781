"""Files named for results: what is not the same result of before keeps its place."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.core import outputs
from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.core.outputs import require_output, require_outputs, write_json_output, write_output

KIND = "drawing"


@pytest.fixture(params=["attribute", "beside"])
def memory(request, monkeypatch):
    """Where the memory of a result is kept: on file systems without attributes in a file beside it."""

    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    if request.param == "beside":
        monkeypatch.setattr(os, "setxattr", refuse)
        monkeypatch.setattr(os, "getxattr", refuse)


def refused(path: Path, *words: str, kind: str = KIND) -> None:
    with pytest.raises(StorageError) as error:
        write_output(path, kind, b"new")
    assert_one_sentence(error.value, str(path), *words)


def test_result_is_written_again_as_often_as_wanted(tmp_path, memory):
    for content in (b"one", b"two", b"two", b"three"):
        write_output(tmp_path / "new" / "a.png", KIND, content)
        assert (tmp_path / "new" / "a.png").read_bytes() == content


def test_file_of_the_user_stays(tmp_path, memory):
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    refused(path, "is not a drawing as it was last written there", "name another place")
    assert path.read_bytes() == b"mine"
    assert sorted(tmp_path.iterdir()) == [path]


def test_edited_result_is_the_users(tmp_path, memory):
    path = tmp_path / "a.png"
    write_output(path, KIND, b"ours")
    with path.open("ab") as file:
        file.write(b" and mine")
    refused(path)
    assert path.read_bytes() == b"ours and mine"


def test_result_of_another_kind_stays(tmp_path, memory):
    path = tmp_path / "a.json"
    write_json_output(path, "annotation", {"x": float("nan")})
    assert path.read_text() == '{\n  "x": null\n}\n'
    refused(path)


def test_same_content_and_empty_files_lose_nothing(tmp_path, memory):
    same, empty = tmp_path / "same", tmp_path / "empty"
    same.write_bytes(b"x")
    empty.touch()
    write_output(same, KIND, b"x")
    write_output(empty, KIND, b"x")
    write_output(same, KIND, b"y")
    write_output(empty, KIND, b"y")


def test_inputs_stay_even_where_they_are_results_of_the_same_kind(tmp_path, memory):
    path = tmp_path / "a.png"
    write_output(path, KIND, b"drawn")
    os.link(path, tmp_path / "b.png")
    require_outputs({path: KIND}, [tmp_path / "missing.png"])
    with pytest.raises(StorageError, match="would replace the file it is made of"):
        require_outputs({tmp_path / "new.png": KIND, path: KIND}, [tmp_path / "b.png"])


def test_folder_is_refused(tmp_path):
    refused(tmp_path, "is a folder")


def test_link_stays_and_leads_to_the_result(tmp_path, memory):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "a.json", tmp_path / "a.json"
    link.symlink_to(target)
    write_output(link, KIND, b"one")  # also where it names nothing yet
    write_output(link, KIND, b"two")
    assert link.is_symlink()
    assert target.read_bytes() == b"two"
    target.write_bytes(b"mine")
    refused(link)
    assert target.read_bytes() == b"mine"


def test_circle_of_links_is_a_sentence(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refused(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("write", [write_atomic, lambda path, data: write_output(path, KIND, data)])
def test_device_is_written_into_and_stays(write):
    with pytest.raises(StorageError, match="No space left on device"):
        write(Path("/dev/full"), b"x")
    write(Path("/dev/null"), b"x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_standard_output_is_written_into(capfd):
    print("before")
    write_json_output(Path("/dev/stdout"), KIND, [1])
    write_output(Path("/dev/fd/2"), KIND, b"error\n")
    out, err = capfd.readouterr()
    assert out == "before\n[\n  1\n]\n"
    assert err == "error\n"


def test_pipe_is_written_into_and_without_a_reader_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(pipe, "cannot write")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_output(pipe, KIND, b"x")
    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # socket names are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        refused(Path("s"), "a disk or a socket")
    assert stat.S_ISSOCK(Path("s").stat().st_mode)


def test_mode_is_kept(tmp_path):
    path = tmp_path / "a"
    write_output(path, KIND, b"one")
    path.chmod(0o640)
    write_output(path, KIND, b"two")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_read_only_file_stays(tmp_path):
    path = tmp_path / "a"
    write_output(path, KIND, b"one")
    path.chmod(0o444)
    refused(path, "read-only")


def test_file_that_cannot_be_looked_at_is_a_sentence(tmp_path):
    with pytest.raises(StorageError, match="cannot write"):
        require_output(tmp_path / ("x" * 300), KIND)


def test_folder_that_takes_no_memory_makes_the_file_the_users(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    monkeypatch.setattr(outputs, "_beside", lambda path: path / "no folder")
    write_output(tmp_path / "a", KIND, b"one")
    refused(tmp_path / "a")
