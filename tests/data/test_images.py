"""Image files of every kind, whole and damaged."""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from made_sets import assert_one_sentence
from PIL import Image, ImageOps, PngImagePlugin
from torchvision import tv_tensors

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data import images
from rtmdet_lab.data.images import image_header, read_image
from rtmdet_lab.transforms.base import to_array

HEIGHT, WIDTH = 40, 60
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
RGB = np.stack([X * 4, Y * 6, (X + Y) * 2], axis=-1).astype(np.uint8)
PICTURE = Image.fromarray(RGB)
DEEP = np.stack([X * 1000, Y * 1500, (X + Y) * 600], axis=-1).astype(np.uint16)
ORIENTATION = 0x0112


def turned_by_pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


KINDS = {
    "rgb.jpg": (PICTURE, {}),
    "low quality.jpg": (PICTURE, {"quality": 30, "subsampling": 2}),
    "progressive.jpg": (PICTURE, {"progressive": True}),
    "grey.jpg": (PICTURE.convert("L"), {}),
    "cmyk.jpg": (PICTURE.convert("CMYK"), {}),
    "rgb.png": (PICTURE, {}),
    "grey.png": (PICTURE.convert("L"), {}),
    "palette.png": (PICTURE.quantize(50), {}),
    "small palette.png": (PICTURE.quantize(3), {}),
    "black and white.png": (PICTURE.convert("1"), {}),
    "grey and alpha.png": (PICTURE.convert("LA"), {}),
    "rgb.bmp": (PICTURE, {}),
    "palette.bmp": (PICTURE.quantize(50), {}),
    "rgb.tif": (PICTURE, {}),
    "grey.tiff": (PICTURE.convert("L"), {}),
    "lzw.tif": (PICTURE, {"compression": "tiff_lzw"}),
    "cmyk.tif": (PICTURE.convert("CMYK"), {}),
    "lossy.webp": (PICTURE, {}),
    "lossless.webp": (PICTURE, {"lossless": True}),
    "palette.gif": (PICTURE.quantize(50), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_as_pillow_converts_it(tmp_path, name):
    image, options = KINDS[name]
    image.save(tmp_path / name, **options)
    found = read_image(tmp_path / name)
    assert isinstance(found, tv_tensors.Image)
    assert found.shape == (3, HEIGHT, WIDTH)
    assert found.dtype == torch.uint8
    # Two decoders of the same family: lossy formats may differ by a rounding of the colour conversion.
    np.testing.assert_allclose(to_array(found).astype(int), turned_by_pillow(tmp_path / name), rtol=0, atol=2)
    assert image_header(tmp_path / name) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("name", ["rgba.png", "rgba.tif", "rgba.webp"])
def test_transparency_is_dropped_and_the_colours_stay(tmp_path, name):
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    Image.fromarray(np.dstack([RGB, (X * 4).astype(np.uint8)])).save(tmp_path / name, **options)
    np.testing.assert_array_equal(to_array(read_image(tmp_path / name)), RGB)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bit_grey_keeps_the_high_byte(tmp_path, name):
    Image.fromarray(DEEP[..., 0]).save(tmp_path / name)
    expected = np.repeat((DEEP[..., :1] >> 8), 3, axis=2)
    np.testing.assert_array_equal(to_array(read_image(tmp_path / name)), expected)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bit_colour_keeps_the_high_byte(tmp_path, name):
    assert cv2.imwrite(str(tmp_path / name), DEEP[..., ::-1])
    np.testing.assert_array_equal(to_array(read_image(tmp_path / name)), DEEP >> 8)


def test_sixteen_bit_colour_with_alpha_keeps_the_high_byte(tmp_path):
    alpha = np.full((HEIGHT, WIDTH), 30000, dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([DEEP[..., ::-1], alpha]))
    np.testing.assert_array_equal(to_array(read_image(tmp_path / "deep.png")), DEEP >> 8)


@pytest.mark.parametrize("values", [X * 35_000_000, X.astype(np.float32) * 20], ids=["32 bits", "float"])
def test_deeper_grey_is_refused_or_keeps_its_order(tmp_path, values):
    # Brighter to the right over the whole row: a file that is read at all must not wrap around to black in between.
    kind = np.float32 if values.dtype.kind == "f" else np.int32
    Image.fromarray(values.astype(kind)).save(tmp_path / "deep.tif")
    try:
        row = read_image(tmp_path / "deep.tif")[0, 0].tolist()
    except DataError as error:
        assert_one_sentence(error, "deep.tif")
    else:
        assert row == sorted(row)


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp"])
def test_animation_is_its_first_frame(tmp_path, name):
    frames = [PICTURE.quantize(20), ImageOps.invert(PICTURE).quantize(20)]
    if name.endswith("webp"):
        frames = [PICTURE, ImageOps.invert(PICTURE)]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_allclose(
        to_array(read_image(tmp_path / name)).astype(int), turned_by_pillow(tmp_path / name), rtol=0, atol=2
    )


def save_turned(path: Path, orientation: int) -> Path:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    PICTURE.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_turn_is_applied(tmp_path, suffix, orientation):
    path = save_turned(tmp_path / f"turned.{suffix}", orientation)
    expected = turned_by_pillow(path)
    assert expected.shape[:2] == ((WIDTH, HEIGHT) if orientation >= 5 else (HEIGHT, WIDTH))
    found = to_array(read_image(path)).astype(int)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2)
    assert image_header(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_exif_turn_follows_the_size_the_annotations_were_made_for(tmp_path, orientation):
    path = save_turned(tmp_path / "turned.jpg", orientation)
    with Image.open(path) as image:
        stored = np.asarray(image)
    upright = to_array(read_image(path, (WIDTH, HEIGHT))).astype(int)
    np.testing.assert_allclose(upright, turned_by_pillow(path), rtol=0, atol=2)
    np.testing.assert_allclose(to_array(read_image(path, (HEIGHT, WIDTH))).astype(int), stored, rtol=0, atol=2)
    with pytest.raises(DataError) as error:
        read_image(path, (HEIGHT, WIDTH + 1))
    assert_one_sentence(error.value, "turned.jpg", f"{HEIGHT} x {WIDTH} pixels", f"for {WIDTH + 1} x {HEIGHT}")


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_impossible_exif_turn_is_ignored(tmp_path, orientation):
    path = save_turned(tmp_path / "odd.png", orientation)
    np.testing.assert_array_equal(to_array(read_image(path)), RGB)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"], ids=range(3)
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_cost_the_image(tmp_path, exif):
    PICTURE.save(tmp_path / "odd.jpg", exif=exif, quality=100, subsampling=0)
    np.testing.assert_allclose(to_array(read_image(tmp_path / "odd.jpg")).astype(int), RGB, rtol=0, atol=4)


def test_size_that_differs_from_the_annotations_names_both_and_the_remedy(tmp_path):
    PICTURE.save(tmp_path / "other.png")
    with pytest.raises(DataError) as error:
        read_image(tmp_path / "other.png", (480, 640))
    assert_one_sentence(error.value, str(tmp_path / "other.png"), "60 x 40", "640 x 480", "replace")
    assert read_image(tmp_path / "other.png", (HEIGHT, WIDTH)).shape == (3, HEIGHT, WIDTH)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "gif", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File Read")
def test_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)  # pixels make up the file
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_file_cut_by_a_few_bytes_is_refused_or_whole(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    PICTURE.save(path)
    whole, expected = path.read_bytes(), to_array(read_image(path)).copy()
    for missing in range(1, 30):
        path.write_bytes(whole[:-missing])
        try:
            found = to_array(read_image(path))
        except DataError as error:
            assert_one_sentence(error, str(path))
        else:  # only the end mark was lost
            np.testing.assert_array_equal(found, expected)


def test_damaged_checksum_of_a_png_is_refused(tmp_path):
    path = tmp_path / "damaged.png"
    PICTURE.save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path))


def test_bytes_after_the_end_do_no_harm(tmp_path):
    path = tmp_path / "longer.png"
    PICTURE.save(path)
    path.write_bytes(path.read_bytes() + b"appended by some camera")
    np.testing.assert_array_equal(to_array(read_image(path)), RGB)


def test_suffix_is_not_believed(tmp_path):
    PICTURE.save(tmp_path / "really.png")
    (tmp_path / "really.png").rename(tmp_path / "called.jpg")
    np.testing.assert_array_equal(to_array(read_image(tmp_path / "called.jpg")), RGB)


def nothing(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(5000))


def folder(path: Path) -> None:
    path.mkdir()


def head_only(path: Path) -> None:
    path.write_bytes(b"\xff\xd8\xff\xe0")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (nothing, "does not exist"),
        (empty, "0 bytes"),
        (text, "not an image"),
        (zeros, "not an image"),
        (folder, "cannot read"),
        (head_only, "damaged"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, make, words):
    path = tmp_path / "a picture with spaces äöü.jpg"
    make(path)
    for read in (read_image, image_header):
        with pytest.raises(DataError) as error:
            read(path)
        assert_one_sentence(error.value, str(path), words)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused_by_name(tmp_path):
    path = tmp_path / "secret.png"
    PICTURE.save(path)
    path.chmod(0)
    with pytest.raises(DataError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path), "Permission denied")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_header_that_promises_a_giant_is_refused_before_unpacking(tmp_path):
    path = tmp_path / "bomb.png"
    header = struct.pack(">IIBBBBB", 25_000, 25_000, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(bytes(1000)))
        + png_chunk(b"IEND", b"")
    )
    begin = time.monotonic()
    for read in (read_image, image_header):
        with pytest.raises(DataError) as error:
            read(path)
        assert_one_sentence(error.value, str(path), "25000 x 25000", "600,000,000")
    assert time.monotonic() - begin < 2


def test_pixels_are_unpacked_once(tmp_path, monkeypatch):
    PICTURE.save(tmp_path / "plain.png")
    unpacked = []
    load_end = PngImagePlugin.PngImageFile.load_end
    monkeypatch.setattr(
        PngImagePlugin.PngImageFile, "load_end", lambda image: (unpacked.append(image.size), load_end(image))
    )
    assert read_image(tmp_path / "plain.png").shape == (3, HEIGHT, WIDTH)
    assert len(unpacked) == 1


@pytest.mark.parametrize("name", [name for name in KINDS if not name.endswith(".jpg")])
def test_strips_of_a_large_image_join_without_a_seam(tmp_path, monkeypatch, name):
    image, options = KINDS[name]
    image.save(tmp_path / name, **options)
    whole = to_array(read_image(tmp_path / name))
    for pixels in (1, 7 * WIDTH):  # a row at a time, and strips that do not divide the height
        monkeypatch.setattr(images, "_STRIP_PIXELS", pixels)
        np.testing.assert_array_equal(to_array(read_image(tmp_path / name)), whole)


def test_large_aerial_image_is_not_taken_for_a_bomb(tmp_path):
    # Pillow's own limit is 179 million pixels; this header says 200 million.
    path = tmp_path / "aerial.png"
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b""))
    limit = Image.MAX_IMAGE_PIXELS
    assert image_header(path) == (10_000, 20_000)
    assert limit == Image.MAX_IMAGE_PIXELS  # the user's own setting is put back


def test_result_is_laid_out_for_opencv(tmp_path):
    for name in ("plain.png", "plain.bmp"):
        PICTURE.save(tmp_path / name)
        image = read_image(tmp_path / name)
        assert np.shares_memory(to_array(image), image.numpy())


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_large_image_of_few_bytes_is_refused_and_an_honest_one_is_not(tmp_path, monkeypatch, share):
    path = tmp_path / "flat.png"
    Image.new("L", (400, 300)).save(path)
    pixels_per_byte = 400 * 300 / path.stat().st_size
    monkeypatch.setattr(images, "_PIXELS_PER_BYTE", share * pixels_per_byte)
    assert read_image(path).shape == (3, 300, 400)  # small enough to be trusted
    monkeypatch.setattr(images, "_TRUSTED_PIXELS", 1000)
    if share > 1:
        assert read_image(path).shape == (3, 300, 400)
    else:
        with pytest.raises(DataError, match=r"flat.png would unpack \d+ bytes to 400 x 300 pixels"):
            read_image(path)
