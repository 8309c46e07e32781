"""Images that are none, are cut off, lie about their size, or are something else than a file."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from made_faults import Case, Place
from PIL import Image


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options) -> bytes:
    """Returns an image file of noise."""
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype({"I": np.int32, "F": np.float32}.get(mode, np.uint8))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """Returns a PNG file that declares a size, whatever its data hold."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), (b"IDAT", zlib.compress(data))]
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in [*parts, (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def declared(data: bytes, start: bytes, offset: int, width: int, height: int) -> bytes:
    """Returns a JPEG file whose frame header declares another size."""
    place = data.index(start) + offset
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def named_pipe(place: Place) -> Path:
    os.mkfifo(place.bad / "pipe.png")
    return place.bad / "pipe.png"


def loop(place: Place) -> Path:
    (place.bad / "loop.png").symlink_to("loop.png")
    return place.bad / "loop.png"


def sparse(place: Place) -> Path:
    path = place.file("vast.tif", b"II*\x00")
    os.truncate(path, 1 << 40)
    return path


def empty_folder(place: Place) -> Path:
    (place.bad / "none").mkdir()
    return place.bad / "none"


JPEG, PNG = encoded("JPEG"), encoded("PNG")
DAMAGED = ("damaged",)
FILES: list[tuple[str, str, bytes, tuple[str, ...]]] = [
    ("empty file", "a.jpg", b"", ("is empty (0 bytes)",)),
    ("text", "a.jpg", b"no image at all", ("damaged or not an image",)),
    ("web page in place of an image", "a.jpg", b"<!DOCTYPE html><html>404</html>", ("damaged or not an image",)),
    ("start of JPEG alone", "a.jpg", JPEG[:2], ("damaged or not an image",)),
    ("JPEG cut in its header", "a.jpg", JPEG[:100], DAMAGED),
    ("JPEG cut in the middle", "a.jpg", JPEG[: len(JPEG) // 2], ("truncated or damaged",)),
    ("JPEG without its end", "a.jpg", JPEG[:-40], ("truncated or damaged",)),
    ("PNG cut in the middle", "a.png", PNG[: len(PNG) // 2], ("truncated or damaged",)),
    ("PNG with a wrong checksum", "a.png", flipped(PNG, 60), DAMAGED),
    ("PNG with damaged header", "a.png", flipped(PNG, 20), DAMAGED),
    ("PNG without data", "a.png", png(40, 30), ("truncated or damaged",)),
    ("PNG of no width", "a.png", png(0, 30), DAMAGED),
    (
        "PNG that declares 4 billion pixels a side",
        "a.png",
        png(2**31 - 1, 2**31 - 1),
        ("more than the", "cut it into parts"),
    ),
    ("PNG bomb below the limit of pixels", "a.png", png(24_000, 24_000, bytes(1000)), ("24000 x 24000", "bytes")),
    ("PNG bomb of one bit a pixel", "a.png", png(24_000, 24_000, bytes(3001 * 24_000), 1, 0), ("24000 x 24000", "bytes")),
    ("JPEG that declares 65,000 pixels a side", "a.jpg", declared(JPEG, b"\xff\xc0", 5, 65_000, 65_000), ("more than the",)),
    ("JPEG that declares 20,000 pixels a side", "a.jpg", declared(JPEG, b"\xff\xc0", 5, 20_000, 20_000), ("20000 x 20000",)),
    ("BMP cut off", "a.bmp", encoded("BMP")[:200], DAMAGED),
    ("BMP with damaged header", "a.bmp", flipped(encoded("BMP"), 14), DAMAGED),
    ("GIF cut off", "a.gif", encoded("GIF", "L")[:60], DAMAGED),
    ("WebP cut off", "a.webp", encoded("WEBP")[:200], DAMAGED),
    ("WebP container without image", "a.webp", b"RIFF\x20\0\0\0WEBPVP8X" + bytes(20), DAMAGED),
    ("TIFF cut off", "a.tif", encoded("TIFF")[:1000], DAMAGED),
    ("TIFF without directory", "a.tif", b"II*\x00\xff\xff\xff\x7f", DAMAGED),
    ("TIFF of 32 bits", "a.tif", encoded("TIFF", "F"), ("32-bit floating point numbers", "convert it to 8 bits")),
    ("icon of a Mac named as PNG", "a.png", b"icns" + bytes(40), DAMAGED),
    ("zip archive named as PNG", "a.png", b"PK\x03\x04" + bytes(60), ("damaged or not an image",)),
    ("EPS program", "a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nquit\n", DAMAGED),
]
PATHS: list[tuple[str, Callable[[Place], Path], tuple[str, ...]]] = [
    ("image that does not exist", lambda place: place.bad / "gone.jpg", ("gone.jpg does not exist",)),
    ("image in a folder that does not exist", lambda place: place.bad / "no" / "a.jpg", ("a.jpg does not exist",)),
    ("folder without images", empty_folder, ("holds no image",)),
    ("link to itself", loop, ("cannot read image", "loop.png")),
    ("named pipe that nobody writes", named_pipe, ("pipe.png", "not a file")),
    ("device without end", lambda place: Path("/dev/zero"), ("/dev/zero", "not a file")),
    ("file of a terabyte", sparse, ("vast.tif", "more than")),
    ("name longer than names can be", lambda place: place.bad / ("n" * 300 + ".jpg"), ("cannot read image", "nnn")),
    ("name with a zero byte", lambda place: f"{place.bad}/a\0b.jpg", ("cannot read image",)),
]
CASES = [
    *(
        Case(f"image: {name}", lambda place, file=file, data=data: place.predict(place.file(file, data)), (file, *words))
        for name, file, data, words in FILES
    ),
    *(Case(f"image: {name}", lambda place, make=make: place.predict(make(place)), words) for name, make, words in PATHS),
]
