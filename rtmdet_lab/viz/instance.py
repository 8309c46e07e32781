"""Pictures of how a mask comes about: prototypes, one point's kernel, and the three layers it runs (paper.md 3.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.layers.dynamic_masks import FEATURE_STRIDE, PROTOTYPES, split_kernels
from rtmdet_lab.viz.draw import show_image, to_rgb_array


def plot_prototypes(image: Any, features: Tensor) -> Figure:
    """Returns the image and its eight prototypes (8, h, w), each on its own grey scale."""
    figure, grid = plt.subplots(2, 5, figsize=(11, 4.7), layout="constrained")
    axes = [grid[0, 0], *grid[0, 1:], *grid[1, 1:]]
    grid[1, 0].set_axis_off()
    show_image(axes[0], to_rgb_array(image), "image")
    for number, ax in enumerate(axes[1:]):
        _show_map(ax, features[number], "gray", f"prototype {number + 1}")
    figure.suptitle(f"Prototypes: {PROTOTYPES} maps at stride {FEATURE_STRIDE}, common to all objects", fontsize=11)
    return figure


def plot_kernel(kernel: Tensor, title: str | None = None) -> Figure:
    """Returns one point's 169 numbers (169,) as the weights and biases of its three convolutions."""
    weights, biases = split_kernels(kernel[None].float().cpu())
    limit = float(kernel.abs().max()) or 1.0
    names = ["dx", "dy", *(f"p{number + 1}" for number in range(PROTOTYPES))]
    figure, axes = plt.subplots(
        1, 3, figsize=(11, 3.4), layout="constrained", gridspec_kw={"width_ratios": [11, 9, 9], "wspace": 0.05}
    )
    for number, (ax, weight, bias) in enumerate(zip(axes, weights, biases, strict=True)):
        table = np.concatenate([weight[0].numpy(), bias[0].numpy()[:, None]], axis=1)
        drawn = ax.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit)
        inputs = names if number == 0 else [f"u{unit + 1}" for unit in range(weight.shape[2])]
        ax.set_xticks(range(table.shape[1]), [*inputs, "bias"], fontsize=7, rotation=90)
        ax.set_yticks(range(table.shape[0]), [f"u{unit + 1}" for unit in range(table.shape[0])], fontsize=7)
        ax.set_title(f"layer {number + 1}: {weight.shape[2]} to {weight.shape[1]}", fontsize=9)
    figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=18, label="weight")
    if title:
        figure.suptitle(for_figure(title), fontsize=11)
    return figure


def plot_mask_layers(
    image: Any, layers: Sequence[Tensor], point: Tensor, mask: Tensor | None = None, title: str | None = None
) -> Figure:
    """Returns one point's way to its mask: the hidden maps of both layers, the logits, and the mask on the image.

    Args:
        layers: what ``mask_layers`` returned for this point alone.
        point: (2,) x, y in pixels of the image.
        mask: (H, W) bool of the image; None draws the logits above zero.
    """
    array = to_rgb_array(image)
    figure = plt.figure(figsize=(12, 7), layout="constrained")
    hidden, result = figure.subfigures(2, 1, height_ratios=[3, 4])
    for number, ax in enumerate(hidden.subplots(2, layers[0].shape[1]).flat):
        layer, unit = divmod(number, layers[0].shape[1])
        _show_map(ax, layers[layer][0, unit], "magma", f"layer {layer + 1}, u{unit + 1}")
    left, right = result.subplots(1, 2)
    logits = layers[2][0, 0]
    limit = float(logits.abs().max()) or 1.0
    drawn = left.imshow(logits.cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
    left.plot(*(point / FEATURE_STRIDE).tolist(), "k+", markersize=9)
    left.set_axis_off()
    left.set_title("layer 3: logits, + the point", fontsize=9)
    result.colorbar(drawn, ax=left, shrink=0.9)
    if mask is None:
        mask = logits.repeat_interleave(FEATURE_STRIDE, 0).repeat_interleave(FEATURE_STRIDE, 1) > 0
    shaded = array.astype(np.float32)
    shaded[~mask.cpu().numpy()[: array.shape[0], : array.shape[1]]] *= 0.3
    show_image(right, shaded.astype(np.uint8))
    right.plot(*point.tolist(), "w+", markersize=9)
    right.set_title("mask", fontsize=9)
    if title:
        figure.suptitle(for_figure(title), fontsize=11)
    return figure


def _show_map(ax: plt.Axes, values: Tensor, cmap: str, title: str) -> None:
    ax.imshow(values.float().cpu().numpy(), cmap=cmap)
    ax.set_axis_off()
    ax.set_title(for_figure(title), fontsize=8)
