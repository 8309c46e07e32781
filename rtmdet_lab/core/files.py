"""Files that survive: written whole or not at all, read with errors that say which file and where."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from rtmdet_lab.core.errors import DataError, StorageError, shortened

Result = TypeVar("Result")

# What the system answers while a network folder is away; a file that does not exist or is forbidden has other numbers.
AWAY = tuple(
    getattr(errno, name)
    for name in (
        "ESTALE",
        "EIO",
        "EREMOTEIO",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ENOTCONN",
    )
    if hasattr(errno, name)
)
PATIENCE_S = 60.0  # how long a folder may be away


def patiently(action: Callable[[], Result], patience_s: float | None = None) -> Result:
    """Returns what ``action`` returns; tries again while the system says that the folder is away, up to a minute.

    Raises:
        OSError: the last one, where the folder does not return in time; any other at once.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    pause = 0.05
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno not in AWAY or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 5.0)


def write_atomic(
    path: Path, data: bytes | Callable[[BinaryIO], None], size: int | None = None, earlier: Path | None = None
) -> None:
    """Writes a file so that either the old or the whole new content is there, whatever happens meanwhile.

    A link stays: the file it names is replaced. A file keeps its mode and, where the system lets it, its owner. A character
    device or a pipe is written into; nothing takes its place.

    Args:
        data: the content, or a function that writes it to an open file.
        size: expected bytes of what a function writes, for the message.
        earlier: where the old content stays, in the same folder; ``path`` is never missing while that is arranged.

    Raises:
        StorageError: not writable, or no space; the previous file is untouched and the message names the space needed.
    """
    size = len(data) if isinstance(data, bytes) else size
    try:
        patiently(lambda: _write_once(path, data, earlier))
    except (OSError, RuntimeError) as error:
        needed = f"; about {size / 2**20:.1f} MiB are needed" if size else ""
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise StorageError(f"cannot write {path} ({reason}){needed}; any earlier version is intact") from error


def _write_once(path: Path, data: bytes | Callable[[BinaryIO], None], earlier: Path | None) -> None:
    stream = _open_stream(path)
    if stream is not None:
        with os.fdopen(stream, "wb") as file:
            _fill(file, data)
        return
    # A file that keeps its earlier content under a second name has that in its own folder.
    place = Path(os.path.realpath(path)) if earlier is None else path
    temporary = None
    try:
        if earlier is None and place.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        place.parent.mkdir(parents=True, exist_ok=True)
        before = place.stat() if place.exists() else None
        if before is not None and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        with os.fdopen(handle, "wb") as file:
            _fill(file, data)
            file.flush()
            os.fsync(file.fileno())
        if before is not None and before.st_uid != os.geteuid():
            with contextlib.suppress(OSError):  # only root may give files away
                os.chown(temporary, before.st_uid, before.st_gid)
        os.chmod(temporary, 0o666 & ~_umask() if before is None else stat.S_IMODE(before.st_mode))
        if earlier is not None and place.exists():
            _keep(place, earlier)
        os.replace(temporary, place)
    except RuntimeError as error:
        # torch.save answers a full disk with a RuntimeError of its own, behind which the system's stands.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def _fill(file: BinaryIO, data: bytes | Callable[[BinaryIO], None]) -> None:
    if isinstance(data, bytes):
        file.write(data)
    else:
        data(file)


def standard_stream(path: Path) -> int | None:
    """Returns the number of this process's open file that a path such as /dev/stdout names; None for other paths."""
    name = str(path)
    if name in ("/dev/stdout", "/dev/stderr"):
        return 1 if name.endswith("out") else 2
    number = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", name)
    return int(number[1]) if number else None


def _open_stream(path: Path) -> int | None:
    """Returns a descriptor of a device or pipe to write into; None for what is a file or does not exist.

    Raises:
        OSError: it is not open, nobody reads it, or it is a disk or a socket.
    """
    number = standard_stream(path)
    if number is not None:
        sys.stdout.flush()
        return os.dup(number)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        raise OSError(errno.EINVAL, "it is a disk or a socket")
    stream = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)  # at once: a pipe without a reader would never open
    os.set_blocking(stream, True)
    return stream


def _keep(path: Path, earlier: Path) -> None:
    """Gives the content of ``path`` the name ``earlier``, too."""
    temporary = f"{earlier}.{os.getpid()}"
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links: for a moment the content has its second name only
        os.replace(path, earlier)
    else:
        os.replace(temporary, earlier)
        # Where both were the same file already, nothing is renamed.
        Path(temporary).unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """Makes a folder, or raises StorageError if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(f"cannot write into {folder} ({error.strerror}): choose another folder") from error


def write_json(path: Path, content: Any) -> None:
    """Writes ``content`` as indented JSON, atomically. NaN and infinities, which JSON does not know, become null."""
    write_atomic(path, as_json(content))


def as_json(content: Any) -> bytes:
    """Returns ``content`` as indented JSON; NaN and infinities become null."""
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except ValueError:
        text = json.dumps(_without_nan(content), indent=2, allow_nan=False)
    return (text + "\n").encode()


def _without_nan(content: Any) -> Any:
    if isinstance(content, Mapping):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def read_json(path: Path, what: str = "file") -> Any:
    """Returns the content of a JSON file.

    Raises:
        DataError: missing, unreadable, empty or not JSON; names the file, and the line where it goes wrong.
    """
    try:
        require_plain(path, what)
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no {what} {path}: the file does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read {what} {path}: {error.strerror}") from error
    except DataError:
        raise
    except ValueError:  # a zero byte in the name
        raise DataError(f"cannot read {what} {str(path)!r}: no file has that name") from None
    if not text.strip():
        raise DataError(f"{what} {path} is empty")
    try:
        content = json.loads(text, parse_int=_whole_number)
        if LONE_SURROGATE.search(text):  # seldom, and then most are halves of pairs
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except _HugeNumberError as error:
        line = text[: text.find(str(error).encode())].count(b"\n") + 1
        shown = shortened(str(error), 20)
        raise DataError(
            f"{what} {path} has the number {shown} in line {line}, larger than any id or count: correct it"
        ) from None
    except UnicodeEncodeError:
        raise DataError(f"{what} {path} has half a character (such as \\ud800) in a text: write the file again") from None
    except (ValueError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"{what} {path} is not valid JSON ({where})") from error


LONE_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class _HugeNumberError(Exception):
    """A whole number that fits no integer of 64 bits."""


def _whole_number(digits: str) -> int:
    if len(digits) > 18 and not -(2**63) <= int(digits[:4000]) < 2**63:  # very long ones are refused by int itself
        raise _HugeNumberError(digits)
    return int(digits)


def require_plain(path: Path, what: str = "file") -> None:
    """Raises DataError for a device, pipe or socket: one may have no end, and one that nobody writes to never answers.

    Raises:
        OSError: as of ``stat``, for a path that cannot be looked at.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError(f"{what} {path} is a device or pipe, not a file: name a file")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
