"""Pictures of one label assignment: what each cost term says about every point, and who wins (paper 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.core.structures import Priors
from rtmdet_lab.viz.draw import add_box, class_color, show_image, to_rgb_array

IN_THE_RUNNING = 20  # cheapest points of an object; 13 at most are chosen
HIDDEN = 0.25  # how much of the image shows through a heat map


def level_maps(values: Tensor, priors: Priors, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns per-level arrays (h, w) of per-point ``values`` (P,) for a canvas of ``size`` (height, width)."""
    maps, start = [], 0
    for stride in torch.unique(priors.strides).tolist():
        height, width = -(-size[0] // int(stride)), -(-size[1] // int(stride))
        maps.append(values[start : start + height * width].reshape(height, width).float().cpu().numpy())
        start += height * width
    return maps


def draw_heat(
    ax: Axes, image: np.ndarray, values: np.ndarray, stride: float, limits: tuple[float, float], cmap: str | Colormap
) -> Any:
    """Draws the image in grey with one level's values on top: cell centers lie on the priors. Returns the heat map."""
    height, width = image.shape[:2]
    show_image(ax, np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8))
    rows, columns = values.shape
    # Offset 0: the prior of a cell is its corner, so the cell is drawn around that point.
    extent = (-stride / 2, (columns - 0.5) * stride, (rows - 0.5) * stride, -stride / 2)
    heat = ax.imshow(
        np.ma.masked_invalid(values),
        extent=extent,
        cmap=cmap,
        vmin=limits[0],
        vmax=limits[1],
        alpha=1 - HIDDEN,
        interpolation="nearest",
    )
    ax.set_xlim(-0.5, width - 0.5)
    ax.set_ylim(height - 0.5, -0.5)
    return heat


def plot_cost_terms(explanation: Any, image: Any, image_number: int, object_number: int, classes: Sequence[str]) -> Figure:
    """Returns a grid: one row per level, one column per cost term, the total, and the chosen points of one object.

    Args:
        explanation: what ``DynamicAssigner.explain`` returned.
        image: (3, H, W) or (H, W, 3) RGB uint8, the network canvas.
        image_number, object_number: which image of the batch, which of its objects.
    """
    array = to_rgb_array(image)
    priors = explanation.inputs.priors
    size = array.shape[:2]
    strides = torch.unique(priors.strides).tolist()
    targets = explanation.inputs.targets
    box, label = targets.boxes[image_number, object_number], int(targets.labels[image_number, object_number])
    candidates = explanation.candidates[image_number]

    def masked(values: Tensor) -> Tensor:
        return torch.where(candidates, values, torch.nan)

    terms = {f"{name} cost": masked(value[image_number, object_number]) for name, value in explanation.terms.items()}
    total = explanation.cost[image_number, object_number]
    terms["total cost"] = masked(torch.where(total.isfinite(), total, torch.nan))
    # Costs grow tenfold per stride: the colours tell the points in the running apart, all others are "far".
    cheapest = total.argsort()[:IN_THE_RUNNING]
    figure, grid = plt.subplots(
        len(strides),
        len(terms) + 1,
        figsize=(2.7 * (len(terms) + 1), 2.75 * len(strides)),
        squeeze=False,
        layout="constrained",
    )
    color = class_color(label)
    for column, (name, values) in enumerate(terms.items()):
        limits = _limits(values[cheapest])
        for row, (stride, level) in enumerate(zip(strides, level_maps(values, priors, size), strict=True)):
            ax = grid[row, column]
            heat = draw_heat(ax, array, level, stride, limits, "viridis_r")
            add_box(ax, box, color)
            ax.set_title(f"{name}, stride {stride:.0f}", fontsize=8)
        figure.colorbar(heat, ax=grid[:, column], location="bottom", shrink=0.8, aspect=18, extend="max").ax.tick_params(
            labelsize=7
        )
    for row, stride in enumerate(strides):
        ax = grid[row, -1]
        show_image(ax, array)
        add_box(ax, box, color)
        _draw_choice(ax, explanation, image_number, object_number, stride)
        ax.set_title(f"chosen, stride {stride:.0f}", fontsize=8)
    k = int(explanation.dynamic_k[image_number, object_number])
    kept = int((explanation.assignment.gt_index[image_number] == object_number).sum())
    text = f"{classes[label]}: k = {k}, {kept} points learn it (light cells are cheap; grey is no candidate)"
    figure.suptitle(for_figure(text), fontsize=10)
    return figure


def _limits(values: Tensor) -> tuple[float, float]:
    """Returns the range of the values that are numbers, never empty."""
    values = values[~values.isnan()]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return low, max(high, low + 1e-3)


def _draw_choice(ax: Axes, explanation: Any, image_number: int, object_number: int, stride: float) -> None:
    priors = explanation.inputs.priors
    on_level = priors.strides == stride
    selected = explanation.selected[image_number, object_number] & on_level
    won = (explanation.assignment.gt_index[image_number] == object_number) & on_level
    for mask, style in (
        (explanation.candidates[image_number] & on_level, {"s": 4, "c": "white", "alpha": 0.5}),
        (selected & ~won, {"s": 42, "c": "none", "edgecolors": "red", "linewidths": 1.4}),
        (won, {"s": 42, "c": "lime", "edgecolors": "black", "linewidths": 0.7}),
    ):
        x, y = priors.points[mask].T.tolist() if bool(mask.any()) else ([], [])
        ax.scatter(x, y, **style)
