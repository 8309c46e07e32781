"""Reads an image file of any common kind as 8-bit RGB, or says in one sentence why it cannot be used.

torchvision decodes JPEG (bit-identical to OpenCV, and unlike it refuses truncated files). Pillow takes the rest: torchvision
dies of some damaged PNG files and knows neither turns nor animations in WebP. Pillow also reads the header of all, so that a
file's size is known before it is unpacked, and decodes JPEG at a reduced size, which torchvision cannot.
"""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.core.files import AWAY, PATIENCE_S, patiently, require_plain
from rtmdet_lab.data.exif import SIDEWAYS, is_turned
from rtmdet_lab.data.tiff import describe_tiff
from rtmdet_lab.transforms.base import image_size, to_image

if TYPE_CHECKING:
    from rtmdet_lab.data.image_cache import ImageCache

MAX_PIXELS = 600_000_000  # 24,000 x 24,000: past the largest aerial images in use, and 1.8 GB as RGB
JPEG_SUFFIXES = (".jpg", ".jpeg")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

# A photograph has a tenth of a byte per pixel or more, a black one some 1/500. Large images with less are taken for files
# that are made to fill the memory.
_TRUSTED_PIXELS = 100_000_000
_PIXELS_PER_BYTE = 500
_LARGEST_FILE = 8 * MAX_PIXELS  # bytes: four channels of 16 bits, not compressed

_REDUCIBLE = ("JPEG", "MPO")  # MPO: several JPEG pictures in one file, as some phones write them
_STRIP_PIXELS = 1 << 18  # converted at a time: few enough for a processor's cache
_limit_lock = threading.Lock()


def read_image(
    path: Path, size: tuple[int, int] | None = None, reach: tuple[float, float] | None = None
) -> tv_tensors.Image:
    """Returns a (3, H, W) uint8 RGB image, turned upright as its EXIF entry says.

    Grey, palette, CMYK and 16-bit files are converted (16-bit by dropping the low byte); transparency is dropped, and of an
    animation all but the first frame.

    Args:
        size: (height, width) its annotations were made for.
        reach: x, y that its boxes end at. Both decide whether the image is turned
            (:func:`~rtmdet_lab.data.exif.is_turned`).

    Raises:
        DataError: missing, empty, truncated, not an image, of other numbers than 8 or 16 bits without sign, too large, or
            of another size; names the file.
    """
    return read_reduced(path, size, reach=reach)[0]


def read_reduced(
    path: Path,
    size: tuple[int, int] | None = None,
    side: int | None = None,
    reach: tuple[float, float] | None = None,
) -> tuple[tv_tensors.Image, tuple[int, int]]:
    """Returns the image as :func:`read_image`, a JPEG file reduced as :func:`reduction` says, and the whole one's (height,
    width).

    The reduced image is nearly that of averaging squares of pixels, for a fraction of the time: fewer frequencies are
    transformed back. Sides that do not divide are rounded up.

    Args:
        size, reach: as for :func:`read_image`, of the whole image.
        side: pixels that the longer side of the reduced image has at least; None reads all images whole.

    Raises:
        DataError: as :func:`read_image`.
    """
    data = read_bytes(path)
    height, width, kind, orientation = _header(path, data)
    if width * height > max(_TRUSTED_PIXELS, _PIXELS_PER_BYTE * len(data)):
        raise DataError(
            f"image {path} would unpack {len(data):,} bytes to {width} x {height} pixels, as no photograph does: it is "
            "damaged or made to fill the memory, replace it"
        )
    stored = height, width
    upright = stored[::-1] if orientation in SIDEWAYS else stored
    apply_exif = is_turned(stored, orientation, size, reach)
    factor = reduction((height, width), side) if kind in _REDUCIBLE else 1
    image = _decode(path, data, kind, apply_exif, factor)
    if factor > 1:
        found = upright if apply_exif else stored
    else:
        found = image_size(image)
    # The boxes may have shown that the file has the sides of the picture as it was not annotated.
    if size is not None and tuple(size) not in (found, found[::-1] if upright != stored else found):
        raise DataError(
            f"image {path} is {found[1]} x {found[0]} pixels but its annotations were made for {size[1]} x {size[0]}: "
            "replace the image or correct its width and height in the annotation file"
        )
    return image, found


class WholeImages:
    """How a set's images are read unless a training asks otherwise (:mod:`rtmdet_lab.data.reading`): whole, each time."""

    side: int | None = None  # pixels that the longer side of a reduced image has at least; None: none is reduced
    cache: ImageCache | None = None  # of decoded images

    def read(
        self,
        index: int,
        path: Path,
        size: tuple[int, int] | None = None,
        whole: bool = False,
        reach: tuple[float, float] | None = None,
    ) -> tuple[tv_tensors.Image, tuple[int, int]]:
        """Returns image number ``index`` and the (height, width) of the whole one, which its annotations are made for.

        Args:
            size, reach: as for :func:`read_image`.
            whole: do not reduce.

        Raises:
            DataError: as :func:`read_image`.
        """
        return read_reduced(path, size, None, reach)


def reduction(size: tuple[int, int], side: int | None) -> int:
    """Returns the largest of 1, 2, 4 and 8 that divides an image's sides such that the longer one is still ``side`` pixels.

    >>> [reduction(size, 1280) for size in ((3000, 4000), (3840, 5120), (2559, 1), (2559, 2), (2558, 2))]
    [2, 4, 1, 2, 1]
    """
    if side is None:
        return 1
    return next((one for one in (8, 4, 2) if -(-max(size) // one) >= side and min(size) >= one), 1)


def reduced_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """Returns the (height, width) to which a JPEG file of ``size`` is reduced."""
    factor = reduction(size, side)
    return -(-size[0] // factor), -(-size[1] // factor)


def local_path(source: str | Path) -> Path:
    """Returns the path of images on this machine.

    Raises:
        DataError: a URL, which is not fetched.

    >>> local_path("photos/1.jpg").name
    '1.jpg'
    """
    address = re.sub(r"^(https?|ftp|s3|gs|file):/+", r"\1://", str(source))  # a path has one slash of them left
    if "://" in address:
        raise DataError(f"images are read from this machine, not from {address}: download it and name the file")
    return Path(source)


def from_pillow(image: Image.Image) -> tv_tensors.Image:
    """Returns a Pillow image as a (3, H, W) uint8 RGB one, turned upright as its EXIF entry says, if it has one.

    Raises:
        DataError: grey values of 32 bits, whose range is unknown, or pixels that cannot be had.
    """
    if image.mode in ("I", "F"):
        raise DataError(f"a Pillow image of mode {image.mode} has grey values of unknown range: convert it to 8 or 16 bits")
    try:
        return _by_pillow(ImageOps.exif_transpose(image), apply_exif=False)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"a Pillow image cannot be read ({error}): open its file again") from error


def read_bytes(path: Path) -> bytes:
    """Returns a file's content; waits a while for a network folder that is away.

    Raises:
        DataError: the file is missing, unreadable or empty.
        StorageError: its folder is still away.
    """

    def read() -> bytes:
        require_plain(path, "image")
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"image {path} has more than the {_LARGEST_FILE:,} bytes that are accepted: cut it into parts")
        return path.read_bytes()

    try:
        data = patiently(read)
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist") from None
    except OSError as error:
        if error.errno in AWAY:
            raise StorageError(
                f"cannot read image {path} for {PATIENCE_S:.0f} s ({error.strerror}): bring its disk or network folder back"
            ) from error
        raise DataError(f"cannot read image {path}: {error.strerror}") from error
    except DataError:
        raise
    except ValueError:  # a zero byte in the name
        raise DataError(f"cannot read image {str(path)!r}: no file has that name") from None
    if not data:
        raise DataError(f"image {path} is empty (0 bytes): replace it")
    return data


def image_header(path: Path, reach: tuple[float, float] | None = None) -> tuple[int, int]:
    """Returns the (height, width) that :func:`read_image` gives, without unpacking it; raises DataError as it does."""
    return read_size(*stored_size(path), reach)


def stored_size(path: Path) -> tuple[tuple[int, int], int]:
    """Returns ((height, width) as stored, EXIF orientation); raises DataError as :func:`read_image`."""
    height, width, _, orientation = _header(path, read_bytes(path))
    return (height, width), orientation


def is_deep(path: Path) -> bool:
    """Whether an image file has 16 bits of grey; raises DataError as :func:`read_image`."""
    with _opened(read_bytes(path)) as image:
        return image.mode.startswith("I")


def peek_header(path: Path) -> tuple[tuple[int, int], bool] | None:
    """Returns ((height, width) of the upright image, whether it is JPEG) from a file's beginning; None if unreadable."""
    found = _peek(path)
    if found is None:
        return None
    height, width, kind, orientation = found
    return (width, height) if orientation in SIDEWAYS else (height, width), kind in _REDUCIBLE


def peek_size(path: Path, reach: tuple[float, float] | None) -> tuple[int, int] | None:
    """Returns the (height, width) that :func:`read_image` gives, from a file's beginning; None if unreadable."""
    found = _peek(path)
    return None if found is None else read_size(found[:2], found[3], reach)


def read_size(stored: tuple[int, int], orientation: int, reach: tuple[float, float] | None) -> tuple[int, int]:
    """Returns the (height, width) of an image without a size in its annotations, turned as its boxes say."""
    return stored[::-1] if orientation in SIDEWAYS and is_turned(stored, orientation, None, reach) else stored


def _peek(path: Path) -> tuple[int, int, str, int] | None:
    try:
        require_plain(path, "image")
        with path.open("rb") as file:
            return _header(path, file)
    except (DataError, OSError, ValueError):  # the last one: a zero byte in the name
        return None


def _header(path: Path, data: bytes | BinaryIO) -> tuple[int, int, str, int]:
    """Returns (height, width, format, EXIF orientation) as stored."""
    odd = describe_tiff(data)
    if odd:
        raise DataError(f"image {path} is a TIFF of {odd}: convert it to 8 bits, or 16 bits without sign")
    try:
        with _opened(data) as image:
            width, height = image.size
            kind = image.format or ""
            # Not image.getexif(): that of PNG files unpacks the pixels to look behind them.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            if kind == "TIFF":  # whether `size` is the stored or the upright one depends on Pillow's version
                width, height = image.tag_v2[ExifTags.Base.ImageWidth], image.tag_v2[ExifTags.Base.ImageLength]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, KeyError) as error:
        raise DataError(f"image {path} is damaged or not an image: replace it") from error
    if width * height > MAX_PIXELS:
        raise DataError(
            f"image {path} is {width} x {height} pixels, more than the {MAX_PIXELS:,} that are accepted: cut it into parts"
        )
    return height, width, kind, orientation


def _opened(data: bytes | BinaryIO) -> Image.Image:
    """Returns the file opened by Pillow without its size limit, which would refuse ordinary aerial images."""
    with _limit_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _decode(path: Path, data: bytes, kind: str, apply_exif: bool, factor: int) -> tv_tensors.Image:
    try:
        if kind == "JPEG" and factor == 1:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            return tv_tensors.Image(decode_image(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=apply_exif))
        with _opened(data) as image:
            if factor > 1:
                image.draft(None, (image.width // factor, image.height // factor))
            if image.mode not in ("I", "F") or kind == "PNG":  # PNG never has more than 16 bits, whatever Pillow calls them
                return _by_pillow(image, apply_exif)
    except (RuntimeError, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"image {path} is truncated or damaged: replace it") from error
    raise DataError(f"image {path} has 32 bits of grey, whose range is unknown: convert it to 8 or 16 bits")


def _by_pillow(image: Image.Image, apply_exif: bool) -> tv_tensors.Image:
    if apply_exif:
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits of grey
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return to_image(np.repeat(grey[:, :, None], 3, axis=2))
    # Strip by strip: every step of Pillow's is a copy, and four copies of a large aerial image are 2 GB.
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(_STRIP_PIXELS // image.width, 1)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        pixels[top : top + rows] = np.asarray(strip.convert("RGB"))
    return to_image(pixels)
