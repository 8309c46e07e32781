"""Reads an image file of any common kind as 8-bit RGB, or says in one sentence why it cannot be used.

torchvision decodes JPEG, PNG, WebP and GIF (bit-identical to OpenCV, and unlike it refuses truncated files); Pillow takes
the rest (BMP, TIFF, ...) and reads the header of all, so that a file's size is known before it is unpacked.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image

from rtmdet_lab.errors import DataError
from rtmdet_lab.transforms.base import to_image

MAX_PIXELS = 600_000_000  # 24,000 x 24,000: past the largest aerial images in use, and 1.8 GB as RGB
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")

_DECODED_BY_TORCHVISION = ("JPEG", "PNG", "WEBP", "GIF")
_header_lock = threading.Lock()


def read_image(path: Path, size: tuple[int, int] | None = None) -> tv_tensors.Image:
    """Returns a (3, H, W) uint8 RGB image, turned upright as its EXIF entry says.

    Grey, palette, CMYK and 16-bit files are converted (16-bit by dropping the low byte); transparency is dropped.

    Args:
        size: (height, width) its annotations were made for. An image that only fits it without the EXIF turn is left
            unturned.

    Raises:
        DataError: missing, empty, truncated, not an image, too large, or of another size; names the file.
    """
    data = read_bytes(path)
    height, width, kind, turned = _header(path, data)
    upright = (width, height) if turned else (height, width)
    apply_exif = size is None or upright == tuple(size) or (height, width) != tuple(size)
    image = _decode(path, data, kind, apply_exif)
    found = (image.shape[-2], image.shape[-1])
    if size is not None and found != tuple(size):
        raise DataError(
            f"image {path} is {found[1]} x {found[0]} pixels but its annotations were made for {size[1]} x {size[0]}: "
            "replace the image or correct its width and height in the annotation file"
        )
    return image


def read_bytes(path: Path) -> bytes:
    """Returns a file's content, or raises DataError if it is missing, unreadable or empty."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"image {path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read image {path}: {error.strerror}") from error
    if not data:
        raise DataError(f"image {path} is empty (0 bytes)")
    return data


def image_header(path: Path) -> tuple[int, int]:
    """Returns (height, width) of the upright image without unpacking it; raises DataError as :func:`read_image`."""
    height, width, _, turned = _header(path, read_bytes(path))
    return (width, height) if turned else (height, width)


def _header(path: Path, data: bytes) -> tuple[int, int, str, bool]:
    """Returns (height, width, format, whether EXIF swaps the sides) as stored."""
    with _header_lock:
        # Pillow's own size limit would refuse ordinary aerial images; ours is checked right below.
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            with Image.open(io.BytesIO(data)) as image:
                width, height = image.size
                kind = image.format or ""
                orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
            raise DataError(f"image {path} is damaged or not an image") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if width * height > MAX_PIXELS:
        raise DataError(f"image {path} is {width} x {height} pixels, more than the {MAX_PIXELS} that are accepted")
    return height, width, kind, orientation in (5, 6, 7, 8)


def _decode(path: Path, data: bytes, kind: str, apply_exif: bool) -> tv_tensors.Image:
    try:
        if kind in _DECODED_BY_TORCHVISION:
            encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels = decode_image(encoded, mode=ImageReadMode.RGB, apply_exif_orientation=apply_exif)
            if pixels.ndim == 4:  # an animation: its first frame
                pixels = pixels[0]
            if pixels.dtype == torch.uint16:
                pixels = (pixels.to(torch.int32) >> 8).to(torch.uint8)
            return tv_tensors.Image(pixels)
        with Image.open(io.BytesIO(data)) as image:
            if apply_exif:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):  # 16 or 32 bits of grey
                deep = np.asarray(image)
                grey = (deep >> 8 if deep.dtype.itemsize > 1 and deep.dtype.kind in "iu" else deep).astype(np.uint8)
                return to_image(np.repeat(grey[:, :, None], 3, axis=2))
            return to_image(np.array(image.convert("RGB")))
    except (RuntimeError, OSError, ValueError, SyntaxError) as error:
        raise DataError(f"image {path} is truncated or damaged") from error
