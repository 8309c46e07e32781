"""One file over HTTP into a partial file: continued where that is safe, of the length the server says, and not without end.

A transfer that brings less than ``LEAST_BYTES`` in ``WINDOW_S`` seconds, the time to connect included, or takes longer than
``MOST_S`` is given up; what came stays for the next try. Only http and https are spoken, and no redirect leads elsewhere or
from https to http.
"""

from __future__ import annotations

import base64
import http.client
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHUNK = 1 << 20  # bytes
TIMEOUT_S = 30  # of a single answer of the network
WINDOW_S, LEAST_BYTES = 30.0, 32 * 1024
MOST_S = 6 * 3600
LARGEST = 8 << 30  # bytes; the published files have up to 1 GB


class TransferError(OSError):
    """The file did not come; the message says why in a few words, without anything of the address."""


def transfer(url: str, part: Path, checked: bool) -> Iterator[tuple[int, int | None]]:
    """Fetches ``url`` into ``part``, yielding the bytes that are there and those of the whole file, if known.

    Args:
        part: continued, where it holds the beginning of the same file.
        checked: whether the caller knows the file's checksum. Otherwise a part is continued only while the server says that
            the file is the same, and a file without a length is refused: it might have been cut.

    Raises:
        TransferError: wrong answers, too slow, too large. urllib's and http.client's errors; OSError of the disk.
    """
    job = _Job(url, part, checked)
    began = window_began = time.monotonic()
    window_bytes = 0
    thread = threading.Thread(target=job.run, daemon=True)  # names are looked up and headers read without any limit
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.05)
            now = time.monotonic()
            if now - began > MOST_S:
                raise TransferError(f"it took more than {MOST_S / 3600:.0f} hours")
            if now - window_began > WINDOW_S:
                if job.received - window_bytes < LEAST_BYTES and thread.is_alive():
                    raise TransferError(f"less than {LEAST_BYTES // 1024} KiB came in {WINDOW_S:g} s")
                window_began, window_bytes = now, job.received
            yield job.start + job.received, job.total
        if job.error is not None:
            raise job.error
        yield job.start + job.received, job.total
    finally:
        job.stop()


class _Job:
    """What the thread does, and how far it is."""

    def __init__(self, url: str, part: Path, checked: bool) -> None:
        self.url, self.part, self.checked = url, part, checked
        self.origin = part.with_name(f"{part.name}.origin")  # by what the server knows the file again
        self.start = self.received = 0
        self.total: int | None = None
        self.error: BaseException | None = None
        self._stopped, self._lock = False, threading.Lock()

    def run(self) -> None:
        try:
            self._fetch()
        except BaseException as error:  # raised again by who waits
            self.error = error

    def stop(self) -> None:
        """Returns when nothing will be written any more."""
        with self._lock:
            self._stopped = True

    def _fetch(self) -> None:
        response = self._open()
        if response is None:
            return
        with response, self.part.open("ab" if self.start else "wb") as file:
            while chunk := response.read1(CHUNK):
                with self._lock:
                    if self._stopped:
                        return
                    file.write(chunk)
                    file.flush()  # nothing is left to be written after it was stopped
                self.received += len(chunk)
                if self.start + self.received > LARGEST:
                    raise TransferError(f"it is larger than {LARGEST >> 30} GiB")
        here = self.start + self.received
        if self.total is not None and here != self.total:
            raise TransferError(f"connection closed after {here} of {self.total} bytes")

    def _open(self) -> http.client.HTTPResponse | None:
        """Returns the answer whose bytes belong behind the first ``start`` of the part, None if it is whole already."""
        have = self._continued_from()
        for start in (have, 0) if have else (0,):
            try:
                response = _ask(self.url, start, self._known_origin())
            except urllib.error.HTTPError as error:
                if error.code != 416 or not start:
                    raise
                if self.checked:  # the part is whole, or longer than the file: the checksum decides
                    self.start = self.total = start
                    return None
                continue
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise TransferError("the server sent it packed")
            if response.status == 200 or (response.status == 206 and start and _begins_at(response, start)):
                self._begin(response, start if response.status == 206 else 0)
                return response
            response.close()
        raise TransferError("the server answered with another part of it than was asked for")

    def _begin(self, response: http.client.HTTPResponse, start: int) -> None:
        length = response.headers.get("Content-Length")
        if length is not None and not re.fullmatch(r"\d{1,15}", length):
            raise TransferError("the server gave no length that is one")
        if length is None and not response.chunked and not self.checked:
            raise TransferError("the server does not say how long it is")
        self.start, self.total = start, None if length is None else start + int(length)
        if (self.total or 0) > LARGEST:
            raise TransferError(f"it is larger than {LARGEST >> 30} GiB")
        if not start:
            tag = response.headers.get("ETag", "")
            origin = response.headers.get("Last-Modified", "") if tag.startswith("W/") else tag
            self.origin.write_text((origin or response.headers.get("Last-Modified", "")).strip())

    def _continued_from(self) -> int:
        try:
            size = self.part.stat().st_size
        except FileNotFoundError:
            return 0
        return size if self.checked or self._known_origin() else 0

    def _known_origin(self) -> str:
        try:
            return self.origin.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""


def _ask(url: str, start: int, origin: str) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    request = urllib.request.Request(address, headers={"Accept-Encoding": "identity"})
    if "@" in parts.netloc:
        who = urllib.parse.unquote(parts.netloc.rpartition("@")[0])
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(who.encode()).decode())
    if start:
        request.add_header("Range", f"bytes={start}-")
        if origin:
            request.add_header("If-Range", origin)
    return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT_S)


def _begins_at(response: http.client.HTTPResponse, start: int) -> bool:
    """Returns whether a partial answer is what lies behind ``start``, up to the end."""
    told = re.fullmatch(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15}|\*)", response.headers.get("Content-Range", "").strip())
    if told is None or int(told[1]) != start:
        return False
    last, whole = int(told[2]), told[3]
    length = response.headers.get("Content-Length")
    return whole in ("*", str(last + 1)) and length in (None, str(last + 1 - start))


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, file: Any, code: int, text: str, headers: Any, address: str) -> Any:
        scheme = urllib.parse.urlsplit(address).scheme
        if scheme not in ("http", "https") or (request.type, scheme) == ("https", "http"):
            raise TransferError("the server redirects to where no file is fetched from")
        return super().redirect_request(request, file, code, text, headers, address)
