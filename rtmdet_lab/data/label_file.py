"""Reads DOTA label files: one text file per image, one object per line as x1 y1 x2 y2 x3 y3 x4 y4 class difficulty.

HRSC and any other set written that way go through the same reader. What a line can have wrong (not eight numbers, shares for
pixels, no area, a number for a class) is refused with the file, the line and the remedy, or left out where ``on_bad`` says
so. Corners that cross or are not convex, which published files have, are taken by the smallest rectangle around them and
counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmdet_lab.core.errors import DataError, did_you_mean
from rtmdet_lab.core.fields import MAX_COORDINATE, is_number
from rtmdet_lab.core.files import require_plain

LINE_END = re.compile(r"\r\n|\r|\n")  # of every system, mixed, too
_HEADERS = ("imagesource", "gsd")  # what the first two lines of an official file begin with
_LEAST_WIDTH = 0.1  # pixels between the corners and a line through them; below, nothing can find the object


@dataclass
class LabelFile:
    """The objects of one image, in the order of the file, and the lines that could not be used."""

    path: Path
    quads: np.ndarray  # (G, 8) float64, x1 y1 ... x4 y4 in pixels, as written
    names: list[str]  # class of each object
    difficult: np.ndarray  # (G,) bool: any difficulty but 0
    irregular: np.ndarray  # (G,) bool: corners that cross or are not convex
    lines: list[int]  # where each object stands, from 1
    problems: list[str]  # one sentence per line left out, with file and line

    @property
    def around(self) -> np.ndarray:
        """(G, 4) float64, x1 y1 x2 y2 around each object's corners."""
        x, y = self.quads[:, ::2], self.quads[:, 1::2]
        return np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], 1)

    @property
    def reach(self) -> tuple[float, float] | None:
        """x, y that the objects end at, at most; None without objects."""
        if not self.names:
            return None
        return float(self.quads[:, ::2].max()), float(self.quads[:, 1::2].max())


def read_label_file(path: str | Path, classes: Collection[str] | None = None, on_bad: str = "refuse") -> LabelFile:
    """Returns the objects of a DOTA label file.

    Header lines, blank lines and repeated spaces are passed over, lines may end as on any system; a missing difficulty is
    0.

    Args:
        classes: names that may occur; None takes all.
        on_bad: "refuse" raises on the first line that cannot be used, "skip" lists it in ``problems``.

    Raises:
        DataError: unreadable, not text, or a line that cannot be used; names the file and the line.
    """
    path = Path(path)
    try:
        require_plain(path, "label file")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"label file {path} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read label file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"label file {path} is not text (byte {error.start}): replace it by the original") from error
    quads, names, difficult, irregular, lines, problems = [], [], [], [], [], []
    for number, line in enumerate(LINE_END.split(text), start=1):
        fields = line.split()
        if not fields or (not lines and line.strip().lower().startswith(_HEADERS)):
            continue
        try:
            quad, name, flag = _object(fields, classes)
            odd = _shape(quad)
        except ValueError as error:
            problem = f"label file {path}, line {number}: {error}"
            if on_bad == "refuse":
                raise DataError(problem) from None
            problems.append(problem)
            continue
        quads.append(quad)
        names.append(name)
        difficult.append(flag)
        irregular.append(odd)
        lines.append(number)
    corners = np.array(quads, dtype=np.float64).reshape(-1, 8)
    return LabelFile(path, corners, names, np.array(difficult, bool), np.array(irregular, bool), lines, problems)


def _object(fields: list[str], classes: Collection[str] | None) -> tuple[list[float], str, bool]:
    """Returns (corners, name, difficult) of a line's fields; raises ValueError with what is wrong."""
    quad = [_coordinate(field, number) for number, field in enumerate(fields[:8], start=1)]
    if len(quad) < 8:
        raise ValueError(f"eight corner coordinates are needed before the class, but there are {len(quad)}")
    if len(fields) not in (9, 10):
        kind = "no class" if len(fields) == 8 else f"{len(fields)} fields"
        raise ValueError(f"{kind}, but a line is x1 y1 x2 y2 x3 y3 x4 y4 class difficulty (a name without spaces)")
    name, flag = fields[8], fields[9] if len(fields) == 10 else "0"
    if _as_number(name) is not None and (classes is None or name not in classes):
        raise ValueError(
            f"class {name!r} is a number: a name is needed after the eight corner coordinates (YOLO's files have the class "
            "before them)"
        )
    if all(0 <= value <= 1 for value in quad):
        raise ValueError("all corners lie between 0 and 1: shares of the image, but pixels are needed")
    if classes is not None and name not in classes:
        hint = did_you_mean(name, classes, cutoff=0.8) or f"known are {', '.join(list(classes)[:20])}"
        raise ValueError(f"class {name!r} is not among the classes: {hint}")
    if not (flag.isascii() and flag.isdecimal()):
        raise ValueError(f"difficulty {flag!r} is not a whole number (0 easy, 1 difficult)")
    return quad, name, bool(flag.strip("0"))


def _coordinate(field: str, number: int) -> float:
    value = _as_number(field)
    if value is None:
        raise ValueError(f"coordinate {number} is {field!r}: eight numbers are needed before the class")
    if not is_number(value) or abs(value) > MAX_COORDINATE:
        raise ValueError(f"coordinate {number} is {field}, which is no place in an image")
    return value


def _as_number(field: str) -> float | None:
    try:
        return float(field.replace("_", "?"))  # float() reads 1_0 as 10
    except ValueError:
        return None


def _shape(quad: Sequence[float]) -> bool:
    """Returns whether the corners cross or are not convex; raises ValueError where they enclose nothing."""
    corners = list(zip(quad[::2], quad[1::2], strict=True))
    turns = []
    for number in range(4):  # twice the signed areas of all four triangles between corners
        (ax, ay), (bx, by), (cx, cy) = (corners[(number + step) % 4] for step in range(3))
        turns.append((bx - ax) * (cy - by) - (by - ay) * (cx - bx))
    longest = max(math.dist(one, other) for one in corners for other in corners)
    if max(map(abs, turns)) < _LEAST_WIDTH * longest or longest < _LEAST_WIDTH:
        raise ValueError(f"the four corners lie on one line (within {_LEAST_WIDTH} pixels): an object needs an area")
    return min(turns) < 0 < max(turns)
