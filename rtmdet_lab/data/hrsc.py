"""Turns the annotations of HRSC2016, one XML file per image, into label files that every rotated set is read from.

HRSC2016 gives center, sides and angle (radians, clockwise on the screen) of each ship. The published single-class protocol
is taken: everything is a "ship", difficult ones are marked as such.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree import ElementTree

import torch
from tqdm import tqdm

from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.core.files import require_plain, require_writable
from rtmdet_lab.core.outputs import require_outputs, write_output
from rtmdet_lab.data.dota import find_pairs
from rtmdet_lab.geometry.rotated import rboxes_to_quads

LABELS = "label file from HRSC2016"
HRSC_CLASS = "ship"
_LARGEST_FILE = 16 * 2**20  # bytes; published files have some ten thousand
_FIELDS = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")


def convert_hrsc(
    annotations: str | Path,
    out: str | Path,
    names: Sequence[str] | None = None,
    progress: bool = True,
    images: str | Path | None = None,
) -> dict:
    """Writes one label file into ``out`` for every XML file of the folder ``annotations``; images stay where they are.

    Args:
        names: images to convert, by name without suffix (a split's list); None converts all.
        images: folder of all images; those that are converted are linked into the folder ``images`` beside ``out``, since
            a data set has no images without label files.

    Returns: ``files``, ``objects`` and ``difficult`` (counts), ``labels`` (the folder written), ``images`` (that of the
        links, or None).

    Raises:
        DataError: no such folder or image, a file that is not HRSC XML; names the file and the object.
        StorageError: a folder cannot be written.
    """
    annotations, out = Path(annotations), Path(out)
    if not annotations.is_dir():
        raise DataError(f"no annotation folder {annotations}: it does not exist or is not a folder")
    paths = {path.stem: path for path in sorted(annotations.glob("*.xml")) if not path.name.startswith(".")}
    if not paths:
        raise DataError(f"annotation folder {annotations} holds no .xml files: name the folder with those of HRSC2016")
    for name in names or ():
        if name not in paths:
            raise DataError(f"image {name} of the list has no annotation file {annotations / name}.xml: add it")
    chosen = paths if names is None else {name: paths[name] for name in names}
    linked = None if images is None else _find_images(Path(images), chosen)
    with tqdm(chosen.items(), unit="file", disable=not progress) as bar:  # closed before an error is told
        read = {name: read_hrsc_file(path) for name, path in bar}
    require_writable(out)
    require_outputs({out / f"{name}.txt": LABELS for name in read}, chosen.values())
    for name, (boxes, difficult) in read.items():  # nothing is written unless everything could be read
        text = "".join(
            " ".join(f"{value:.2f}" for value in quad) + f" {HRSC_CLASS} {int(flag)}\n"
            for quad, flag in zip(rboxes_to_quads(boxes).tolist(), difficult, strict=True)
        )
        write_output(out / f"{name}.txt", LABELS, text.encode())
    if linked is not None:
        _link(linked, out.parent / "images")
    flags = [flag for _, difficult in read.values() for flag in difficult]
    return {"files": len(read), "objects": len(flags), "difficult": sum(flags), "labels": str(out)} | {
        "images": None if linked is None else str(out.parent / "images")
    }


def _find_images(folder: Path, names: Collection[str]) -> list[Path]:
    pairs, _ = find_pairs(folder, None)
    paths = {pair.image_id: pair.image for pair in pairs}
    for name in names:
        if name not in paths:
            raise DataError(f"image folder {folder} has no image {name}: add it, or leave its annotation file out")
    return [paths[name] for name in names]


def _link(paths: Sequence[Path], folder: Path) -> None:
    require_writable(folder)
    for path in paths:
        link = folder / path.name
        if link.exists() and link.samefile(path):
            continue
        try:
            link.symlink_to(path.resolve())
        except OSError as error:
            raise StorageError(f"cannot link {path} as {link} ({error.strerror}): choose a new folder") from error


def read_hrsc_file(path: Path) -> tuple[torch.Tensor, list[bool]]:
    """Returns the objects of one file: (G, 5) cx cy w h angle, pixels and radians, float64, and which are difficult.

    Raises:
        DataError: unreadable, not HRSC XML, or an object whose numbers cannot be used.
    """
    try:
        require_plain(path, "annotation file")
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"annotation file {path} has more than {_LARGEST_FILE >> 20} MiB: it is no HRSC file")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read annotation file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"annotation file {path} is not text (byte {error.start}): replace it by the original") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities can grow without bound; the published files declare none.
        raise DataError(
            f"annotation file {path} declares a document type, which HRSC files do not: replace it by the original"
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"annotation file {path} is not XML ({error}): replace it by the original") from None
    if root.tag != "HRSC_Image":
        raise DataError(f"annotation file {path} holds {root.tag!r}, not 'HRSC_Image': it is no HRSC file")
    boxes, difficult = [], []
    for number, entry in enumerate(root.iter("HRSC_Object"), start=1):
        try:
            boxes.append(_box(entry))
            difficult.append(_difficult(entry))
        except ValueError as error:
            raise DataError(f"annotation file {path}, object {number}: {error}") from None
    return torch.tensor(boxes, dtype=torch.float64).reshape(-1, 5), difficult


def _box(entry: ElementTree.Element) -> list[float]:
    values = []
    for field in _FIELDS:
        text = (entry.findtext(field) or "").strip()
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{field} is {text!r}, but a number is needed") from None
        if not math.isfinite(value) or abs(value) > 1e6:
            raise ValueError(f"{field} is {text}, which is no place in an image")
        values.append(value)
    if values[2] <= 0 or values[3] <= 0:
        raise ValueError(f"its sides are {values[2]:g} x {values[3]:g} pixels, but an object needs an area")
    return values


def _difficult(entry: ElementTree.Element) -> bool:
    text = (entry.findtext("difficult") or "0").strip()
    if text not in ("0", "1"):
        raise ValueError(f"difficult is {text!r}, but must be 0 or 1")
    return text == "1"
