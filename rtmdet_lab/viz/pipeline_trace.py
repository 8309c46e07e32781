"""A sample on its way through a pipeline: before and after a step, the whole way as a strip, and what the caches hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.geometry.box_kind import kind_of
from rtmdet_lab.viz.draw import class_color, draw_targets, targets_of, to_rgb_array

THUMB = 96  # pixels of a small picture
IN_CACHE = 12  # pictures of a cache that are shown, the newest
_GAP = 6


def draw_sample(ax: Axes, image: Any, target: Mapping[str, Any], classes: Sequence[str], title: str) -> None:
    """Draws an augmented sample with its boxes, and its polygons or masks where it has them."""
    draw_targets(image, targets_of(dict(target)), classes, title=title, ax=ax)
    for parts, label in zip(target.get("outlines") or (), target["labels"].tolist(), strict=False):
        color = class_color(label)
        for part in parts:
            ax.add_patch(Polygon(part, closed=True, facecolor=(*color, 0.35), edgecolor=color, linewidth=0.8))


def plot_step(steps: Sequence[Any], number: int, classes: Sequence[str]) -> Figure:
    """Returns step ``number``: the sample before and after it, what it drew, the time of every step, the way so far, and
    the cache.

    Args:
        steps: :class:`~rtmdet_lab.analysis.pipeline_trace.Step` in order, the first one loads.
    """
    step = steps[number]
    figure = Figure(figsize=(12, 6.6))
    grid = figure.add_gridspec(
        3,
        3,
        height_ratios=[4.2, 1, 1],
        width_ratios=[1, 1, 0.8],
        left=0.01,
        right=0.985,
        top=0.95,
        bottom=0.01,
        hspace=0.16,
        wspace=0.05,
    )
    before = next((one.sample for one in reversed(steps[:number]) if one.sample is not None), None)
    for column, (word, sample) in enumerate((("before", before if number else None), ("after", step.sample))):
        ax = figure.add_subplot(grid[0, column])
        if sample is None:
            _say(ax, "nothing yet" if column == 0 else "rejected: no object is left;\nanother image is loaded")
            continue
        draw_sample(ax, *sample, classes, f"{word}: {sample[0].shape[-1]} x {sample[0].shape[-2]} px, {_count(sample)}")
        _mark(ax, step.drawn, word)
    side = grid[0, 2].subgridspec(2, 1, height_ratios=[1, 1.15], hspace=0.12)
    _draw_text(figure.add_subplot(side[0]), step, f"step {number} of {len(steps) - 1}")
    _draw_times(figure.add_subplot(side[1]), steps, number)
    _draw_strip(
        figure.add_subplot(grid[1, :]),
        [one.sample for one in steps],
        [one.name.removeprefix("Random") for one in steps],
        "the whole way",
        number,
    )
    kept = step.cache or ()
    title = f"cache of {step.name}: {len(kept)} of {step.capacity} images"
    if len(kept) > IN_CACHE:
        title += f", the newest {IN_CACHE}"
    shown = kept[-IN_CACHE:]
    _draw_strip(
        figure.add_subplot(grid[2, :]),
        list(shown),
        [str(sample[1]["meta"].image_id) for sample in shown],
        title if step.cache is not None else f"{step.name} keeps no images",
    )
    return figure


def plot_steps(steps: Sequence[Any], classes: Sequence[str], title: str = "") -> Figure:
    """Returns a picture per step, with what it drew and its time."""
    columns = min(4, len(steps))
    rows = -(-len(steps) // columns)
    figure = Figure(figsize=(3.1 * columns, 3.55 * rows + 0.3), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for number, (ax, step) in enumerate(zip(axes, steps, strict=False)):
        heading = f"{number}. {step.name}, {step.milliseconds:.1f} ms\n{_drawn(step, 44)}"
        if step.sample is None:
            _say(ax, "rejected: no object is left")
            ax.set_title(for_figure(heading), fontsize=8)
        else:
            draw_sample(ax, *step.sample, classes, heading)
            ax.title.set_fontsize(8)
    for ax in axes[len(steps) :]:
        ax.set_axis_off()
    if title:
        figure.suptitle(for_figure(title), fontsize=11)
    return figure


def _mark(ax: Axes, drawn: Mapping[str, Any], word: str) -> None:
    """Marks where a crop will be cut, and the center of a mosaic."""
    if word == "before" and {"left", "top", "width", "height"} <= set(drawn):
        for width, color in ((3.0, "black"), (1.6, "white")):
            frame = Rectangle((drawn["left"], drawn["top"]), drawn["width"], drawn["height"], fill=False, linewidth=width)
            frame.set_edgecolor(color)
            ax.add_patch(frame)
    if word == "after" and "center" in drawn:
        ax.plot(*drawn["center"], "w+", markersize=16, markeredgewidth=2)


def _drawn(step: Any, limit: int) -> str:
    text = ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in step.drawn.items())
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(one) for one in value) if value else "none"
    return str(value)


def _count(sample: Any) -> str:
    number = len(sample[1]["labels"])
    return f"{number} object" + ("" if number == 1 else "s")


def _draw_text(ax: Axes, step: Any, where: str) -> None:
    ax.set_axis_off()
    lines = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in step.drawn.items()] or ["draws nothing"]
    ax.text(0, 1.0, for_figure(f"{where}: {step.name}"), fontsize=12, weight="bold", va="top", transform=ax.transAxes)
    ax.text(0, 0.84, for_figure("\n".join(lines)), fontsize=10, va="top", linespacing=1.4, transform=ax.transAxes)


def _draw_times(ax: Axes, steps: Sequence[Any], number: int) -> None:
    times = [one.milliseconds for one in steps]
    rows = range(len(steps))
    ax.barh(rows, times, color=["#d9822b" if one == number else "#8fb3d1" for one in rows])
    ax.set_yticks(list(rows), [for_figure(one.name) for one in steps], fontsize=7)
    ax.set_ylim(len(steps) - 0.4, -0.6)
    ax.set_xticks([])
    for row, value in enumerate(times):
        ax.text(value, row, f" {value:.1f}", fontsize=7, va="center")
    ax.set_xlim(0, 1.2 * max([*times, 1e-3]))
    ax.set_title(f"time per step, ms: {sum(times):.1f} in all", fontsize=9)
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    # The names stand left of the bars: room for them inside this part of the figure.
    box = ax.get_position()
    ax.set_position((box.x0 + 0.07, box.y0, box.width - 0.07, box.height))


def _draw_strip(
    ax: Axes, samples: Sequence[Any | None], names: Sequence[str], title: str, marked: int | None = None
) -> None:
    """Draws small pictures beside each other in one image: an axis each would take most of the time."""
    ax.set_axis_off()
    ax.set_title(for_figure(title), fontsize=9, loc="left", pad=2)
    places = max(len(samples), IN_CACHE)
    strip = np.full((THUMB, places * (THUMB + _GAP), 3), 255, np.uint8)
    for number, sample in enumerate(samples):
        small = _thumb(sample)
        strip[: small.shape[0], number * (THUMB + _GAP) :][:, : small.shape[1]] = small
    ax.imshow(strip)
    ax.set_ylim(THUMB + 20, -2)
    ax.set_anchor("W")
    for number, name in enumerate(names):
        left = number * (THUMB + _GAP)
        weight = "bold" if number == marked else "normal"
        ax.text(left, THUMB + 2, for_figure(name), fontsize=7, va="top", weight=weight, clip_on=True)
        if number == marked:
            frame = Rectangle((left - 1, -1), THUMB + 1, THUMB + 1, fill=False, edgecolor="#d9822b", linewidth=2.2)
            ax.add_patch(frame)


def _thumb(sample: Any | None) -> np.ndarray:
    """Returns a picture of at most THUMB x THUMB with the boxes of its objects."""
    if sample is None:
        return np.full((THUMB, THUMB, 3), 200, np.uint8)
    array = to_rgb_array(sample[0])
    scale = THUMB / max(array.shape[:2])
    small = cv2.resize(
        array, (max(int(array.shape[1] * scale), 1), max(int(array.shape[0] * scale), 1)), interpolation=cv2.INTER_AREA
    )
    for corners, label in zip(_corners(targets_of(dict(sample[1]))), sample[1]["labels"].tolist(), strict=True):
        color = tuple(int(255 * one) for one in class_color(label))
        cv2.polylines(small, [np.round(corners * scale).astype(np.int32)], True, color, 1, cv2.LINE_AA)
    return small


def _corners(targets: Targets) -> np.ndarray:
    boxes: Tensor = targets.boxes.float()
    return kind_of(boxes).corners(boxes).reshape(-1, 4, 2).numpy()


def _say(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=10, color="#777", transform=ax.transAxes)
