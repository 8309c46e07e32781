"""Turns the annotations of HRSC2016, one XML file per image, into label files that every rotated set is read from.

HRSC2016 gives center, sides and angle (radians, clockwise on the screen) of each ship. The published single-class protocol
is taken: everything is a "ship", difficult ones are marked as such.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import torch
from tqdm import tqdm

from rtmdet_lab.errors import DataError
from rtmdet_lab.files import write_atomic
from rtmdet_lab.geometry.rotated import rboxes_to_quads

HRSC_CLASS = "ship"
_LARGEST_FILE = 16 * 2**20  # bytes; published files have some ten thousand
_FIELDS = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")


def convert_hrsc(
    annotations: str | Path, out: str | Path, names: Sequence[str] | None = None, progress: bool = True
) -> dict:
    """Writes one label file into ``out`` for every XML file of the folder ``annotations``; images stay where they are.

    Args:
        names: images to convert, by name without suffix (a split's list); None converts all.

    Returns: ``files``, ``objects`` and ``difficult`` (counts), ``labels`` (the folder written).

    Raises:
        DataError: no such folder or image, a file that is not HRSC XML; names the file and the object.
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
    read = {name: read_hrsc_file(path) for name, path in tqdm(chosen.items(), unit="file", disable=not progress)}
    out.mkdir(parents=True, exist_ok=True)
    for name, (boxes, difficult) in read.items():  # nothing is written unless everything could be read
        text = "".join(
            " ".join(f"{value:.2f}" for value in quad) + f" {HRSC_CLASS} {int(flag)}\n"
            for quad, flag in zip(rboxes_to_quads(boxes).tolist(), difficult, strict=True)
        )
        write_atomic(out / f"{name}.txt", lambda file, text=text: file.write(text.encode()))
    flags = [flag for _, difficult in read.values() for flag in difficult]
    return {"files": len(read), "objects": len(flags), "difficult": sum(flags), "labels": str(out)}


def read_hrsc_file(path: Path) -> tuple[torch.Tensor, list[bool]]:
    """Returns the objects of one file: (G, 5) cx cy w h angle, pixels and radians, float64, and which are difficult.

    Raises:
        DataError: unreadable, not HRSC XML, or an object whose numbers cannot be used.
    """
    try:
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
