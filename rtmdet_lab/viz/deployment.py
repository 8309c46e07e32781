"""Accuracy against latency of one model in several runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from rtmdet_lab.core.escaping import for_figure


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
