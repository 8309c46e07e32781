"""Downloads from a server in this process: whole, in pieces, wrong, and not at all."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core import locking
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.models import transfer
from rtmdet_lab.models.checkpoints import locate
from rtmdet_lab.models.download import DownloadError, cache_folder, cached_path, fetch, public_name

NAME = "net-0123abcd.pth"
CONTENT = bytes(torch.randint(256, (300_000,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).tolist())
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


class Server:
    """Hands out ``CONTENT``; the fields change how."""

    def __init__(self, port: int) -> None:
        self.url, self.stop = f"http://127.0.0.1:{port}/folder/{NAME}", threading.Event()
        self.status, self.ranges, self.stop_after, self.greeting = 200, True, None, None
        self.etag, self.range, self.length, self.redirect, self.pause = '"1"', None, None, None, 0.0
        self.asked: list[str | None] = []  # the Range of every request
        self.names: list[str | None] = []  # and its user with password, in Base64


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            told.asked.append(self.headers.get("Range"))
            told.names.append(self.headers.get("Authorization"))
            if told.greeting is not None:
                self.wfile.write(told.greeting)
                return
            if told.status != 200:
                self.send_error(told.status)
                return
            if told.redirect is not None:
                self.send_response(302)
                self.send_header("Location", told.redirect)
                self.end_headers()
                return
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            same = self.headers.get("If-Range") in (None, told.etag)
            start = int(wanted[1]) if wanted and told.ranges and same else 0
            if start and start >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if told.length != "":
                self.send_header("Content-Length", told.length or str(len(CONTENT) - start))
            if start:
                self.send_header("Content-Range", told.range or f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
            if told.etag:
                self.send_header("ETag", told.etag)
            self.end_headers()
            stop = len(CONTENT) if told.stop_after is None else start + told.stop_after
            with contextlib.suppress(OSError):  # who asked may have gone
                for place in range(start, stop, 1 if told.pause else len(CONTENT)):
                    self.wfile.write(CONTENT[place : min(stop, place + 1) if told.pause else stop])
                    if told.pause and told.stop.wait(told.pause):
                        break

        def log_message(self, *_):
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Server(web.server_port)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    told.stop.set()
    web.shutdown()
    web.server_close()
    thread.join()


def refused(url: str, folder: Path, *words: str, prefix: str = PREFIX) -> None:
    with pytest.raises(DownloadError) as error:
        fetch(url, prefix, folder, progress=False)
    assert_one_sentence(error.value, url, *words)
    assert not list(folder.glob(f"**/{NAME}"))


def placed(url: str, folder: Path, content: bytes, suffix: str = "", etag: str = "") -> Path:
    """Returns the place of a file in the cache, with content."""
    path = cached_path(url, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(path.name + suffix).write_bytes(content)
    if etag:
        path.with_name(f"{path.name}.part.origin").write_text(etag)
    return path


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_whole_file_appears_under_its_name_with_progress(server, tmp_path, capsys, prefix):
    path = fetch(server.url, prefix, tmp_path / "new")
    assert path == cached_path(server.url, tmp_path / "new")
    assert path.name == NAME
    assert path.read_bytes() == CONTENT
    assert {one.name for one in path.parent.iterdir()} <= {NAME, f"{NAME}.lock"}
    shown = capsys.readouterr().err
    assert NAME in shown
    assert "100%" in shown


def test_progress_can_be_silent(server, tmp_path, capsys):
    fetch(server.url, PREFIX, tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def test_file_that_is_there_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    url = f"https://example.invalid/{NAME}"
    (tmp_path / NAME).write_bytes(CONTENT)  # saved by hand, where its checksum tells that it is the file
    assert fetch(url, PREFIX, tmp_path) == tmp_path / NAME
    for prefix, content in ((PREFIX, CONTENT), ("", b"mine")):
        path = placed(url, tmp_path, content)
        assert fetch(url, "" if content == b"mine" else prefix, tmp_path).read_bytes() == content
    assert path.read_bytes() == b"mine"


def test_file_of_that_name_from_elsewhere_is_not_taken(server, tmp_path):
    (tmp_path / NAME).write_bytes(b"a stranger's")
    other = server.url.replace("127.0.0.1", "localhost")
    placed(other, tmp_path, b"another host's")
    placed(server.url.replace("/folder/", "/other/"), tmp_path, b"another folder's")
    placed(f"{server.url}?version=2", tmp_path, b"another version")
    assert fetch(server.url, "", tmp_path, progress=False).read_bytes() == CONTENT
    assert fetch(other, "", tmp_path, progress=False).read_bytes() == b"another host's"


def test_published_file_that_is_another_by_now_is_refused_at_every_use(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    url = f"https://example.invalid/{NAME}"
    path = placed(url, tmp_path, CONTENT)
    assert fetch(url, PREFIX, tmp_path) == path
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(DownloadError) as error:
        fetch(url, PREFIX, tmp_path)
    assert_one_sentence(error.value, str(path), PREFIX, "remove it")
    path.unlink()
    path.mkdir()
    with pytest.raises(DownloadError, match="is no file"):
        fetch(url, PREFIX, tmp_path)


@pytest.mark.parametrize("sent", [1, 1000, len(CONTENT) - 1])
def test_broken_connection_is_resumed_where_it_broke(server, tmp_path, sent):
    server.stop_after = sent
    refused(server.url, tmp_path, f"{sent} of {len(CONTENT)} bytes", "run again to continue")
    server.stop_after = None
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == [None, f"bytes={sent}-"]


def test_server_that_cannot_resume_is_asked_for_everything(server, tmp_path):
    server.ranges = False
    placed(server.url, tmp_path, CONTENT[:1000], ".part")
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-"]


def test_part_that_is_already_whole_is_used(server, tmp_path):
    placed(server.url, tmp_path, CONTENT, ".part")
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("part", [b"", b"x" * 1000, CONTENT + b"x"], ids=["fresh", "another file's", "too long"])
def test_wrong_content_is_removed_and_the_next_try_starts_over(server, tmp_path, part):
    if part:
        placed(server.url, tmp_path, part, ".part")
    prefix = PREFIX if part else "00000000"
    refused(server.url, tmp_path, prefix, str(cached_path(server.url, tmp_path)), prefix=prefix)
    assert not list(tmp_path.glob("**/*.part"))
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_refusal_of_the_server_says_where_to_put_the_file(server, tmp_path, status):
    server.status = status
    refused(server.url, tmp_path, str(cached_path(server.url, tmp_path)))


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-"])
def test_server_that_speaks_something_else_is_a_sentence(server, tmp_path, greeting):
    server.greeting = greeting
    refused(server.url, tmp_path, str(tmp_path))


def test_refused_connection_says_where_to_put_the_file(tmp_path):
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/{NAME}"
        refused(url, tmp_path, str(cached_path(url, tmp_path)))


def test_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.1)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        refused(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}", tmp_path, str(tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        *("http://[bad/x.pth", "http://127.0.0.1:none/x.pth", "http://127.0.0.1/a b.pth", "http:///x.pth"),
        *("http://127.0.0.1/", "http://127.0.0.1/..", "http://127.0.0.1", "file:///etc/passwd", "ftp://127.0.0.1/x.pth"),
    ],
)
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


@pytest.mark.parametrize(
    "told", ["bytes 0-299999/300000", "bytes 999-299999/300000", "bytes 1000-5/300000", "rubbish", "bytes */9"]
)
def test_part_that_is_not_what_was_asked_for_is_never_joined(server, tmp_path, told):
    server.range = told
    placed(server.url, tmp_path, CONTENT[:1000], ".part", etag=server.etag)
    assert fetch(server.url, "", tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize(("etag", "continued"), [('"1"', True), ('"2"', False), ("", False)])
def test_without_a_checksum_only_the_same_file_is_continued(server, tmp_path, etag, continued):
    placed(server.url, tmp_path, CONTENT[:1000] if continued else b"x" * 1000, ".part", etag=etag)
    assert fetch(server.url, "", tmp_path, progress=False).read_bytes() == CONTENT
    assert server.asked == (["bytes=1000-"] if etag else [None])


@pytest.mark.parametrize("length", ["", "-1", "1e3", str(1 << 50), str(len(CONTENT) + 1)])
def test_length_that_is_none_or_not_kept_is_refused(server, tmp_path, length):
    server.length = length
    refused(server.url, tmp_path, prefix="")
    if length == "":  # a checksum says what the length would
        assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "where", ["ftp://127.0.0.1/x.pth", "file:///etc/passwd", "data:,x", "http://127.0.0.1:1/loop?key=hidden"]
)
def test_redirects_lead_to_no_other_scheme_and_are_not_quoted(server, tmp_path, where):
    server.redirect = where
    with pytest.raises(DownloadError) as error:
        fetch(server.url, "", tmp_path, progress=False)
    assert_one_sentence(error.value, server.url)
    assert "passwd" not in str(error.value)
    assert "hidden" not in str(error.value)


def test_server_that_drips_is_given_up_and_what_came_is_kept(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WINDOW_S", 0.3)
    server.pause = 0.02
    refused(server.url, tmp_path, "less than 32 KiB came in 0.3 s", "run again to continue")
    monkeypatch.setattr(transfer, "WINDOW_S", 30.0)
    server.pause = 0.0
    assert fetch(server.url, PREFIX, tmp_path, progress=False).read_bytes() == CONTENT
    assert re.fullmatch(r"bytes=\d+-", server.asked[1])


def test_server_that_drips_its_headers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WINDOW_S", 0.3)
    ended = threading.Event()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        refused(f"http://127.0.0.1:{listening.getsockname()[1]}/{NAME}", tmp_path, "less than 32 KiB")
        ended.set()
        thread.join()


def test_transfer_as_a_whole_has_a_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "MOST_S", 0.2)
    server.pause = 0.02
    refused(server.url, tmp_path, "it took more than")


def test_several_that_ask_at_once_download_it_once(server, tmp_path):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(server.url, PREFIX, tmp_path, progress=False))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {path.read_bytes() for path in found} == {CONTENT}
    assert server.asked == [None]


def test_one_that_waits_for_nothing_is_told(server, tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE_S", 0.2)
    path = cached_path(server.url, tmp_path)
    path.parent.mkdir()
    with FileLock(f"{path}.lock"):
        refused(server.url, tmp_path, "another process")


SECRET = "s3cr3t"


def test_secrets_of_an_address_are_used_and_never_shown(server, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RTMDET_LAB_CACHE", str(tmp_path))
    url = server.url.replace("://", f"://me:{SECRET}@") + f"?token={SECRET}#{SECRET}"
    path = fetch(url)
    assert path.read_bytes() == CONTENT
    assert server.names == ["Basic bWU6czNjcjN0"]
    assert not [one for one in tmp_path.glob("**/*") if SECRET in str(one)]
    assert SECRET not in "".join(capsys.readouterr())
    server.status = 403
    for address in (
        url.replace(NAME, "other.pth"),
        url.replace("http:", "ftp:"),
        url.replace("127.0.0.1", "[bad"),
        url + " ",
    ):
        for ask in (fetch, locate):
            with pytest.raises(DownloadError) as error:
                ask(address)
            assert SECRET not in str(error.value)
            assert "?..." in str(error.value)


def test_address_that_lost_a_slash_as_a_path_is_one(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RTMDET_LAB_CACHE", str(tmp_path))
    assert locate(Path(server.url)).read_bytes() == CONTENT


def test_settings_of_a_run_hold_no_secret():
    assert public_name("best.safetensors") == "best.safetensors"
    for address in (f"https://me:{SECRET}@host/x.pth", f"https://host/x.pth?token={SECRET}", f"https:/host/x.pth#{SECRET}"):
        for settings in ({"train.init_weights": address}, {"train": {"init_weights": address}}):
            with pytest.raises(SettingError) as error:
                with_overrides(ExperimentConfig(), settings)
            assert SECRET not in str(error.value)
    for source in ("https://host/x.pth", "runs/a@b/best.safetensors", "a?.pth", "rtmdet-tiny-coco"):
        assert with_overrides(ExperimentConfig(), {"train.init_weights": source}).train.init_weights == source


def test_no_home_folder_is_a_sentence(monkeypatch):
    for name in ("RTMDET_LAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(DownloadError, match="RTMDET_LAB_CACHE"):
        cache_folder()
