"""A run folder belongs to one training at a time, and what a finished one left is not written over."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.files import require_writable
from rtmdet_lab.engine.state import has_state

LOCK_NAME = "training.lock"
RESULTS = ("results.json", "predictions.json", "best.safetensors", "last.safetensors")


@contextmanager
def run_folder(folder: Path, note: Callable[[str], None]) -> Iterator[None]:
    """Keeps other trainings out of ``folder`` while the context lasts.

    The lock is the operating system's and goes with the process. Its file stays behind where a training is killed, which is
    how the next one knows that weights it finds there without a state are that training's.

    Args:
        note: told where the file system knows no locks.

    Raises:
        StorageError: another training is at work there; or it holds results without a state, which would be written over.
    """
    was_there = folder.exists()
    require_writable(folder)
    path = folder / LOCK_NAME
    was_killed = path.exists()
    handle = _locked(path, note)
    try:
        held = [name for name in RESULTS if (folder / name).exists()]
        if held and not has_state(folder) and not was_killed:
            path.unlink(missing_ok=True)
            raise StorageError(
                f"{folder} holds {held[0]} and no state to go on from: choose another output folder, or move that away"
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
        path.unlink(missing_ok=True)
    except BaseException:
        if has_state(folder) or not any((folder / name).exists() for name in RESULTS):
            path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
        if not was_there:
            with suppress(OSError):  # nothing was written: no folder is left
                folder.rmdir()


def _locked(path: Path, note: Callable[[str], None]) -> int:
    """Returns an open, locked file; POSIX locks, since a loader process that outlives its training would inherit others."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        try:
            handle = os.open(path, flags, 0o644)
        except OSError as error:
            raise StorageError(f"cannot lock {path} ({error.strerror}): choose another output folder") from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise StorageError(f"{path} is a device or pipe, not a file: choose another output folder")
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(path.stat(), os.fstat(handle)):
                return handle
            os.close(handle)  # the training that ended just now has removed it
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                other = os.pread(handle, 200, 0).decode("utf-8", "replace") or "another process"
                os.close(handle)
                raise StorageError(
                    f"a training is at work in {path.parent} ({other}): wait for its end, or choose another output folder"
                ) from None
            if isinstance(error, StorageError):
                os.close(handle)
                raise
            note(f"{path.parent} lies on a file system without locks: let no second training write there")
            return handle
