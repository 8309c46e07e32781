"""Fetches a weight file once: progress, resume after a break, checksums, and a cache folder that also works offline.

A file lies in the cache under its whole address, host included: ``KEY/NAME``, where NAME is the last part of the address and
KEY stands for all of it. Where the checksum is known it is compared at every use, so that a published file is never another.
Passwords and query strings of addresses are in no message and no name.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
from pathlib import Path

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.locking import locked
from rtmdet_lab.models.transfer import CHUNK, transfer


class DownloadError(StorageError):
    """The file could not be had; the message names it and says where to put it by hand."""


def cache_folder() -> Path:
    """Returns where downloads are kept: ``RTMDET_LAB_CACHE``, or ``rtmdet_lab`` in the user's cache folder.

    Raises:
        DownloadError: there is no home folder and neither variable is set.
    """
    if os.environ.get("RTMDET_LAB_CACHE"):
        return Path(os.environ["RTMDET_LAB_CACHE"])
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtmdet_lab"
    except RuntimeError as error:
        raise DownloadError("no home folder is known to keep downloads in: set RTMDET_LAB_CACHE to a folder") from error


def is_address(source: object) -> bool:
    """Returns whether a weight file is named by a URL."""
    return re.match(r"[a-z][a-z0-9+.-]+://", str(source), re.IGNORECASE) is not None


def public_name(source: object) -> str:
    """Returns how a path, name or URL is shown and recorded: a URL without what may be secret.

    >>> public_name("https://me:word@example.org/net.pth?token=5#top")
    'https://example.org/net.pth?...'
    """
    text = str(source)
    if not is_address(text):
        return text
    scheme, _, rest = text.partition("://")
    # By hand: an address that no library takes apart may hold a secret, too.
    host, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}" + ("?..." if "?" in rest else "")


def cached_path(url: str, folder: Path | None = None) -> Path:
    """Returns where the file of an address lies in the cache, be it there or not.

    Raises:
        DownloadError: no address of a file.
    """
    shown = public_name(url)
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1)
    except ValueError:
        known = False
    if not known or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise DownloadError(f"{shown!r} is no address of a weight file: give one that begins with http:// or https://")
    name = re.sub(r"[^\w.-]", "_", urllib.parse.unquote(parts.path).rpartition("/")[2])[-100:]
    if not name.strip("._"):
        raise DownloadError(f"{shown!r} names no file: give the address of a weight file")
    # Slow to compute, so that a weak password in an address cannot be found by trying.
    rounds = 100_000 if shown != url else 1
    key = hashlib.pbkdf2_hmac("sha256", url.encode("utf-8", "surrogatepass"), b"rtmdet_lab", rounds).hex()[:16]
    return (folder or cache_folder()) / key / name


def fetch(url: str, sha256_prefix: str = "", folder: Path | None = None, progress: bool = True) -> Path:
    """Returns the local path of ``url``'s file, downloading it unless it is already in the cache folder.

    A partial download stays as ``NAME.part`` and is continued next time. The finished file appears under its name only
    after its SHA-256 starts with ``sha256_prefix``, and is compared with it again whenever it is asked for. Of several
    processes one downloads and the others wait for it.

    Raises:
        DownloadError: no network, the server says no, or the content does not have the expected checksum.
    """
    folder = folder or cache_folder()
    target = cached_path(url, folder)
    shown = public_name(url)
    try:
        # Saved by hand, or by an earlier version: a checksum tells that it is the file, its name would not.
        by_name = folder / target.name
        if sha256_prefix and by_name.is_file() and _sha256(by_name).startswith(sha256_prefix):
            return by_name
        if target.exists():
            return _checked(target, sha256_prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _failed(shown, target, error) from error
    part = target.with_name(f"{target.name}.part")
    try:
        with locked(target.with_name(f"{target.name}.lock"), f"downloading {shown}", lambda: _size(part)):
            if target.exists():  # another process was faster
                return _checked(target, sha256_prefix)
            _download(url, part, bool(sha256_prefix), target.name if progress else None)
            digest = _sha256(part)
            if not digest.startswith(sha256_prefix):
                part.unlink()
                raise DownloadError(
                    f"{shown} came with SHA-256 {digest[:8]} where {sha256_prefix} was expected: the damaged file was "
                    f"removed, try again or save a good copy as {target}"
                )
            os.replace(part, target)
            part.with_name(f"{part.name}.origin").unlink(missing_ok=True)
    except DownloadError:
        raise
    except StorageError as error:
        raise DownloadError(str(error)) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed(shown, target, error) from error
    return target


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else -1


def _checked(path: Path, sha256_prefix: str) -> Path:
    if not path.is_file():
        raise DownloadError(f"{path} is no file: remove it, a download belongs there")
    if sha256_prefix and not (digest := _sha256(path)).startswith(sha256_prefix):
        raise DownloadError(
            f"{path} has SHA-256 {digest[:8]} where {sha256_prefix} was expected: it is damaged or another file, remove it "
            "and run again"
        )
    return path


def _download(url: str, part: Path, checked: bool, title: str | None) -> None:
    from tqdm import tqdm

    with contextlib.ExitStack() as shown:
        bar = None
        for done, total in transfer(url, part, checked):
            if bar is None and done:  # no bar over the sentence that says why nothing comes
                bar = shown.enter_context(tqdm(total=total, unit="B", unit_scale=True, desc=title, disable=title is None))
            if bar is not None:
                bar.update(done - bar.n)


def _failed(shown: str, target: Path, error: Exception) -> DownloadError:
    by_hand = f"fetch it by hand and save it as {target}"
    if isinstance(error, urllib.error.HTTPError):
        # The server's own words may repeat the address.
        return DownloadError(
            f"cannot download {shown} ({error.code} {http.client.responses.get(error.code, 'error')}): {by_hand}"
        )
    if isinstance(error, urllib.error.URLError) and not isinstance(error.reason, OSError):
        return DownloadError(f"cannot download {shown}: {by_hand}")
    if isinstance(error, urllib.error.URLError):
        return DownloadError(f"cannot download {shown} ({error.reason}): {by_hand}")
    if isinstance(error, OSError):
        return DownloadError(f"cannot download {shown} to {target.parent} ({error}): run again to continue")
    reason = type(error).__name__ if isinstance(error, ValueError) else " ".join(str(error).split())[:200]
    return DownloadError(f"cannot download {shown} (no web server answered: {reason or type(error).__name__}): {by_hand}")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
