"""Which files that run code when they are opened were written here: their checksums, in a folder that is the user's alone.

PyTorch's own exports (``.pt2``, ``.torchscript``) are programs. A checksum cannot be written into the file itself, where
whoever makes a file can make it, too; it stands in the user's cache folder. So a file that came from elsewhere, or was
changed since, is not taken for one of ours. Who may write into that folder, or run programs as the user, is not kept out.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.models.download import cache_folder

_BY_THIS_PROCESS: set[str] = set()  # also where the folder cannot be written


def remember(path: Path) -> None:
    """Notes that a file was written here; call it before the file gets the name under which others could replace it."""
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    _BY_THIS_PROCESS.add(checksum)
    try:
        folder = _folder()
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / checksum).touch(mode=0o600)
    except OSError:
        pass  # opened later, the file is then one that is not known


def was_written_here(content: bytes) -> bool:
    """Returns whether a file of this content was written by :func:`remember`'s callers, for this user on this machine."""
    checksum = hashlib.sha256(content).hexdigest()
    if checksum in _BY_THIS_PROCESS:
        return True
    try:
        folder = _folder()
        return _is_private(folder, stat.S_ISDIR) and _is_private(folder / checksum, stat.S_ISREG)
    except (OSError, StorageError):
        return False


def _folder() -> Path:
    return cache_folder() / "written"


def _is_private(path: Path, kind: Callable[[int], bool]) -> bool:
    """Returns whether a file or folder is of that kind, belongs to the user, and nobody else can write it."""
    about = path.lstat()
    mine = not hasattr(os, "geteuid") or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)
    return kind(about.st_mode) and mine
