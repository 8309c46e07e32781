"""Decoded images of a training set in one temporary file, which all loader processes of a machine fill and read.

Whoever decodes an image gets the same pixels, so nothing depends on who came first. The file has no name: it is gone with
the last process that has it open, however that ends, and others open it through the ``/proc`` entry of one that has. Its
space is reserved at once, so that a full disk is a sentence at the start. Pixels are copied out, not mapped: a copy is
needed anyway, because nothing stops a transform from writing into a tensor, and a disk that fails is then an error and not
the end of a process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torchvision import tv_tensors

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.data.handover import address_of, open_address
from rtmdet_lab.data.images import JPEG_SUFFIXES, MAX_PIXELS, peek_header, reduced_size
from rtmdet_lab.transforms.base import to_array, to_image

Size = tuple[int, int]  # (height, width)


class ImageFiles(Protocol):
    """A data set that is read from image files."""

    def image_files(self) -> list[tuple[Path, Size | None]]:
        """Returns each image's file and its size where the annotations say it."""
        ...


class ImageCache:
    """Room for decoded images of known sizes; pickled, it is the same file in another process of this machine.

    Args:
        whole: of each image, (height, width) of its file; None for one that is not to be kept.
        kept: as it is read, reduced or not.

    Raises:
        StorageError: the folder for temporary files has not that much space.
    """

    def __init__(self, whole: Sequence[Size | None], kept: Sequence[Size | None]) -> None:
        self._whole = np.array([size or (0, 0) for size in whole], dtype=np.int64).reshape(-1, 2)
        self._kept = np.array([size or (0, 0) for size in kept], dtype=np.int64).reshape(-1, 2)
        # One byte per image comes first: whether its pixels are there.
        self._ends = len(self._kept) + np.cumsum(3 * self._kept.prod(axis=1))
        self.bytes = int(self._ends[-1]) if len(self._ends) else 0
        self._file = _reserve(self.bytes)

    def get(self, index: int) -> tuple[tv_tensors.Image, Size] | None:
        """Returns a copy of image number ``index`` and the size of its file; None where it is not there."""
        height, width = self._kept[index].tolist()
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        with contextlib.suppress(OSError):  # a disk that fails costs time only
            handle = self._file.fileno()
            if os.pread(handle, 1, index) == b"\1" and os.preadv(handle, [pixels], self._start(index)) == pixels.nbytes:
                return to_image(pixels), tuple(self._whole[index].tolist())
        return None

    def put(self, index: int, image: tv_tensors.Image) -> None:
        """Keeps image number ``index``, unless it has another size than was said."""
        pixels = to_array(image)
        if pixels.shape[:2] != tuple(self._kept[index]):
            return
        with contextlib.suppress(OSError):
            handle = self._file.fileno()
            # The pixels first: until they are all there, other processes decode the image themselves.
            if os.pwrite(handle, pixels, self._start(index)) == pixels.nbytes:
                os.pwrite(handle, b"\1", index)

    def reduces(self, index: int) -> bool:
        """Whether image number ``index`` is kept smaller than its file has it."""
        return bool((self._kept[index] < self._whole[index]).any())

    def close(self) -> None:
        """Frees the space. Who has the file open finds nothing in it and decodes."""
        # Not left to the last process: loader processes of a run that failed live as long as its traceback.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file.fileno(), 0)
        self._file.close()

    def _start(self, index: int) -> int:
        return int(self._ends[index] - 3 * self._kept[index].prod())

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": address_of(self._file.fileno())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        address = state.pop("_file")
        try:
            handle = open_address(address)
        except OSError as error:
            raise StorageError(
                f"cannot share decoded images with another process ({error.strerror}): turn data.cache_decoded off"
            ) from error
        self.__dict__.update(state, _file=os.fdopen(handle, "r+b", buffering=0))


def cache_for(source: ImageFiles, side: int | None = None) -> ImageCache:
    """Returns an empty cache for the images of a data set.

    Sizes come from the annotations, or else from the files' headers; images without a readable one are never kept.

    Args:
        side: as in :class:`~rtmdet_lab.data.reading.Reading`.

    Raises:
        StorageError: not enough space for temporary files.
    """
    whole: list[Size | None] = []
    kept: list[Size | None] = []
    for path, size in source.image_files():
        reducible = path.suffix.lower() in JPEG_SUFFIXES
        if size is None:
            size, reducible = peek_header(path) or (None, False)
        if size is not None and size[0] * size[1] > MAX_PIXELS:  # refused when it is read
            size = None
        whole.append(size)
        kept.append(reduced_size(size, side) if size and reducible else size)
    return ImageCache(whole, kept)


def _reserve(size: int) -> Any:
    """Returns an open file of ``size`` bytes that has no name and whose space is taken.

    Raises:
        StorageError: there is not that much space, or it cannot be reserved.
    """
    remedy = "set TMPDIR to a folder on a larger local disk, or turn data.cache_decoded off"
    folder, file = "TMPDIR", None
    try:
        folder = tempfile.gettempdir()
        free = shutil.disk_usage(folder).free
        if size > free:
            raise StorageError(
                f"decoded images need {size / 1e9:,.1f} GB, but {folder} has {free / 1e9:,.1f} GB free: {remedy}"
            )
        file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - open as long as the cache
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    except StorageError:
        raise
    except (OSError, AttributeError) as error:  # not every system can reserve space
        if file is not None:
            file.close()  # what was reserved before the disk was full
        reason = getattr(error, "strerror", None) or "this system cannot reserve space"
        raise StorageError(
            f"cannot reserve {size / 1e9:,.1f} GB for decoded images in {folder} ({reason}): {remedy}"
        ) from error
    return file
