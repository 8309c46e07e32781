"""Names beside boxes: where they stand, and which are left out so that the others can be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure, for_terminal
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of
from rtmdet_lab.viz.fonts import writable

FONT_SIZE = 6.5  # points
_PADDING = 0.8  # points of ground around a name
_FILLED = 0.95  # share of its part of the figure that a picture fills
_ROOM = 0.06  # share of the picture's height that a name above its box needs


def legible(ax: Axes, boxes: Tensor, labels: Sequence[int], texts: Sequence[str]) -> list[str]:
    """Returns the names to write: those in the way of another become empty; the box's colour still tells the class.

    The first object of each class goes first, then the others in their order.

    Args:
        ax: axes that show the picture already.
        boxes: (N, 4) or (N, 5). labels: class of each; texts: name of each.
    """
    scale = _points_per_pixel(ax)
    first = {label: number for number, label in reversed(list(enumerate(labels)))}
    order = sorted(range(len(texts)), key=lambda number: (first[labels[number]] != number, number))
    taken = np.zeros((len(texts), 4))
    shown = [""] * len(texts)
    count = 0
    for number in order:
        if not texts[number]:
            continue
        x1, y1, x2, y2 = area = _area(ax, boxes[number], texts[number], scale)
        others = taken[:count]
        covered = (others[:, 0] < x2) & (x1 < others[:, 2]) & (others[:, 1] < y2) & (y1 < others[:, 3])
        if not covered.any():
            taken[count] = area
            count += 1
            shown[number] = texts[number]
    return shown


def add_label(ax: Axes, box: Tensor, text: str, color: tuple[float, float, float]) -> None:
    """Writes a name on a ground of its box's colour beside the box, inside the picture."""
    x, y, at_right, above = _anchor(ax, box)
    shown, families = writable(for_terminal(text))
    ax.text(
        x,
        y,
        for_figure(shown),
        fontsize=FONT_SIZE,
        fontfamily=families,
        color="black" if sum(color) > 1.5 else "white",
        verticalalignment="bottom" if above else "top",
        horizontalalignment="right" if at_right else "left",
        bbox={"facecolor": color, "edgecolor": "none", "pad": _PADDING, "alpha": 0.8},
        clip_on=True,
    )


def _anchor(ax: Axes, box: Tensor) -> tuple[float, float, bool, bool]:
    """Returns the point a name is tied to, whether it ends there (instead of beginning), and whether it stands above."""
    corners = kind_of(box).corners(box).reshape(-1, 2)
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    # An upright box has its name at its top left corner, a turned one at its highest.
    begin, y = corners[corners[:, 1].argmin()].tolist()
    at_right = begin - left > 0.6 * (right - left)  # too little room for a text that begins there
    end = begin if kind_of(box) is ROTATED else float(corners[:, 0].max())
    above = y - top > _ROOM * abs(bottom - top)
    return min(end, right) if at_right else max(begin, left), y if above else max(y, top), at_right, above


def _area(ax: Axes, box: Tensor, text: str, scale: float) -> tuple[float, float, float, float]:
    """Returns x1 y1 x2 y2 of a name with its ground, in pixels of the picture; ``scale`` is points per pixel."""
    x, y, at_right, above = _anchor(ax, box)
    width, height = ((side + 2 * _PADDING) / scale for side in _text_size(text))
    x1, y1 = (x - width if at_right else x), (y - height if above else y)
    return x1, y1, x1 + width, y1 + height


@lru_cache(maxsize=4096)
def _text_size(text: str) -> tuple[float, float]:
    """Returns width and height of a name in points."""
    shown, families = writable(for_terminal(text))
    font = FontProperties(family=families, size=FONT_SIZE)
    width, height, _ = text_to_path.get_text_width_height_descent(shown, font, ismath=False)
    return float(width), max(float(height), FONT_SIZE)


def _points_per_pixel(ax: Axes) -> float:
    """Returns how large a picture will be drawn, by its share of the figure: the layout is only made when it is drawn."""
    width, height = ax.figure.bbox.width / ax.figure.dpi, ax.figure.bbox.height / ax.figure.dpi  # inches
    place = ax.get_subplotspec()
    if place is not None:
        grid = place.get_gridspec()
        columns, rows = grid.get_width_ratios(), grid.get_height_ratios()
        width *= sum(columns[one] for one in place.colspan) / sum(columns)
        height *= sum(rows[one] for one in place.rowspan) / sum(rows)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return 72 * _FILLED * min(width / abs(right - left), height / abs(bottom - top))
