"""Two levels of large images: the windows they were cut into, and the whole. Each finds the other by the names of the files.

Windows keep in ``whole_image`` the id of the image they were cut from, and in ``window`` their place on it: x, y, width and
height in its pixels.
"""

from __future__ import annotations

from typing import Any

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.tiles import parse_window_name

WHOLE, WINDOW = "whole_image", "window"


def window_fields(image_id: Any) -> dict[str, Any]:
    """Returns what a sample keeps of its place on a whole image; nothing if its id is not the name of a window.

    >>> window_fields("P0706__512__384___670")
    {'whole_image': 'P0706', 'window': [384, 670, 512, 512]}
    >>> window_fields("P0706")
    {}
    """
    try:
        window = parse_window_name(str(image_id))
    except DataError:
        return {}
    return {WHOLE: window.image, WINDOW: [window.x, window.y, window.size, window.size]}


def windows_of(windows: Any, image_id: str) -> Any:
    """Returns the view of the windows of a whole image, row by row.

    Args:
        windows: data set of windows.
        image_id: of the whole image.

    Raises:
        DataError: a data set without windows, or without one of that image.
    """
    from fiftyone import ViewField

    if not windows.has_field(WHOLE):
        raise DataError(f"data set {windows.name!r} has no windows of large images: put runs on split images into it")
    found = windows.match(ViewField(WHOLE) == str(image_id))
    if not len(found):
        known = windows.distinct(WHOLE)
        raise DataError(f"data set {windows.name!r} has no window of {image_id!r}: it has those of {', '.join(known[:10])}")
    place = {key: (top, left) for key, (left, top, *_) in zip(found.values("id"), found.values(WINDOW), strict=True)}
    return found.select(sorted(place, key=place.__getitem__), ordered=True)


def whole_of(dataset: Any, window: Any) -> Any:
    """Returns the view of the whole image that a window was cut from.

    Args:
        dataset: data set of whole images.
        window: a sample of a data set of windows.

    Raises:
        DataError: not a window, or its image is not there.
    """
    from fiftyone import ViewField

    image_id = window[WHOLE] if window.has_field(WHOLE) else None
    if image_id is None:
        raise DataError(f"image {window['image_id']!r} is no window of a larger one")
    found = dataset.match(ViewField("image_id") == image_id)
    if not len(found):
        raise DataError(f"data set {dataset.name!r} has no image {image_id!r}, which {window['image_id']!r} was cut from")
    return found
