"""Fetches a weight file once: progress, resume after a break, hash check, and a cache folder that also works offline."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from rtmdet_lab.errors import StorageError

CHUNK = 1 << 20  # bytes
TIMEOUT_S = 30


class DownloadError(StorageError):
    """The file could not be had; the message names it and says where to put it by hand."""


def cache_folder() -> Path:
    """Returns where downloads are kept: ``RTMDET_LAB_CACHE``, or ``rtmdet_lab`` in the user's cache folder."""
    if os.environ.get("RTMDET_LAB_CACHE"):
        return Path(os.environ["RTMDET_LAB_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtmdet_lab"


def fetch(url: str, sha256_prefix: str = "", folder: Path | None = None, progress: bool = True) -> Path:
    """Returns the local path of ``url``'s file, downloading it unless it is already in the cache folder.

    A partial download stays as ``NAME.part`` and is continued next time. The finished file appears under its name only
    after its SHA-256 starts with ``sha256_prefix``.

    Raises:
        DownloadError: no network, the server says no, or the content does not have the expected hash.
    """
    folder = folder or cache_folder()
    name = url.rsplit("/", 1)[1]
    if name in ("", ".", "..") or "\0" in name:
        raise DownloadError(f"{url!r} names no file: give the address of a weight file")
    target = folder / name
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        _download(url, part, progress)
    except urllib.error.URLError as error:
        raise DownloadError(f"cannot download {url} ({error.reason}): fetch it by hand and save it as {target}") from error
    except (http.client.HTTPException, ValueError) as error:  # no web server there, or no address
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(f"cannot download {url} ({reason}): fetch it by hand and save it as {target}") from error
    except OSError as error:
        raise DownloadError(f"cannot download {url} to {folder} ({error}): run again to continue") from error
    digest = _sha256(part)
    if not digest.startswith(sha256_prefix):
        part.unlink()
        raise DownloadError(
            f"{url} came with SHA-256 {digest[:8]} where {sha256_prefix} was expected: the damaged file was removed, "
            f"try again or save a good copy as {target}"
        )
    os.replace(part, target)
    return target


def _download(url: str, part: Path, progress: bool) -> None:
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the part is already whole, or longer than the file: the hash decides
            return
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        bar = tqdm(
            total=total, initial=have if resumed else 0, unit="B", unit_scale=True, desc=part.stem, disable=not progress
        )
        with part.open("ab" if resumed else "wb") as file, bar:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and part.stat().st_size < total:
            raise OSError(f"connection closed after {part.stat().st_size} of {total} bytes")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
