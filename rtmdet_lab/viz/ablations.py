"""Figures of a table's runs: score against cost or latency, learning curves, and how fast the images came."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from rtmdet_lab.core.escaping import for_figure

HALO = [withStroke(linewidth=2.5, foreground="white")]  # names stay readable on lines
COLORS = ("#1f5fa8", "#d1495b", "#2e8b57", "#e08e0b", "#7b52ab", "#0f8b8d", "#8c564b", "#555555")


@dataclass(frozen=True)
class Point:
    """A row in a figure of score against cost."""

    name: str
    cost: float
    ap: float  # points
    low: float = math.nan
    high: float = math.nan


def color_of(number: int) -> str:
    """Returns the color of row ``number``, the same in every figure of a table."""
    return COLORS[number % len(COLORS)]


def plot_scores(points: Sequence[Point], published: Sequence[Point], cost: str, title: str) -> Figure:
    """Returns measured AP (left) and published AP (right) against a cost, on axes of their own: they do not compare."""
    panels = [("measured", points), ("published", published)]
    panels = [(name, rows) for name, rows in panels if rows]
    width = 1.2 + 4.2 * max(len(panels), 1)
    figure, axes = plt.subplots(1, max(len(panels), 1), figsize=(width, 3.6), layout="constrained", squeeze=False)
    order = {point.name: number for number, point in enumerate(points or published)}
    for ax, (name, rows) in zip(axes[0], panels, strict=False):
        for point in rows:
            color = color_of(order.get(point.name, len(order)))
            if not math.isnan(point.low):
                ax.errorbar(
                    point.cost,
                    point.ap,
                    [[point.ap - point.low], [point.high - point.ap]],
                    color=color,
                    capsize=3,
                    linewidth=1,
                )
            ax.plot(point.cost, point.ap, "o", color=color, markersize=6)
        ax.set_xlabel(cost)
        ax.set_ylabel(f"{name} AP")
        ax.grid(alpha=0.3)
        ax.margins(x=0.22, y=0.16)
        label_points(ax, [(point.cost, point.ap, point.name) for point in rows])
    figure.suptitle(for_figure(title), fontsize=10)
    return figure


def label_points(ax: Axes, points: Sequence[tuple[float, float, str]], fontsize: float = 8) -> None:
    """Writes a name beside each point, right or left, above or below: where it covers no point and no other name."""
    figure = ax.figure
    figure.canvas.draw()  # the layout decides where the points lie
    renderer = figure.canvas.get_renderer()
    spots = ax.transData.transform([(x, y) for x, y, _ in points]) if points else []
    taken: list[Any] = []
    shifts = [(7, 3, "left"), (-7, 3, "right"), (7, -10, "left"), (-7, -10, "right"), (0, 9, "center"), (0, -16, "center")]
    shifts += [(7, 15, "left"), (-7, 15, "right"), (7, -22, "left"), (-7, -22, "right")]
    for x, y, name in points:
        best = None
        for dx, dy, align in shifts:
            text = ax.annotate(
                for_figure(name),
                (x, y),
                (dx, dy),
                textcoords="offset points",
                ha=align,
                fontsize=fontsize,
                path_effects=HALO,
            )
            box = text.get_window_extent(renderer).expanded(1.02, 1.05)
            covered = sum(box.contains(*spot) for spot in spots) + 2 * sum(box.overlaps(other) for other in taken)
            inside = ax.get_window_extent(renderer)
            outside = not (inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1)
            penalty = covered + 3 * outside
            if best is None or penalty < best[0]:
                if best is not None:
                    best[1].remove()
                best = (penalty, text, box)
            else:
                text.remove()
            if penalty == 0:
                break
        taken.append(best[2])


def plot_learning(histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], title: str) -> Figure:
    """Returns training loss and validation AP over the epochs, a line per run, a color per row."""
    figure, (loss_ax, ap_ax) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
    for number, (row, runs) in enumerate(histories.items()):
        for index, history in enumerate(runs):
            epochs = [one["epoch"] + 1 for one in history]
            label = for_figure(row) if index == 0 else None
            loss_ax.plot(
                epochs, [sum(one["losses"].values()) for one in history], color=color_of(number), label=label, alpha=0.8
            )
            scored = [(one["epoch"] + 1, 100 * one["metrics"]["AP"]) for one in history if one.get("metrics")]
            if scored:
                ap_ax.plot(*zip(*scored, strict=True), color=color_of(number), marker="o", markersize=3, alpha=0.8)
    loss_ax.set_ylabel("training loss, all terms")
    ap_ax.set_ylabel("validation AP")
    for ax in (loss_ax, ap_ax):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.grid(alpha=0.3)
    ap_ax.set_ylim(bottom=0)
    if histories:
        loss_ax.legend(fontsize=8)
    figure.suptitle(for_figure(title), fontsize=10)
    return figure


def plot_rows(names: Sequence[str], points: Sequence[Point], published: Sequence[Point], title: str) -> Figure:
    """Returns measured AP (left) and published AP (right), a line per name, for rows that cost the same."""
    panels = [(name, rows) for name, rows in (("measured", points), ("published", published)) if rows]
    size = (2.2 + 3.6 * max(len(panels), 1), 1.1 + 0.42 * max(len(names), 1))
    figure, axes = plt.subplots(1, max(len(panels), 1), figsize=size, layout="constrained", squeeze=False, sharey=True)
    for ax, (kind, rows) in zip(axes[0], panels, strict=False):
        for point in rows:
            number = list(names).index(point.name)
            if not math.isnan(point.low):
                ax.plot([point.low, point.high], [number, number], color=color_of(number), linewidth=1.4)
            ax.plot(point.ap, number, "o", color=color_of(number), markersize=6)
            shift = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
            ax.annotate(f"{point.ap:.1f}", (point.ap, number), **shift)
        ax.set_xlabel(f"{kind} AP")
        ax.grid(alpha=0.3)
        ax.margins(x=0.12)
    axes[0, 0].set_yticks(range(len(names)), list(map(for_figure, names)), fontsize=8)
    axes[0, 0].set_ylim(len(names) - 0.5, -0.7)
    figure.suptitle(for_figure(title), fontsize=9)
    return figure


def plot_speed(values: Mapping[str, Sequence[float]], label: str, title: str) -> Figure:
    """Returns a bar per row: the median over epochs and seeds, and the range. ``label``: of what, in which unit."""
    figure, ax = plt.subplots(figsize=(7.6, 1.0 + 0.42 * max(len(values), 1)), layout="constrained")
    for number, one in enumerate(values.values()):
        if len(one):
            low, middle, high = np.quantile(one, [0.0, 0.5, 1.0])
            ax.barh(number, middle, color=color_of(number), height=0.6)
            ax.plot([low, high], [number, number], color="0.2", linewidth=1.2)
            ax.annotate(f"{middle:.1f}", (high, number), (4, 0), textcoords="offset points", va="center", fontsize=8)
    ax.set_yticks(range(len(values)), list(map(for_figure, values)), fontsize=8)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlabel(f"{for_figure(label)} (bar: median, line: range)")
    ax.set_title(for_figure(title), fontsize=9)
    return figure


def plot_tradeoff(series: Mapping[str, Sequence[Point]], own: Sequence[Point], cost: str, title: str) -> Figure:
    """Returns AP against a cost for several detectors: one line each over the sizes it comes in, RTMDet's on top.

    Args:
        series: peers, points in the order of their size. own: RTMDet's, named beside their points.
        cost: what the horizontal axis is, with its unit; drawn on a logarithmic scale.
    """
    figure, ax = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    for number, (peer, points) in enumerate(series.items(), start=1):
        line = [[point.cost for point in points], [point.ap for point in points]]
        ax.plot(*line, "o-", color=color_of(number), markersize=4, linewidth=1.2, label=for_figure(peer))
    line = [[point.cost for point in own], [point.ap for point in own]]
    ax.plot(*line, "o-", color=color_of(0), markersize=6, linewidth=2.4, label="RTMDet")
    ax.set_xscale("log")
    ax.set_xlabel(cost)
    ax.set_ylabel("AP, COCO val2017")
    ax.grid(alpha=0.3, which="both")
    ax.margins(x=0.1, y=0.1)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(fontsize=8, loc="lower right")
    label_points(ax, [(point.cost, point.ap, point.name) for point in own])
    ax.set_title(for_figure(title), fontsize=10)
    return figure


def plot_runtimes(rows: Sequence[Mapping[str, Any]], title: str | None = None) -> Figure:
    """Returns AP against the milliseconds of an image: medians as points, from the 10th to the 90th percentile as lines.

    Args:
        rows: as :func:`rtmdet_lab.export.runtime_benchmark.hold_contest` returns them.
    """
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    for number, row in enumerate(rows):
        color = f"C{number % 10}"
        axes.plot([row["p10_ms"], row["p90_ms"]], [row["AP"]] * 2, color=color, linewidth=2, alpha=0.5)
        label = f"{row['runtime']}: {row['p50_ms']:.1f} ms, AP {row['AP']:.3f}"
        axes.plot(row["p50_ms"], row["AP"], "o", color=color, label=for_figure(label))
    values = [row["AP"] for row in rows]
    margin = max(0.2 * (max(values) - min(values)), 0.01)
    axes.set_ylim(max(min(values) - margin, 0), max(values) + margin)
    axes.set_xlim(0, 1.08 * max(row["p90_ms"] for row in rows))
    axes.set_xlabel("milliseconds per image, input to detections\n(point: median, line: 10 to 90 %)")
    axes.set_ylabel("AP")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    if title:
        axes.set_title(for_figure(title), fontsize=10)
    return figure
