"""Windows of large images: where they lie, what they are called, what is in them, and the way back.

A window is a square of ``size`` pixels of the whole image. Its file is ``IMAGE__SIZE__X___Y`` with the place of its top left
pixel, and is resized to the patch size where the two differ (a scale of 0.5 makes windows of twice the patch size).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.geometry.box_kind import kind_of

_NAME = re.compile(r"(?P<image>.+)__(?P<size>\d+)__(?P<x>\d+)___(?P<y>\d+)")
SMALLEST_WINDOW = 8  # pixels
WINDOW_SHARE = 0.6  # published (paper.md 3.7)
_FILL_RGB = (124, 116, 104)  # published as (104, 116, 124) in BGR: the mean colour of ImageNet


class Window(NamedTuple):
    """A square of an image: its image's name, its side and its top left corner in that image's pixels."""

    image: str
    size: int
    x: int
    y: int

    @property
    def name(self) -> str:
        """The name of its files, without suffix."""
        return f"{self.image}__{self.size}__{self.x}___{self.y}"


def parse_window_name(name: str) -> Window:
    """Returns the window that a file name (without suffix) stands for.

    >>> parse_window_name("P0706__512__384___670")
    Window(image='P0706', size=512, x=384, y=670)

    Raises:
        DataError: not the name of a window.
    """
    match = _NAME.fullmatch(str(name))
    if match is None or int(match["size"]) < SMALLEST_WINDOW:
        raise DataError(f"{name!r} is not the name of a window: IMAGE__SIZE__X___Y in pixels of the whole image is needed")
    return Window(match["image"], int(match["size"]), int(match["x"]), int(match["y"]))


def window_size(pixels: int, scale: float) -> int:
    """Returns how much of the image ``pixels`` of a window's file show at a scale of the whole image.

    >>> window_size(1024, 0.5), window_size(1024, 1.5)
    (2048, 682)
    """
    return int(pixels / scale)  # rounded down, as published


def lay_windows(
    image: str, shape: tuple[int, int], size: int, overlap: int, window_share: float = WINDOW_SHARE
) -> list[Window]:
    """Returns the windows of one size that cover an image of ``shape`` (height, width), by x, then y.

    They start ``size - overlap`` pixels apart; the last of a row or column is moved back to end with the image. Only where
    the image is smaller than a window does a part of it lie outside; windows with less than ``window_share`` of their area
    inside are left out unless no window of the image has more.
    """
    height, width = shape
    windows = [Window(image, size, x, y) for x in _starts(width, size, overlap) for y in _starts(height, size, overlap)]
    shares = [min(size, width - one.x) * min(size, height - one.y) / size**2 for one in windows]
    least = min(window_share, max(shares))
    return [window for window, share in zip(windows, shares, strict=True) if share >= least]


def _starts(length: int, size: int, overlap: int) -> list[int]:
    if length <= size:
        return [0]
    return [*range(0, length - size, size - overlap), length - size]


def cut_window(pixels: np.ndarray, window: Window, patch: int | None = None, pad: bool = True) -> np.ndarray:
    """Returns the window's part of (H, W, 3) uint8 RGB; a view of ``pixels`` where nothing has to be changed.

    Args:
        patch: side it is resized to; None: its own.
        pad: fill what lies outside the image with the published colour; otherwise it is cut off.
    """
    part = pixels[window.y : window.y + window.size, window.x : window.x + window.size]
    if pad and part.shape[:2] != (window.size, window.size):
        canvas = np.full((window.size, window.size, 3), _FILL_RGB, dtype=np.uint8)
        canvas[: part.shape[0], : part.shape[1]] = part
        part = canvas
    if patch is None or window.size == patch:
        return part
    height, width = (max(round(side * patch / window.size), 1) for side in part.shape[:2])
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)  # as training resizes


def shares_inside(quads: np.ndarray, window: Window) -> np.ndarray:
    """Returns the share of each convex quadrilateral's area that lies in the window, (G,) from (G, 8) corners."""
    x, y = quads[:, ::2], quads[:, 1::2]
    right, bottom = window.x + window.size, window.y + window.size
    whole = (x.min(1) >= window.x) & (x.max(1) <= right) & (y.min(1) >= window.y) & (y.max(1) <= bottom)
    apart = (x.max(1) <= window.x) | (x.min(1) >= right) | (y.max(1) <= window.y) | (y.min(1) >= bottom)
    shares = whole.astype(np.float64)
    for number in np.flatnonzero(~whole & ~apart):
        corners = quads[number].reshape(4, 2)
        shares[number] = _area(_clipped(corners.tolist(), window)) / _area(corners.tolist())
    return shares


def _clipped(polygon: list, window: Window) -> list:
    """Returns the polygon without what lies outside the window, one border after the other."""
    low, high = (window.x, window.y), (window.x + window.size, window.y + window.size)
    for axis in (0, 1):
        for sign, limit in ((1, low[axis]), (-1, high[axis])):
            kept = []
            for number, end in enumerate(polygon):
                start = polygon[number - 1]
                before, after = sign * (start[axis] - limit), sign * (end[axis] - limit)  # positive inside
                if before * after < 0:
                    way = before / (before - after)
                    kept.append([start[one] + way * (end[one] - start[one]) for one in (0, 1)])
                if after >= 0:
                    kept.append(end)
            polygon = kept
    return polygon


def _area(polygon: list) -> float:
    pairs = [(polygon[number - 1], end) for number, end in enumerate(polygon)]
    return abs(sum(start[0] * end[1] - end[0] * start[1] for start, end in pairs)) / 2


def merge_windows(
    detections: Sequence[Detections],
    images: Sequence[ImageMeta],
    patch: int | None = None,
    iou_threshold: float = 0.1,
) -> list[Detections]:
    """Returns the detections of whole images from those of their windows, best first, one entry per image of ``images``.

    Boxes are scaled and shifted to the whole image's pixels; of boxes of one class that overlap, the best stays.

    Args:
        detections: of windows, with boxes (N, 5) in pixels of the window's file and its name as ``meta.image_id``.
        images: the whole images; ``image_id`` is the name before the window's part. Images without windows stay empty.
        patch: side of the window files in pixels, as they were cut; None where each has its window's own size.
        iou_threshold: rotated IoU above which the lesser box goes (0.1 as published, paper.md 3.7).

    Raises:
        DataError: a name that is no window's, a window of an image that is not in ``images``, the same window twice, or a
            window's file of another size than ``patch``.
    """
    metas = {str(meta.image_id): meta for meta in images}
    found: dict[str, list[Detections]] = {name: [] for name in metas}
    seen = set()
    for one in detections:
        name = None if one.meta is None else one.meta.image_id
        window = parse_window_name(name)
        if window.image not in metas:
            raise DataError(f"window {name!r} belongs to image {window.image!r}, which is not among the {len(metas)} images")
        if window in seen:
            raise DataError(f"window {name!r} occurs twice: give each window's detections once")
        seen.add(window)
        _check_patch(window, one.meta.original_size, metas[window.image].original_size, patch or window.size)
        factor = window.size / patch if patch else 1.0
        shift = torch.tensor([window.x, window.y, 0.0, 0.0, 0.0])
        boxes = one.boxes.cpu() * torch.tensor([factor, factor, factor, factor, 1.0]) + shift
        found[window.image].append(Detections(boxes, one.scores.cpu(), one.labels.cpu()))
    return [merge_parts(found[name], meta, iou_threshold) for name, meta in metas.items()]


def _check_patch(window: Window, size: tuple[int, int] | None, whole: tuple[int, int] | None, patch: int) -> None:
    """Raises DataError where the window's file of ``size`` (height, width) cannot have been cut with ``patch``."""
    if size is None:
        return
    inside = whole is not None and window.x + window.size <= whole[1] and window.y + window.size <= whole[0]
    if max(size) > patch or (inside and tuple(size) != (patch, patch)):  # at the border it may be cut off
        raise DataError(
            f"window {window.name!r} has a file of {size[1]} x {size[0]} pixels, which does not fit patch {patch}: "
            "give the patch size the windows were cut with"
        )


def merge_parts(parts: Sequence[Detections], meta: ImageMeta | None, iou_threshold: float) -> Detections:
    """Returns one image's detections from those of its parts, which are in its pixels already: of boxes of one class that
    overlap, the best."""
    if not parts:
        return Detections(torch.zeros(0, 5), torch.zeros(0), torch.zeros(0, dtype=torch.int64), meta=meta)
    boxes, scores, labels = (torch.cat([getattr(one, name) for one in parts]) for name in ("boxes", "scores", "labels"))
    keep = kind_of(boxes).suppress(boxes, scores, labels, iou_threshold)
    return Detections(boxes[keep], scores[keep], labels[keep], meta=meta)
