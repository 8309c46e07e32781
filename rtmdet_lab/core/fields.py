"""One value of an annotation file as a number, a flag or an id, or the reason why it is none.

Everything that reads annotations reads its fields here, so that a text or a NaN means the same in training, in scoring and
to `rtmdet-lab data check`. The reasons continue "annotation 5 ...".
"""

from __future__ import annotations

import math
import reprlib
from numbers import Real
from typing import Any

MAX_COORDINATE = 1e6  # pixels; fifty times the side of the largest published image
_MAX_ID = 2**63 - 1
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True, "": False}


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; true and false, which Python counts with, are none."""
    if not isinstance(value, (int, float, Real)) or isinstance(value, bool):  # the slow test of Real comes last
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number past all floats
        return False


def number(value: Any, name: str) -> float:
    """Returns a finite number.

    Raises:
        ValueError: it is none, with the reason.
    """
    if not is_number(value):
        raise ValueError(f"has {name} {shown(value)}, but a finite number is needed")
    return float(value)


def flag(value: Any, name: str) -> bool:
    """Returns what 0, 1, false or true mean, as a number or as text; null and an empty text mean 0.

    Raises:
        ValueError: anything else, with the reason.
    """
    if value is None:
        return False
    if isinstance(value, str):
        meant = _FLAGS.get(value.strip().lower())
    else:
        meant = bool(value) if isinstance(value, Real) and value in (0, 1) else None
    if meant is None:
        raise ValueError(f"has {name} {shown(value)}, but 0 or 1 is needed")
    return meant


def is_id(value: Any) -> bool:
    """Whether a value is a whole number of 64 bits, which every reader of ids can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_ID


def side(value: Any, name: str) -> int | None:
    """Returns the pixels of an image's side; None where the file does not say them (null, or 0 as some exports write).

    Raises:
        ValueError: no whole number of pixels, with the reason.
    """
    if value is None or (value == 0 and is_number(value)):
        return None
    if not is_number(value) or value != int(value) or not 0 < value <= MAX_COORDINATE:
        raise ValueError(f"has {name} {shown(value)}, but a whole number of pixels is needed")
    return int(value)


def box(value: Any, name: str = "bbox") -> tuple[float, float, float, float]:
    """Returns x, y, width and height, none of them negative in size or past any image.

    Raises:
        ValueError: no such box, with the reason.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 4 or not all(map(is_number, value)):
        raise ValueError(f"has {name} {shown(value)}, but four finite numbers x, y, width, height are needed")
    x, y, width, height = value
    if width < 0 or height < 0:
        raise ValueError(f"has a {name} of negative size ({shown(width)} x {shown(height)})")
    far = max(value, key=abs)
    if abs(far) > MAX_COORDINATE:
        raise ValueError(f"has {name} with {far:g}, which is no place in an image")
    return x, y, width, height


def shown(value: Any) -> str:
    """Returns a value as it is written, shortened: a file may hold a megabyte where a number belongs."""
    try:
        return reprlib.repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        return "a number of thousands of digits"
