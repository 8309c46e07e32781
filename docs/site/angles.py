"""Draws the angle convention of rotated boxes, with the corners that the library itself computes.

    python docs/site/angles.py

writes docs/images/angle_convention.svg.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, FancyArrowPatch, Polygon

from rtmdet_lab import rboxes_to_quads
from rtmdet_lab.geometry.rotated import to_le90

TARGET = Path(__file__).parents[1] / "images" / "angle_convention.svg"
INK, BOX, ANGLE = "#263238", "#1565c0", "#d84315"
WIDTH, HEIGHT = 120.0, 50.0  # pixels of the drawn box


def draw_box(axes: Axes, center: tuple[float, float], angle: float, width: float = WIDTH, height: float = HEIGHT) -> None:
    """Draws one rectangle (``angle`` in radians) with the direction its width runs in."""
    corners = rboxes_to_quads(torch.tensor([[*center, width, height, angle]])).reshape(4, 2).numpy()
    axes.add_patch(Polygon(corners, closed=True, facecolor=BOX + "22", edgecolor=BOX, linewidth=1.8))
    x, y = center
    tip = (x + width / 2 * math.cos(angle), y + width / 2 * math.sin(angle))
    arrow(axes, center, tip, ANGLE)
    axes.plot(x, y, "o", color=INK, markersize=4)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=color, linewidth=1.5, shrinkA=0, shrinkB=0)
    )


def draw_meaning(axes: Axes) -> None:
    """The five numbers of one box on the axes of an image."""
    angle, center = math.radians(30), (125.0, 105.0)
    arrow(axes, (0, 0), (245, 0), INK)
    arrow(axes, (0, 0), (0, 190), INK)
    axes.text(238, -8, "x", color=INK, ha="center")
    axes.text(-10, 184, "y", color=INK, ha="center")
    axes.text(4, -8, "(0, 0), upper left corner of the image", color=INK, fontsize=9)
    draw_box(axes, center, angle)
    x, y = center
    axes.plot([x, x + 95], [y, y], color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.add_patch(Arc(center, 130, 130, theta1=0, theta2=30, color=ANGLE, linewidth=1.8))
    axes.text(x + 71, y + 21, "angle\n= π/6", color=ANGLE, fontsize=10, va="center")
    axes.text(x - 8, y - 6, "(cx, cy)", color=INK, fontsize=9, ha="right")
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    axes.text(
        x - across[0] * 36 - along[0] * 5,
        y - across[1] * 36 - along[1] * 5,
        "w",
        color=BOX,
        fontsize=13,
        ha="center",
        va="center",
    )
    axes.text(x - along[0] * 72, y - along[1] * 72, "h", color=BOX, fontsize=13, ha="center", va="center")
    axes.set_title("a box: cx, cy, w, h in pixels, angle in radians", fontsize=11, color=INK)
    axes.set_xlim(-22, 252)
    axes.set_ylim(196, -22)


def draw_range(axes: Axes) -> None:
    """The same rectangle over the range of angles, and one rectangle written in two ways."""
    for column, (angle, name) in enumerate(
        [(-math.pi / 2, "-π/2"), (-math.pi / 4, "-π/4"), (0.0, "0"), (math.pi / 4, "π/4")]
    ):
        center = (50 + 100 * column, 62)
        draw_box(axes, center, angle, 76, 32)
        axes.text(center[0], 122, name, color=ANGLE, fontsize=11, ha="center")
    written = torch.tensor([[0.0, 0.0, 32.0, 76.0, math.pi / 4]])
    ours = to_le90(written)[0].tolist()
    draw_box(axes, (95, 192), math.pi / 4, 32, 76)
    draw_box(axes, (305, 192), ours[4], ours[2], ours[3])
    axes.text(200, 192, "is stored as", color=INK, fontsize=10, ha="center", va="center")
    axes.text(95, 246, "w < h, angle π/4", color=INK, fontsize=10, ha="center")
    axes.text(305, 246, "w ≥ h, angle -π/4", color=INK, fontsize=10, ha="center")
    axes.set_title("range [-π/2, π/2): a growing angle turns clockwise on the screen", fontsize=11, color=INK)
    axes.set_xlim(-10, 410)
    axes.set_ylim(256, 0)


def main() -> None:
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
    draw_meaning(left)
    draw_range(right)
    for axes in (left, right):
        axes.set_aspect("equal")
        axes.axis("off")
    with matplotlib.rc_context({"svg.hashsalt": "rtmdet-lab", "svg.fonttype": "path"}):
        figure.savefig(TARGET, metadata={"Date": None}, facecolor="white")
    print(TARGET)


if __name__ == "__main__":
    main()
