"""Downloads from a server in this process: whole, in pieces, wrong, and not at all."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from rtmdet_lab.models import download
from rtmdet_lab.models.download import DownloadError, cache_folder, fetch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_sets import assert_one_sentence

NAME = "net-0123abcd.pth"
CONTENT = bytes(torch.randint(256, (300_000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).tolist())
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


class Server:
    """Hands out ``CONTENT``; ``status``, ``ranges``, ``stop_after`` and ``greeting`` change how."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/folder/{NAME}"
        self.status, self.ranges, self.stop_after, self.greeting = 200, True, None, None
        self.asked: list[str | None] = []  # the Range of every request


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            told.asked.append(self.headers.get("Range"))
            if told.greeting is not None:
                self.wfile.write(told.greeting)
                return
            if told.status != 200:
                self.send_error(told.status)
                return
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted and told.ranges else 0
            if start and start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(CONTENT) - start))
            self.end_headers()
            stop = len(CONTENT) if told.stop_after is None else start + told.stop_after
            self.wfile.write(CONTENT[start:stop])

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Server(web.server_port)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    web.shutdown()
    web.server_close()
    thread.join()


def refused(url: str, folder: Path, *words: str, prefix: str = PREFIX) -> None:
    with pytest.raises(DownloadError) as error:
        fetch(url, prefix, folder, progress=False)
    assert_one_sentence(error.value, url, *words)
    assert not (folder / NAME).exists()


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_whole_file_appears_under_its_name_with_progress(server, tmp_path, capsys, prefix):
    path = fetch(server.url, prefix, tmp_path / "new")
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == [NAME]
    shown = capsys.readouterr().err
    assert NAME in shown
    assert "100%" in shown


def test_progress_can_be_silent(server, tmp_path, capsys):
    fetch(server.url, PREFIX, tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def test_file_that_is_there_needs_no_network(tmp_path, monkeypatch):
    (tmp_path / NAME).write_bytes(b"mine")
    monkeypatch.setattr(socket, "socket", None)
    assert fetch(f"https://example.invalid/{NAME}", PREFIX, tmp_path).read_bytes() == b"mine"


@pytest.mark.parametrize("sent", [1, 1000, len(CONTENT) - 1])
def test_broken_connection_is_resumed_where_it_broke(server, tmp_path, sent):
    server.stop_after = sent
    refused(server.url, tmp_path, f"{sent} of {len(CONTENT)} bytes", "run again to continue")
    server.stop_after = None
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={sent}-"]


def test_server_that_cannot_resume_is_asked_for_everything(server, tmp_path):
    server.ranges = False
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:1000])
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_part_that_is_already_whole_is_used(server, tmp_path):
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"x" * 1000, CONTENT + b"x"], ids=["fresh", "another file's", "too long"])
def test_wrong_content_is_removed_and_the_next_try_starts_over(server, tmp_path, part):
    if part:
        (tmp_path / f"{NAME}.part").write_bytes(part)
    prefix = PREFIX if part else "00000000"
    refused(server.url, tmp_path, prefix, str(tmp_path / NAME), prefix=prefix)
    assert not list(tmp_path.iterdir())
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_refusal_of_the_server_says_where_to_put_the_file(server, tmp_path, status):
    server.status = status
    refused(server.url, tmp_path, str(tmp_path / NAME))


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-"])
def test_server_that_speaks_something_else_is_a_sentence(server, tmp_path, greeting):
    server.greeting = greeting
    refused(server.url, tmp_path, str(tmp_path))


def test_refused_connection_says_where_to_put_the_file(tmp_path):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{NAME}"
        refused(url, tmp_path, str(tmp_path / NAME))


def test_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        refused(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}", tmp_path, str(tmp_path))


@pytest.mark.parametrize("url", ["http://[bad/x.pth", "http://127.0.0.1:none/x.pth", "http://127.0.0.1/a b.pth"])
def test_impossible_address_is_a_sentence(tmp_path, url):
    with pytest.raises(DownloadError) as error:
        fetch(url, "", tmp_path, progress=False)
    assert_one_sentence(error.value)


def test_folder_that_cannot_be_made_is_a_sentence(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError) as error:
        fetch(server.url, PREFIX, tmp_path / "file" / "cache", progress=False)
    assert_one_sentence(error.value, server.url, str(tmp_path / "file"))
    assert server.asked == []


def test_folder_of_downloads_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("RTMDET_LAB_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("RTMDET_LAB_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "rtmdet_lab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "rtmdet_lab"
