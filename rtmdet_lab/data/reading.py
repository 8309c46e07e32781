"""How a training set's images are read: whole or no larger than training will ask for, each time or once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torchvision import tv_tensors

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.data.image_cache import ImageCache
from rtmdet_lab.data.images import WholeImages, read_reduced

Set = TypeVar("Set")


@dataclass(frozen=True)
class Reading(WholeImages):
    """How the images of a training set are read.

    Args:
        side: JPEG images are reduced to 1/2, 1/4 or 1/8 of their size where that leaves the longer side at least this many
            pixels; None: all images stay whole.
        cache: where decoded images are kept; None: they are decoded each time.
    """

    side: int | None = None
    cache: ImageCache | None = None

    def read(
        self,
        index: int,
        path: Path,
        size: tuple[int, int] | None = None,
        whole: bool = False,
        reach: tuple[float, float] | None = None,
    ) -> tuple[tv_tensors.Image, tuple[int, int]]:
        exception = whole and self.side is not None
        cache = self.cache
        if cache is not None and exception and cache.reduces(index):
            cache = None
        cached = None if cache is None else cache.get(index)
        if cached is not None:
            return cached
        image, whole_size = read_reduced(path, size, None if whole else self.side, reach)
        # An exception is never cached: of a JPEG under another name the cache does not know that it is one.
        if cache is not None and not exception:
            cache.put(index, image)
        return image, whole_size


def with_reading(source: Set, reading: Reading) -> Set:
    """Returns a data set of image files that reads them so; the one given stays as it is.

    Raises:
        SettingError: a set that has no files.
    """
    require_files(source)
    other = copy.copy(source)
    other.reading = reading
    return other


def require_files(source: object) -> None:
    """Raises SettingError for a data set that is not read from image files."""
    if not hasattr(source, "reading"):
        raise SettingError(
            "data.reduced_decode and data.cache_decoded are for sets that are read from image files, which this one is not: "
            "turn them off"
        )
