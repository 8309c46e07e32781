"""Figures of a detector's errors: what each kind costs, how many there are of each class, what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from rtmdet_lab.core.escaping import for_figure

ERROR_COLORS = {
    "class": "#d1495b",
    "localization": "#e08e0b",
    "class and localization": "#a0522d",
    "duplicate": "#7b52ab",
    "background": "#1f5fa8",
    "missed": "#555555",
}
_MOST_CLASSES = 25


def plot_error_costs(gains: Mapping[str, Mapping[str, float]], title: str = "") -> Figure:
    """Returns a bar per kind of error and group: the AP50, in points, that mending it would gain.

    Args:
        gains: group (such as "all", "small") -> kind -> gain in [0, 1]; NaN draws nothing. One panel per group.
    """
    count = max(len(gains), 1)
    figure, axes = plt.subplots(
        1, count, figsize=(3.6 + 2.2 * (count - 1), 2.9), layout="constrained", squeeze=False, sharey=True, sharex=True
    )
    for ax, (group, by_kind) in zip(axes[0], gains.items(), strict=False):
        names = list(by_kind)
        values = [100 * by_kind[name] for name in names]
        ax.barh(names, np.nan_to_num(values), color=[ERROR_COLORS.get(name, "#555555") for name in names], height=0.7)
        for row, value in enumerate(values):
            if not np.isnan(value):
                ax.annotate(
                    f"{value:.1f}", (max(value, 0), row), (3, 0), textcoords="offset points", va="center", fontsize=8
                )
        ax.set_title(for_figure(group), fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    axes[0, 0].margins(x=0.18)
    axes[0, 0].tick_params(axis="y", labelsize=9)
    figure.supxlabel("points of AP50 gained if this kind alone were mended", fontsize=9)
    if title:
        figure.suptitle(for_figure(title), fontsize=10)
    return figure


def plot_error_counts(counts: Mapping[str, Sequence[int] | np.ndarray], classes: Sequence[str], title: str = "") -> Figure:
    """Returns a stacked bar per class: wrong detections by kind, and objects missed; the classes with most come first.

    Args:
        counts: kind -> number by class (C,); kinds without a color, such as "true positive", are left out.
    """
    kinds = [name for name in ERROR_COLORS if name in counts]
    table = np.array([counts[name] for name in kinds], dtype=float).reshape(len(kinds), len(classes))
    order = np.argsort(-table.sum(0), kind="stable")
    order = order[table.sum(0)[order] > 0][:_MOST_CLASSES]
    figure, ax = plt.subplots(figsize=(6.5, 1.6 + 0.24 * max(len(order), 1)), layout="constrained")
    start = np.zeros(len(order))
    for name, row in zip(kinds, table, strict=True):
        ax.barh(
            [for_figure(classes[one]) for one in order],
            row[order],
            left=start,
            color=ERROR_COLORS[name],
            height=0.72,
            label=name,
        )
        start += row[order]
    ax.invert_yaxis()
    ax.set_xlabel("detections (missed: objects)", fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if len(order):
        ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    else:
        ax.text(0.5, 0.5, "no errors", ha="center", transform=ax.transAxes)
    hidden = int((table.sum(0) > 0).sum()) - len(order)
    note = f"the {len(order)} classes with most errors, {hidden} more have some" if hidden else ""
    ax.set_title(for_figure("\n".join(filter(None, [title, note]))), fontsize=10)
    return figure


def plot_confusion(table: np.ndarray, classes: Sequence[str], title: str = "") -> Figure:
    """Returns what was annotated (rows) against what was detected there (columns), numbers as counts, colors by row.

    Args:
        table: (C + 1, C + 1); the last row is background, the last column objects that were missed. Classes that occur
            in neither are left out, and of many classes those confused most are kept.
    """
    total = len(classes)
    errors = table - np.diag(np.diag(table))
    weight = errors.sum(0)[:total] + errors.sum(1)[:total]
    used = np.flatnonzero(table[:total].sum(1) + table[:, :total].sum(0))
    kept = np.sort(used[np.argsort(-weight[used], kind="stable")][:_MOST_CLASSES])
    index = [*kept.tolist(), total]
    part = table[np.ix_(index, index)]
    shares = part / np.maximum(table[index].sum(1, keepdims=True), 1)
    side = 2.4 + 0.42 * len(index)
    figure, ax = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    shown = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(part):
        if value:
            color = "white" if shares[row, column] > 0.55 else "black"
            ax.text(column, row, f"{value}", ha="center", va="center", fontsize=7, color=color)
    names = [for_figure(classes[one]) for one in kept]
    ax.set_xticks(range(len(index)), [*names, "missed"], rotation=50, ha="right", fontsize=8)
    ax.set_yticks(range(len(index)), [*names, "background"], fontsize=8)
    ax.set_xlabel("detected as")
    ax.set_ylabel("annotated as")
    figure.colorbar(shown, ax=ax, shrink=0.6, label="share of the row")
    if title:
        ax.set_title(for_figure(title), fontsize=10)
    return figure
