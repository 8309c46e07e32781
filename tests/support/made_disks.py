"""Disks that are small and folders that go away."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """Mounts a file system of that size on ``folder``; the test is skipped where the machine does not let us."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        reason = done.stderr.strip() if done.returncode else None
    except OSError as error:
        reason = str(error)
    if reason is not None:
        pytest.skip(f"cannot mount a small tmpfs here: {reason}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fills a disk with a file but for ``leave`` bytes; returns the file."""
    path = disk / "filling"
    free = shutil.disk_usage(disk).free
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - leave)
    return path


def away(function: Callable, times: int, number: int = errno.ESTALE) -> Callable:
    """Returns a function that fails ``times`` times as on a network folder that is away, and then does what it should."""
    left = times

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        if left > 0:
            left -= 1
            raise OSError(number, os.strerror(number))
        return function(*args, **kwargs)

    return failing
