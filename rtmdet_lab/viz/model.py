"""Two networks side by side: cost by part, and what one of their outputs looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from rtmdet_lab.core.escaping import for_figure

COLORS = ("#1f6fb4", "#d9822b")  # of the first and the second network
SHARES = (0.5, 0.9)  # of the gradient, whose squares are drawn


def plot_parts(axes: Axes, parts: Sequence[Mapping[str, float] | None], title: str, names: Sequence[str]) -> None:
    """Draws one bar per part and network, and the totals in the legend; None is a network that was not measured."""
    given = [(number, one) for number, one in enumerate(parts) if one is not None]
    if not given:
        _say(axes, "not measured", title)
        return
    labels = list(given[0][1])
    height = 0.8 / len(parts)
    rows = np.arange(len(labels))
    for number, one in given:
        at = rows + (number - (len(parts) - 1) / 2) * height
        axes.barh(
            at,
            list(one.values()),
            height,
            color=COLORS[number],
            label=f"{for_figure(names[number])}: {_short(sum(one.values()))}",
        )
    axes.set_yticks(rows, list(map(for_figure, labels)), fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_title(for_figure(title), fontsize=9)
    axes.legend(fontsize=8, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)


def plot_field(axes: Axes, field: Any | None, title: str, color: str) -> None:
    """Draws a :class:`~rtmdet_lab.analysis.receptive_field.ReceptiveField`, its squares of 50 and 90 %."""
    if field is None:
        _say(axes, "not measured yet", title)
        return
    values = field.map.numpy()
    # The fourth root shows the tails, which are thousands of times fainter than the middle.
    axes.imshow((values / max(values.max(), 1e-300)) ** 0.25, cmap="magma", vmin=0, vmax=1)
    y, x = field.center
    for share, style in zip(SHARES, ("-", "--"), strict=True):
        side = field.side(share)
        frame = Rectangle((x - side / 2, y - side / 2), side, side, fill=False, edgecolor="white", linestyle=style)
        axes.add_patch(frame)
    sides = ", ".join(f"{share:.0%} in {field.side(share)} px" for share in SHARES)
    axes.set_title(f"{for_figure(title)}: {sides}", fontsize=9, color=color)
    axes.set(xlim=(-0.5, values.shape[1] - 0.5), ylim=(values.shape[0] - 0.5, -0.5))
    axes.set_xticks([])
    axes.set_yticks([])


def plot_shares(axes: Axes, fields: Sequence[Any | None], names: Sequence[str]) -> None:
    """Draws how much of the gradient lies inside a square around the center, against its side."""
    given = [(number, field) for number, field in enumerate(fields) if field is not None]
    if not given:
        _say(axes, "not measured", "gradient inside a square")
        return
    for number, field in given:
        inside = field.inside()
        axes.plot(
            np.arange(len(inside)) * 2 + 1, inside, color=COLORS[number], label=for_figure(names[number]), linewidth=1.8
        )
    for share, style in zip(SHARES, ("-", "--"), strict=True):
        axes.axhline(share, color="0.7", linestyle=style, linewidth=0.8, zorder=0)
    axes.set_title("gradient inside a square, by its side (px)", fontsize=9)
    axes.set(xlim=(0, None), ylim=(0, 1.02), yticks=[0, *SHARES, 1])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)


def compare_models(
    params: Sequence[Mapping[str, float]],
    macs: Sequence[Mapping[str, float]],
    latencies: Sequence[Any | None],
    fields: Sequence[Any | None],
    names: Sequence[str],
    captions: tuple[str, str, str],
) -> Figure:
    """Returns bars of parameters, multiply-adds and latency by part, and both receptive fields below them.

    Args:
        params, macs: millions and billions by part, of each network.
        latencies, fields: what was measured, or None.
        captions: of multiply-adds, latency and receptive field: at which sizes and places.
    """
    figure = Figure(figsize=(12, 7.4))
    grid = figure.add_gridspec(
        2, 3, height_ratios=[1, 1.35], left=0.055, right=0.985, top=0.96, bottom=0.075, wspace=0.16, hspace=0.22
    )
    bars = [figure.add_subplot(grid[0, column]) for column in range(3)]
    plot_parts(bars[0], params, "parameters, M", names)
    plot_parts(bars[1], macs, captions[0], names)
    plot_parts(bars[2], [one and one.parts_ms for one in latencies], captions[1], names)
    for number, field in enumerate(fields):
        plot_field(figure.add_subplot(grid[1, number]), field, names[number], COLORS[number])
    plot_shares(figure.add_subplot(grid[1, 2]), fields, names)
    figure.text(0.06, 0.015, captions[2], fontsize=8.5)
    return figure


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def _say(axes: Axes, text: str, title: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, color="#777", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(for_figure(title), fontsize=9)
