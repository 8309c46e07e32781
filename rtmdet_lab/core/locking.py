"""One process at a time: locks that end with the process, and that nobody waits for in vain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtmdet_lab.core.errors import StorageError

PATIENCE_S = 45.0  # how long who has a lock may show no progress


@contextmanager
def locked(
    path: Path, what: str, progress: Callable[[], Any] = lambda: None, patience_s: float | None = None
) -> Iterator[None]:
    """Context that one process at a time is in; another waits for it as long as it makes progress.

    Args:
        path: the lock's file; it stays, empty. The system frees the lock where its process ends, however that ends.
        what: is done inside, for the message: "drawing data/scenes".
        progress: whatever changes while the other process works; looked at twice a second.
        patience_s: how long it may show none; by default 45 s.

    Raises:
        StorageError: the file cannot be locked (another user's, no such folder), or the other process brings nothing.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    patience_s = PATIENCE_S if patience_s is None else patience_s
    before, since = progress(), time.monotonic()
    while True:
        try:
            path.open("ab").close()  # filelock takes a file that cannot be made for one that vanishes, and waits
            lock.acquire(timeout=0.5)
            break
        except Timeout:
            now = progress()
            if now != before:
                before, since = now, time.monotonic()
            if time.monotonic() - since > patience_s:
                raise StorageError(
                    f"another process has {path} locked for {what}, and brought nothing in {patience_s:.0f} s: wait for it "
                    "or end it, and try again"
                ) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"cannot lock {path} for {what} ({reason}): it must be a file of your own") from error
    try:
        yield
    finally:
        lock.release()
