"""Pictures of rotated boxes: their coding at a point, overlap against angle, and the windows of a large image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Rectangle

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.geometry.priors import decode_rotated
from rtmdet_lab.geometry.rotated import rboxes_to_quads, rotated_iou
from rtmdet_lab.viz.draw import add_box, class_color, draw_targets

SIDES = ("left", "top", "right", "bottom")
OBJECT_COLOR, POINT_COLOR, ANGLE_COLOR = (0.12, 0.35, 0.65), (0.80, 0.25, 0.15), (0.45, 0.45, 0.45)


def plot_box_coding(point: Sequence[float], distances: Sequence[float], angle: float) -> Figure:
    """Returns what a point predicts of a box: four distances in the box's own frame, and the angle (paper.md 4.8).

    Args:
        point: x, y in pixels.
        distances: left, top, right, bottom in pixels.
        angle: radians, clockwise on the screen.
    """
    at, reach = torch.tensor([point], dtype=torch.float64), torch.tensor([distances], dtype=torch.float64)
    box = decode_rotated(at, reach, torch.tensor([angle], dtype=torch.float64))[0]
    figure, ax = plt.subplots(figsize=(7.2, 5.2), layout="constrained")
    corners = rboxes_to_quads(box).reshape(4, 2)
    margin = 0.22 * float((corners.amax(0) - corners.amin(0)).max())
    (x1, y1), (x2, y2) = (corners.amin(0) - margin).tolist(), (corners.amax(0) + margin).tolist()
    ax.set(xlim=(x1, x2), ylim=(y2, y1), xlabel="x (pixels)", ylabel="y (pixels)", aspect="equal")
    add_box(ax, box, OBJECT_COLOR)
    x, y = point
    right, down = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    ways = ((-right[0], -right[1]), (-down[0], -down[1]), right, down)
    for name, length, (step_x, step_y) in zip(SIDES, distances, ways, strict=True):
        end = (x + length * step_x, y + length * step_y)
        ax.annotate(
            "", end, (x, y), arrowprops={"arrowstyle": "->", "color": POINT_COLOR, "lw": 1.6, "shrinkA": 0, "shrinkB": 0}
        )
        # Beside the middle of its arrow, on a white ground.
        middle = (x + 0.55 * length * step_x, y + 0.55 * length * step_y)
        ax.text(*middle, f"{name} {length:g}", color=POINT_COLOR, fontsize=9, ha="center", va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85})  # fmt: skip
    reach_x = 0.9 * margin + max(distances) * 0.35
    ax.plot([x, x + reach_x], [y, y], color=ANGLE_COLOR, linestyle=":", linewidth=1.2)
    low, high = sorted((0.0, math.degrees(angle)))
    ax.add_patch(Arc((x, y), 1.4 * reach_x, 1.4 * reach_x, theta1=low, theta2=high, color=ANGLE_COLOR))
    half = angle / 2
    ax.text(x + 0.82 * reach_x * math.cos(half), y + 0.82 * reach_x * math.sin(half), f"{math.degrees(angle):.0f}°",
            color=ANGLE_COLOR, fontsize=9, ha="center", va="center")  # fmt: skip
    ax.plot(x, y, "o", color=POINT_COLOR, markersize=6, label="point of the grid")
    ax.plot(*box[:2].tolist(), "+", color=OBJECT_COLOR, markersize=11, markeredgewidth=2, label="center of the box")
    ax.legend(loc="upper left", fontsize=8)
    numbers = ", ".join(f"{value:.1f}" for value in box[:4].tolist())
    ax.set_title(f"cx, cy, w, h = {numbers}; angle = {float(box[4]):.2f} rad", fontsize=10)
    return figure


def plot_overlap_curves(aspects: Sequence[float] = (1, 2, 4, 8, 16), threshold: float = 0.5) -> Figure:
    """Returns the exact IoU of a box with itself turned, against the angle, for several ratios of length to width."""
    degrees = torch.linspace(-90, 90, 361, dtype=torch.float64)
    figure, ax = plt.subplots(figsize=(9.5, 4), layout="constrained")
    colors = plt.get_cmap("viridis")
    for number, aspect in enumerate(aspects):
        still = torch.tensor([[0.0, 0.0, float(aspect), 1.0, 0.0]], dtype=torch.float64)
        turned = still.repeat(len(degrees), 1)
        turned[:, 4] = torch.deg2rad(degrees)
        iou = rotated_iou(still.expand_as(turned), turned, aligned=True)
        tolerance = float(degrees[(iou >= threshold) & (degrees >= 0)].max())
        label = (
            f"{aspect:g} : 1, at least {threshold:g} up to {tolerance:.0f}°" if tolerance < 90 else f"{aspect:g} : 1, always"
        )
        ax.plot(degrees, iou, color=colors(number / max(len(aspects) - 1, 1) * 0.9), label=label)
    ax.axhline(threshold, color="0.6", linewidth=0.8, linestyle="--")
    ax.set(xlim=(-90, 90), ylim=(0, 1.02), xlabel="angle between the two (degrees)", ylabel="IoU")
    ax.set_xticks(range(-90, 91, 30))
    ax.legend(title="length : width", fontsize=8, title_fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_title("The same box, turned: a thin one tolerates little", fontsize=10)
    return figure


def draw_windows(
    image: Any,
    windows: Sequence[tuple[int, int, int]],
    targets: Targets,
    classes: Sequence[str],
    title: str | None = None,
) -> Figure:
    """Returns a large image with its objects and the windows it is cut into, each in a colour of its own.

    Args:
        windows: (x, y, side) in pixels of the image.
    """
    figure, ax = plt.subplots(figsize=(8, 8 * image.shape[-2] / image.shape[-1] + 0.4), layout="constrained")
    draw_targets(image, targets, [""] * len(classes), title=title, ax=ax)
    colors = plt.get_cmap("tab10")
    for number, (x, y, side) in enumerate(windows):
        # A little smaller each, so that borders which coincide stay visible.
        inset = side * 0.004 * (1 + number % 4)
        frame = Rectangle((x + inset, y + inset), side - 2 * inset, side - 2 * inset, fill=False, linewidth=1.8)
        frame.set_edgecolor(colors(number % 10))
        ax.add_patch(frame)
        ax.text(x + 3 * inset, y + 3 * inset + 4 * (number % 4), str(number + 1), color="white", fontsize=8, va="top",
                bbox={"facecolor": colors(number % 10), "edgecolor": "none", "pad": 1})  # fmt: skip
    right, bottom = (max(edge) for edge in zip(*((x + side, y + side) for x, y, side in windows), strict=True))
    ax.set_xlim(-0.5, max(image.shape[-1], right) - 0.5)
    ax.set_ylim(max(image.shape[-2], bottom) - 0.5, -0.5)
    shown = sorted(set(targets.labels.tolist()))
    for label in shown:
        ax.plot(
            [], [], color=class_color(label), label=f"{for_figure(classes[label])} ({int((targets.labels == label).sum())})"
        )
    if shown:
        ax.legend(loc="lower right", fontsize=8)
    return figure
