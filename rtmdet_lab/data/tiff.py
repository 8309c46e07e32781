"""Names TIFF files whose numbers are no picture as they are: signed, floating point, or of an odd number of bits.

Pillow opens some of them as grey images of 32 bits, some as if they had no sign, and others not at all.
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO

from PIL import TiffImagePlugin

_MAGIC = (b"II*\0", b"MM\0*")
_BITS, _BANDS, _FORMAT = 258, 277, 339  # tags
_FORMATS = {2: "signed whole numbers", 3: "floating point numbers", 5: "complex whole numbers", 6: "complex numbers"}
_READ = (1, 2, 4, 8, 16)  # bits per value; fewer than 8 are those of palettes and of black and white


def describe_tiff(data: bytes | BinaryIO) -> str | None:
    """Returns what the numbers of a TIFF file are where they cannot be read as 8-bit RGB; None for all other files.

    The position of an open file is put back to its beginning.
    """
    file = io.BytesIO(data[:4]) if isinstance(data, bytes) else data
    magic = file.read(4)
    file.seek(0)
    if magic not in _MAGIC:
        return None
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        directory.load(file)
        bits, formats = _numbers(directory.get(_BITS, 1)), _numbers(directory.get(_FORMAT, 1))
        bands = int(directory.get(_BANDS, 1))
    except Exception:
        return None
    finally:
        file.seek(0)
    kinds = [_FORMATS[one] for one in formats if one in _FORMATS]
    if not kinds and all(one in _READ for one in bits):
        return None
    depth = "/".join(str(one) for one in dict.fromkeys(bits))
    return f"{depth}-bit {kinds[0] if kinds else 'whole numbers'}" + (f" in {bands} bands" if bands > 1 else "")


def _numbers(value: Any) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, (tuple, list)) else (int(value),)
