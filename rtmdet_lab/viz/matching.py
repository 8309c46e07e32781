"""One object under one assigner, beside another: what each cost says, and which points change hands (paper 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.core.structures import Priors, Targets
from rtmdet_lab.geometry.box_kind import kind_of
from rtmdet_lab.viz.assignment import draw_heat, level_maps
from rtmdet_lab.viz.draw import add_box, class_color, draw_positive_points, show_image, to_rgb_array

IN_THE_RUNNING = 20  # cheapest points of an object; 13 at most are chosen
KEPT, WON, LOST, OUTBID = "#ffffff", "#39d353", "#ff3b30", "#ff9f0a"
CELL = 1.75  # inches of one small picture


@dataclass(frozen=True)
class Matching:
    """One image under one assigner, as far as it can be looked at (G objects, P points)."""

    maps: Mapping[str, Tensor]  # per-pair values (G, P) by name, the last one the total; infinite or NaN: not allowed
    low_is_good: bool  # costs, not overlaps
    candidates: Tensor  # (P,) bool
    dynamic_k: Tensor | None  # (G,)
    selected: Tensor | None  # (G, P) bool, before conflicts
    gt_index: Tensor  # (P,), -1 background


def plot_matching(
    image: Any, targets: Targets, classes: Sequence[str], priors: Priors, number: int, now: Matching, before: Matching
) -> Figure:
    """Returns small pictures of object ``number``, a row per level and a column per map and one of the points it has, and
    the whole image with the points that ``now`` wins and loses against ``before``.

    Args:
        image: (3, H, W) or (H, W, 3) RGB uint8, the network canvas.
        targets: its objects, in canvas pixels.
    """
    array = to_rgb_array(image)
    strides = torch.unique(priors.strides).tolist()
    columns = len(now.maps) + 1
    height = CELL * len(strides) + 0.6
    figure = Figure(figsize=(CELL * columns + height, height))
    left_share = CELL * columns / (CELL * columns + height)
    grid = figure.add_gridspec(
        len(strides), columns, left=0.025, right=left_share - 0.005, top=0.94, bottom=0.02, wspace=0.04, hspace=0.05
    )
    zone = _zone(targets.boxes[number], array.shape[:2])
    color = class_color(int(targets.labels[number]))
    running = _in_the_running(now, number)
    cheap = "viridis_r" if now.low_is_good else "viridis"
    for column, (name, values) in enumerate(now.maps.items()):
        shown = torch.where(now.candidates & values[number].isfinite(), values[number], torch.nan)
        limits = _limits(values[number], running)
        for row, level in enumerate(level_maps(shown, priors, array.shape[:2])):
            ax = figure.add_subplot(grid[row, column])
            draw_heat(ax, array, level, strides[row], limits, cheap)
            add_box(ax, targets.boxes[number], color)
            _frame(ax, zone, _heading(name, limits) if row == 0 else "")
            if column == 0:
                ax.text(-0.03, 0.5, f"stride {strides[row]:.0f}", rotation=90, ha="right", va="center", fontsize=8,
                        transform=ax.transAxes)  # fmt: skip
    for row, stride in enumerate(strides):
        ax = figure.add_subplot(grid[row, columns - 1])
        show_image(ax, array)
        add_box(ax, targets.boxes[number], color)
        _points(ax, priors, now, before, priors.strides == stride, number)
        _frame(ax, zone, "points of this object" if row == 0 else "")
    whole = figure.add_axes((left_share, 0.02, 0.995 - left_share, 0.92))
    draw_changes(whole, array, targets, classes, priors, now, before)
    add_box(whole, targets.boxes[number], to_rgb("white"), style=":")
    return figure


def draw_changes(
    ax: Axes, array: Any, targets: Targets, classes: Sequence[str], priors: Priors, now: Matching, before: Matching
) -> None:
    """Draws all objects and points: those kept, won (learning another object counts as such), and lost."""
    kept = torch.where(now.gt_index == before.gt_index, now.gt_index, -1)
    draw_positive_points(array, priors.points, priors.strides, kept, targets, classes, ax=ax)
    changed = now.gt_index != before.gt_index
    won, lost = changed & (now.gt_index >= 0), changed & (now.gt_index < 0)
    sizes = 14 * (1 + torch.log2(priors.strides / priors.strides.min()))
    for mask, style in (
        (won, {"c": WON, "edgecolors": "black", "linewidths": 0.9}),
        (lost, {"c": LOST, "marker": "x", "linewidths": 1.8}),
    ):
        x, y = priors.points[mask].T.tolist() if bool(mask.any()) else ([], [])
        ax.scatter(x, y, s=(1.6 * sizes[mask]).tolist(), zorder=4, **style)
    positive = int((now.gt_index >= 0).sum())
    title = f"all objects: {positive} points"
    if bool(changed.any()):
        title += f", {int(won.sum())} won (green), {int(lost.sum())} lost (red)"
    ax.set_title(for_figure(title), fontsize=10)


def plot_history_of_points(
    image: Any,
    targets: Targets,
    classes: Sequence[str],
    priors: Priors,
    rows: Mapping[str, Mapping[str, Tensor]],
) -> Figure:
    """Returns one picture per training moment (row) and assigner (column) with the points that learn.

    Args:
        rows: moment to assigner to the object of each point (P,).
    """
    array = to_rgb_array(image)
    columns = max(len(row) for row in rows.values())
    figure = Figure(figsize=(3.3 * columns, 3.45 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (moment, row) in zip(axes, rows.items(), strict=True):
        for ax, (name, gt_index) in zip(line, row.items(), strict=True):
            title = f"{moment}, {name}: {int((gt_index >= 0).sum())} points"
            draw_positive_points(array, priors.points, priors.strides, gt_index, targets, classes, title=title, ax=ax)
    return figure


def _points(ax: Axes, priors: Priors, now: Matching, before: Matching, level: Tensor, number: int) -> None:
    mine, was = now.gt_index == number, before.gt_index == number
    outbid = torch.zeros_like(mine) if now.selected is None else now.selected[number] & ~mine
    for mask, style in (
        (now.candidates & ~mine, {"s": 3, "c": "white", "alpha": 0.45}),
        (mine & was, {"s": 34, "c": KEPT, "edgecolors": "black", "linewidths": 0.9}),
        (outbid, {"s": 44, "c": "none", "edgecolors": OUTBID, "linewidths": 1.6}),
        (mine & ~was, {"s": 38, "c": WON, "edgecolors": "black", "linewidths": 0.9}),
        (was & ~mine, {"s": 34, "c": LOST, "marker": "x", "linewidths": 1.8}),
    ):
        x, y = priors.points[mask & level].T.tolist() if bool((mask & level).any()) else ([], [])
        ax.scatter(x, y, zorder=4, **style)


def _limits(values: Tensor, running: Tensor) -> tuple[float, float]:
    """Returns the range over the points in the running for the object: costs grow tenfold per stride, the others are far."""
    best = values[running]
    low, high = (float(best.min()), float(best.max())) if len(best) else (0.0, 0.0)
    return low, max(high, low + 1e-6)


def _in_the_running(matching: Matching, number: int) -> Tensor:
    """Returns the indices of an object's best points by the last map."""
    total = list(matching.maps.values())[-1][number]
    allowed = (matching.candidates & total.isfinite()).nonzero().flatten()
    order = total[allowed].argsort(descending=not matching.low_is_good)
    return allowed[order[:IN_THE_RUNNING]]


def _heading(name: str, limits: tuple[float, float]) -> str:
    return f"{name}: off" if limits[1] <= 2e-6 else f"{name}: {limits[0]:.2g} to {limits[1]:.2g}"


def _zone(box: Tensor, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns a square window x1 x2 y1 y2 around an object, inside the image."""
    kind = kind_of(box)
    (x, y), reach = kind.centers(box).tolist(), float(kind.sides(box).max())
    half = min(max(reach, 40.0), min(size) / 2)
    x, y = (min(max(at, half), side - half) for at, side in ((x, size[1]), (y, size[0])))
    return x - half, x + half, y - half, y + half


def _frame(ax: Axes, zone: tuple[float, float, float, float], title: str) -> None:
    ax.set_xlim(zone[:2])
    ax.set_ylim(zone[3], zone[2])
    if title:
        ax.set_title(for_figure(title), fontsize=8)
