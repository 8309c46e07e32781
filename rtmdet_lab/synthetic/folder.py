"""Fills a folder with a generated set: once, completely, and never over something else.

A marker file with the settings is written first and ``generated.json`` with the same content last. So a folder says of
itself whether it is whole, half done, or none of ours.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import cv2
from tqdm import tqdm

from rtmdet_lab.core.children import map_in_processes
from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.core.files import read_json, write_json

FORMAT_VERSION = 1  # raise it when the same settings give other pixels or annotations
DONE_NAME = "generated.json"
STARTED_NAME = "generating.json"

Job = TypeVar("Job")
Result = TypeVar("Result")


def fill_folder(folder: Path, settings: Mapping[str, Any], files: Iterable[Path], write: Callable[[], None]) -> None:
    """Calls ``write`` unless the folder already holds this very set.

    A run that was killed is done again from its start: the files it left are the ones that come out again.

    Args:
        settings: everything that the content depends on.
        files: all that a whole set consists of; if one is missing the set is completed.

    Raises:
        DataError: the folder holds other settings, or files that were not generated here.
        StorageError: the folder cannot be written.
    """
    wanted = {"format": FORMAT_VERSION, **settings}
    done, started = folder / DONE_NAME, folder / STARTED_NAME
    marker = next((path for path in (done, started) if path.exists()), None)
    if marker is not None:
        found = read_json(marker, "record of a generated set")
        if found != wanted:
            raise DataError(
                f"folder {folder} holds a generated set with other settings ({_difference(found, wanted)}): "
                "choose another folder or delete this one"
            )
    elif _holds_anything(folder):
        raise DataError(f"folder {folder} holds files that were not generated here: choose an empty or a new folder")
    if done.exists():
        if all(path.is_file() for path in files):
            return
        # From here on the set is incomplete, and must look so to whoever finds it.
        write_json(started, wanted)
        done.unlink(missing_ok=True)
    else:
        write_json(started, wanted)
    write()
    write_json(done, wanted)
    started.unlink(missing_ok=True)


def _holds_anything(folder: Path) -> bool:
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file, not a folder: choose another place for the generated set")
    try:
        # A run killed while it wrote the very first marker leaves only that hidden temporary file.
        return folder.exists() and any(not path.name.startswith(f".{STARTED_NAME}.") for path in folder.iterdir())
    except OSError as error:
        raise StorageError(f"cannot read folder {folder}: {error.strerror}") from error


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    if not isinstance(found, Mapping):
        return "its record is not readable"
    names = [name for name in wanted if found.get(name) != wanted[name]] or sorted(set(found) - set(wanted))
    return ", ".join(f"{name} {found.get(name, 'missing')!r} instead of {wanted.get(name)!r}" for name in names)


def map_images(
    function: Callable[[Job], Result], jobs: list[Job], workers: int, progress: bool, title: str
) -> Iterator[Result]:
    """Yields ``function(job)`` for each job in order, from ``workers`` processes (1: this one), with a bar on stderr.

    Raises:
        ChildError: a process was killed or stood still; see :func:`~rtmdet_lab.core.children.map_in_processes`.
    """
    bar = {"total": len(jobs), "unit": "image", "desc": title, "file": sys.stderr, "disable": not progress}
    with contextlib.closing(map_in_processes(function, jobs, workers, chunk=4, what=f"{title} images")) as results:
        yield from tqdm(results, **bar)


def encode_image(pixels: Any, suffix: str, *options: int) -> bytes:
    """Returns an RGB image (H, W, 3) uint8 as the bytes of a file; ``options`` are OpenCV's writing flags."""
    ok, data = cv2.imencode(suffix, pixels[:, :, ::-1], list(options))
    if not ok:
        raise StorageError(f"cannot encode an image of shape {pixels.shape} as {suffix}")
    return data.tobytes()
