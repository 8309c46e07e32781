"""How a training set's images are read: whole, or no larger than training will ask for."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torchvision import tv_tensors

from rtmdet_lab.data.images import read_reduced
from rtmdet_lab.errors import SettingError

Set = TypeVar("Set")


@dataclass(frozen=True)
class Reading:
    """How the images of a set are read.

    Args:
        side: JPEG images are reduced to 1/2, 1/4 or 1/8 of their size where that leaves the longer side at least this many
            pixels; None: all images stay whole.
    """

    side: int | None = None

    def read(
        self, path: Path, size: tuple[int, int] | None = None, whole: bool = False
    ) -> tuple[tv_tensors.Image, tuple[int, int]]:
        """Returns an image and the (height, width) of the whole one, which its annotations are made for.

        Args:
            size: (height, width) of the annotation file, None where it does not say.
            whole: do not reduce.

        Raises:
            DataError: as :func:`~rtmdet_lab.data.images.read_image`.
        """
        return read_reduced(path, size, None if whole else self.side)


def with_reading(source: Set, reading: Reading) -> Set:
    """Returns a data set of image files that reads them so; the one given stays as it is.

    Raises:
        SettingError: a set that has no files.
    """
    if not hasattr(source, "reading"):
        raise SettingError("data.reduced_decode cannot be used with a set that is not read from image files: turn it off")
    other = copy.copy(source)
    other.reading = reading
    return other
