"""Pictures of rotated boxes say what the geometry says."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Polygon, Rectangle

from rtmdet_lab.core.structures import Targets
from rtmdet_lab.viz.draw import class_color
from rtmdet_lab.viz.rotated import draw_windows, plot_box_coding, plot_overlap_curves


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.parametrize("angle", [0.0, 0.45, -0.8, 1.5])
def test_arrows_of_the_coding_end_on_the_sides_of_the_box(angle):
    (ax,) = plot_box_coding((60, 50), (38, 12, 50, 20), angle).axes
    corners = np.array(next(one for one in ax.patches if isinstance(one, Polygon)).get_xy())[:4]
    ends = [np.array(text.xy) for text in ax.texts if hasattr(text, "arrow_patch") and text.arrow_patch is not None]
    assert len(ends) == 4
    lengths = sorted(float(np.hypot(*(end - (60, 50)))) for end in ends)
    assert lengths == pytest.approx([12, 20, 38, 50])
    for end in ends:
        sides = [(corners[number - 1], corners[number]) for number in range(4)]
        assert min(distance(end, *side) for side in sides) < 1e-4
    assert "88.0, 32.0" in ax.get_title()
    assert f"{math.degrees(angle):.0f}°" in [text.get_text() for text in ax.texts]


def distance(point, start, end) -> float:
    """From a point to the line through two others."""
    way = end - start
    return float(abs(way[0] * (point - start)[1] - way[1] * (point - start)[0]) / np.hypot(*way))


def test_overlap_curves_have_the_known_values():
    (ax,) = plot_overlap_curves(aspects=(1, 3), threshold=0.6).axes
    square, long = (np.asarray(line.get_ydata()) for line in ax.lines[:2])
    degrees = np.asarray(ax.lines[0].get_xdata())
    at = {angle: int(np.flatnonzero(degrees == angle)[0]) for angle in (-90, 0, 45, 90)}
    assert square[at[0]] == square[at[90]] == pytest.approx(1)
    octagon = 2 * (math.sqrt(2) - 1)  # what two unit squares at 45 degrees share
    assert square[at[45]] == pytest.approx(octagon / (2 - octagon))
    assert long[at[90]] == long[at[-90]] == pytest.approx(1 / 5)  # a cross: 1 of 3 + 3 - 1
    assert ax.lines[2].get_ydata()[0] == 0.6


@pytest.mark.parametrize("count", [0, 2])
def test_windows_are_drawn_where_they_lie(count):
    boxes = torch.tensor([[30.0, 40.0, 20.0, 8.0, 0.3], [100.0, 60.0, 30.0, 9.0, -0.5]])[:count]
    targets = Targets(boxes, torch.tensor([0, 1])[:count])
    windows = [(0, 0, 80), (60, 0, 80), (60, 40, 80)]
    (ax,) = draw_windows(torch.full((3, 90, 140), 90, dtype=torch.uint8), windows, targets, ["ship", "plane"]).axes
    frames = [one for one in ax.patches if isinstance(one, Rectangle)]
    for (x, y, side), frame in zip(windows, frames, strict=True):
        assert (frame.get_x(), frame.get_y()) == (pytest.approx(x, abs=2), pytest.approx(y, abs=2))
        assert frame.get_width() == pytest.approx(side, abs=4)
    assert (ax.get_xlim()[1], ax.get_ylim()[0]) == (139.5, 119.5)  # the last window reaches below the image
    legend = ax.get_legend()
    assert (legend is None) == (count == 0)
    if count:
        assert [text.get_text() for text in legend.get_texts()] == ["ship (1)", "plane (1)"]
        assert legend.get_lines()[1].get_color() == class_color(1)
