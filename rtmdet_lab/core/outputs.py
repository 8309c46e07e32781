"""Files that a user names for a result: none of them takes the place of something else.

One rule for all: a file is written where there is none, and replaced where it is what the same kind of result left there
and nobody has changed since. Everything else (other files, results that were edited, inputs) is refused, in a sentence, and
before the work where the name is known by then.

What is written is remembered as an attribute of the file, or, on file systems without those, in a hidden file beside it:
the kind of result and the checksum of the content. Files that are moved or copied without it become files of the user.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.files import as_json, standard_stream, write_atomic

ATTRIBUTE = "user.rtmdet_lab.output"


def require_output(path: Path, kind: str, inputs: Collection[tuple[int, int]] = ()) -> None:
    """Raises StorageError where a result must not be written: see the module's rule.

    Args:
        kind: of result, as a sentence names it ("drawing"); only a file of the same kind is replaced.
        inputs: device and number of the files that the result is made of.
    """
    if standard_stream(path) is not None:
        return
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{path} is a folder: name a file for the {kind}")
        if not stat.S_ISREG(found.st_mode):
            return  # written into, never replaced
        if (found.st_dev, found.st_ino) in inputs:
            raise StorageError(f"{path} would replace the file it is made of: name another place for the {kind}")
        if found.st_size and _remembered(path) != _memory(kind, _checksum(path)):
            raise StorageError(
                f"{path} exists and is not a {kind} as it was last written there: name another place, or move it away"
            )
    except FileNotFoundError:
        return
    except StorageError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot write {path} ({getattr(error, 'strerror', None) or error})") from error


def require_outputs(outputs: Mapping[Path, str], inputs: Iterable[Path] = ()) -> None:
    """Checks all files of a call at once, before its work; ``outputs``: path -> kind of result."""
    used = {identity for path in inputs if (identity := _identity(path))}
    for path, kind in outputs.items():
        require_output(path, kind, used)


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns the device and number of a file; None where there is none, which whoever reads it says better."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def write_output(path: Path, kind: str, data: bytes | Callable[[BinaryIO], None]) -> None:
    """Writes a result by the module's rule, whole or not at all; into devices and pipes it is written as it is.

    Raises:
        StorageError: the place is taken by something else, or cannot be written.
    """
    if not isinstance(data, bytes):
        stream = io.BytesIO()
        data(stream)
        data = stream.getvalue()
    if not _holds(path, data):
        require_output(path, kind)
        write_atomic(path, data)
    remember_output(path, kind)


def write_json_output(path: Path, kind: str, content: Any) -> None:
    """Writes a result as indented JSON; NaN and infinities, which JSON does not know, become null."""
    write_output(path, kind, as_json(content))


def remember_output(path: Path, kind: str) -> None:
    """Has a file that was just written taken for a result of that kind, as long as nobody changes it."""
    if standard_stream(path) is not None or not path.is_file():
        return
    path = Path(os.path.realpath(path))
    memory = _memory(kind, _checksum(path)).encode()
    try:
        os.setxattr(path, ATTRIBUTE, memory)
    except (OSError, AttributeError):
        try:
            write_atomic(_beside(path), memory)
        except StorageError:  # a folder that takes no other files: the file is the user's from here on
            return


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has this very content already: then nothing is lost, whoever wrote it."""
    try:
        return standard_stream(path) is None and path.is_file() and path.read_bytes() == data
    except (OSError, ValueError):
        return False


def _remembered(path: Path) -> str:
    path = Path(os.path.realpath(path))
    try:
        return os.getxattr(path, ATTRIBUTE).decode()
    except (OSError, AttributeError, UnicodeDecodeError):
        pass
    try:
        beside = _beside(path)
        return beside.read_bytes().decode() if stat.S_ISREG(beside.lstat().st_mode) else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.rtmdet-lab")


def _memory(kind: str, checksum: str) -> str:
    return f"{kind} {checksum}"


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
