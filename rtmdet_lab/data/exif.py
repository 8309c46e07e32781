"""Whether the annotations of an image were made for the picture as its EXIF entry turns it, or as it is stored.

Viewers turn it, many annotation tools did not: both kinds of files are about, and only their numbers tell them apart.
"""

from __future__ import annotations

SIDEWAYS = (5, 6, 7, 8)  # orientations that swap the sides
_ROUNDING = 1.02  # boxes that end past the border by less are drawn carelessly, not for another picture


def is_turned(
    stored: tuple[int, int],
    orientation: int,
    size: tuple[int, int] | None = None,
    reach: tuple[float, float] | None = None,
) -> bool:
    """Returns whether the annotations of an image were made for the picture as its EXIF entry turns it.

    Where a quarter turn swaps different sides, boxes that end past the border of one of the two pictures, and not of the
    other, decide; else the size in the annotation file. Of what neither shows (no size, half turns, squares), the turned
    picture is taken, which viewers show.

    Args:
        stored: (height, width) without the turn.
        orientation: of the EXIF entry, 1 to 8.
        size: (height, width) in the annotation file, None where it does not say.
        reach: x, y that the boxes end at, None without boxes.
    """
    if orientation not in SIDEWAYS or stored[0] == stored[1]:
        return True
    if reach is not None:
        fits = [all(end <= _ROUNDING * side for end, side in zip(reach, one, strict=True)) for one in (stored, stored[::-1])]
        if fits[0] != fits[1]:  # x, y in the turned picture end at the stored height and width
            return fits[0]
    return size is None or tuple(size) != stored


def turn_doubt(
    stored: tuple[int, int],
    orientation: int,
    size: tuple[int, int] | None = None,
    reach: tuple[float, float] | None = None,
) -> str | None:
    """Returns what is uncertain about an image's turn, as "has an EXIF turn that ...", or None.

    Args:
        stored, orientation, size, reach: as for :func:`is_turned`.
    """
    if orientation not in range(2, 9) or reach is None:
        return None
    turn = f"has an EXIF turn (orientation {orientation})"
    if orientation not in SIDEWAYS or stored[0] == stored[1]:
        return f"{turn} that keeps its sides: it is read turned, look whether its boxes fit"
    turned = is_turned(stored, orientation, size, reach)
    how = "turned" if turned else "as it is stored, not turned"
    if size is not None and turned != is_turned(stored, orientation, size):
        return f"{turn}, and its boxes end past the border unless it is read {how}, against the file's width and height"
    if turned and size is not None:
        return None
    # With both sizes in turn: boxes that decide give the same answer twice.
    answers = {is_turned(stored, orientation, other, reach) for other in (stored, stored[::-1])}
    return None if len(answers) == 1 else f"{turn} that its boxes do not show: it is read {how}, look whether they fit"
