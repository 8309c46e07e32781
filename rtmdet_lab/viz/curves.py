"""Plots of numbers: learning curves and precision-recall."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.viz.draw import class_color


def plot_history(history: Sequence[dict[str, Any]], epochs: int | None = None, title: str | None = None) -> Figure:
    """Returns losses, metrics and learning rate over the epochs of a run (the records ``fit`` returns)."""
    figure, (loss_ax, metric_ax, lr_ax) = plt.subplots(1, 3, figsize=(11, 2.9), layout="constrained")
    number = [record["epoch"] + 1 for record in history]
    for name in history[0]["losses"] if history else []:
        loss_ax.plot(number, [record["losses"][name] for record in history], marker=".", label=for_figure(name))
    loss_ax.set_title("training loss", fontsize=10)
    validated = [record for record in history if record.get("metrics")]
    for name in ("AP", "AP50", "AP75"):
        values = [record["metrics"].get(name) for record in validated]
        if validated and all(value is not None for value in values):
            metric_ax.plot(
                [record["epoch"] + 1 for record in validated], values, marker="o", markersize=3, label=for_figure(name)
            )
    metric_ax.set_title("validation", fontsize=10)
    metric_ax.set_ylim(bottom=0)
    if not validated:
        metric_ax.text(0.5, 0.5, "none so far", transform=metric_ax.transAxes, ha="center", fontsize=9, color="0.4")
    rates = [record["lr"] for record in history]
    lr_ax.plot(number, rates, color="0.35", marker=".")
    lr_ax.set_title("learning rate", fontsize=10)
    lr_ax.set_ylim(0, 1.08 * max(rates, default=0) or 1)
    lr_ax.yaxis.set_major_formatter("{x:.2g}")
    weak = [record["epoch"] + 1 for record in history if record["stage"] == "weak"]
    for ax in (loss_ax, metric_ax, lr_ax):
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlim(0.5, (epochs or max(number, default=1)) + 0.5)
        ax.grid(alpha=0.3)
        if weak and weak[0] > 1:
            ax.axvline(weak[0] - 0.5, color="0.6", linestyle=":", linewidth=1)
            ax.annotate(
                "weak stage", (weak[0] - 0.4, 0.98), xycoords=("data", "axes fraction"), fontsize=7, color="0.4", va="top"
            )
        if ax.get_legend_handles_labels()[0]:
            ax.legend(fontsize=8)
    if title:
        figure.suptitle(for_figure(title), fontsize=11)
    return figure


def plot_precision_recall(
    recall: np.ndarray, precision: np.ndarray, classes: Sequence[str], iou: float = 0.5, title: str | None = None
) -> Figure:
    """Returns one precision-recall curve per class, best area first in the legend.

    Args:
        recall: (101,). precision: (101, K), NaN for classes without objects.
    """
    areas = np.nan_to_num(precision.mean(axis=0), nan=-1)
    columns = max(math.ceil((areas >= 0).sum() / 20), 1)  # of the legend, which stands beside the curves
    figure, ax = plt.subplots(figsize=(4.8 + 1.6 * columns, 3.9), layout="constrained")
    for label in np.argsort(-areas):
        if areas[label] >= 0:
            name = for_figure(f"{classes[label]} {areas[label]:.2f}")
            ax.plot(recall, precision[:, label], color=class_color(int(label)), linewidth=1.4, label=name)
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    ax.set_title(for_figure(title) if title else f"precision and recall at IoU {iou:g}", fontsize=10)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.grid(alpha=0.3)
    if ax.get_lines():
        ax.legend(
            fontsize=7,
            ncols=columns,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            title="area under the curve",
            title_fontsize=7,
        )
    return figure
