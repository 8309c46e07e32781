"""Draws images with what lies on them or was found on them, readable at notebook size. Returns matplotlib figures."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from torch import Tensor

from rtmdet_lab.core.escaping import for_figure
from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.geometry.box_kind import ROTATED, kind_of
from rtmdet_lab.geometry.rotated import rboxes_to_quads
from rtmdet_lab.viz.labels import add_label, legible

CELL_INCHES = 3.2  # side of one picture in a gallery
MASK_OPACITY = 0.45
LARGEST_SHOWN = 3000  # pixels on a side; no figure here has more


def class_color(label: int) -> tuple[float, float, float]:
    """Returns a colour (r, g, b in [0, 1]) for a class; neighbouring labels differ clearly in hue."""
    hue = (0.58 + label * 0.61803398875) % 1.0  # golden-ratio steps spread any number of classes
    lightness = (0.48, 0.62)[(label // 7) % 2]
    return colorsys.hls_to_rgb(hue, lightness, 0.9)


def to_rgb_array(image: Any) -> np.ndarray:
    """Returns (H, W, 3) uint8 from a (3, H, W) tensor or an (H, W, 3) array, both RGB uint8."""
    if isinstance(image, Tensor):
        image = image.as_subclass(Tensor).detach().cpu().permute(1, 2, 0).numpy()
    array = np.asarray(image)
    if array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"an RGB image is (H, W, 3) or (3, H, W), got {array.shape}")
    return np.ascontiguousarray(array)


def draw_detections(
    image: Any,
    detections: Detections,
    classes: Sequence[str],
    *,
    score_threshold: float = 0.3,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Returns a figure of the image with its detections: boxes in class colours, name and score where there is room.

    Args:
        image: (3, H, W) tensor or (H, W, 3) array, RGB uint8.
        classes: names in label order.
        score_threshold: detections below it are not drawn.
        ax: draw into these axes instead of a new figure.
    """
    shown = detections[detections.scores >= score_threshold]
    texts = [
        f"{classes[label]} {score:.2f}" for label, score in zip(shown.labels.tolist(), shown.scores.tolist(), strict=True)
    ]
    return _draw(image, shown, texts, title, ax)


def draw_targets(
    image: Any, targets: Targets, classes: Sequence[str], *, title: str | None = None, ax: Axes | None = None
) -> Figure:
    """Returns a figure of the image with its ground truth; ignored objects are dashed."""
    texts = [classes[label] for label in targets.labels.tolist()]
    return _draw(image, targets, texts, title, ax, targets.ignore)


def _draw(
    image: Any,
    objects: Detections | Targets,
    texts: Sequence[str],
    title: str | None,
    ax: Axes | None,
    dashed: Tensor | None = None,
) -> Figure:
    array = tint_masks(to_rgb_array(image), objects)
    if ax is None:
        height, width = array.shape[:2]
        scale = 7 / max(height, width)
        _, ax = plt.subplots(figsize=(max(width * scale, 2.5), max(height * scale, 2.0)), layout="constrained")
    show_image(ax, array, title)
    texts = legible(ax, objects.boxes, objects.labels.tolist(), texts)
    # The best-scored box last, so that it lies on top; large boxes are not filled, so small ones stay visible.
    for number in reversed(range(len(texts))):
        style = "--" if dashed is not None and bool(dashed[number]) else "-"
        add_box(ax, objects.boxes[number], class_color(int(objects.labels[number])), texts[number], style)
    return ax.figure


def tint_masks(array: np.ndarray, objects: Detections | Targets) -> np.ndarray:
    """Returns the image with each object's mask in its class colour, the best-scored on top; masks of another size than the
    image (those of training samples) are spread over it."""
    if objects.masks is None or not len(objects):
        return array
    tinted = array.astype(np.float32)
    for number in reversed(range(len(objects))):
        mask = objects.masks[number].cpu().numpy()
        if mask.shape != array.shape[:2]:
            mask = cv2.resize(mask.astype(np.uint8), array.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        tint(tinted, mask, int(objects.labels[number]))
    return tinted.astype(np.uint8)


def tint(pixels: np.ndarray, mask: np.ndarray, label: int) -> None:
    """Colours what a mask (H, W) bool covers of ``pixels`` (H, W, 3) float32, in place, as class ``label``."""
    color = 255 * np.array(class_color(label), np.float32)
    pixels[mask] += MASK_OPACITY * (color - pixels[mask])


def show_image(ax: Axes, array: np.ndarray, title: str | None = None) -> None:
    """Fills axes with an image, without ticks; the title is cut to the picture's width."""
    height, width = array.shape[:2]
    if max(height, width) > LARGEST_SHOWN:  # matplotlib takes 50 bytes per pixel
        size = tuple(max(side * LARGEST_SHOWN // max(height, width), 1) for side in (width, height))
        array = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    # The extent keeps coordinates those of the whole image.
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    ax.imshow(array, interpolation="nearest" if max(height, width) < 64 else "antialiased", extent=extent)
    ax.set_axis_off()
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])
    if title:
        ax.set_title(for_figure(title), fontsize=9)


def add_box(ax: Axes, box: Tensor, color: tuple[float, float, float], text: str = "", style: str = "-") -> None:
    """Adds one box, upright (4,) or rotated (5,), with its label; the label stays inside the picture."""
    # A thin dark line under the coloured one keeps the box visible on any background.
    for width, shade in ((2.6, (0, 0, 0, 0.45)), (1.4, color)):
        line = {"fill": False, "edgecolor": shade, "linewidth": width, "linestyle": style}
        if kind_of(box) is ROTATED:
            ax.add_patch(Polygon(rboxes_to_quads(box).reshape(4, 2).tolist(), closed=True, **line))
        else:
            x1, y1, x2, y2 = box.tolist()
            ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **line))
    if text:
        add_label(ax, box, text, color)


def gallery(
    count: int,
    columns: int = 4,
    cell: float = CELL_INCHES,
    title: str | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Returns a figure with ``count`` axes in rows of ``columns``; what is left over is blank.

    Args:
        cell: inches of a column.
        sizes: (height, width) of each picture, so that rows are no higher than their pictures; None: square ones.
    """
    columns = min(columns, max(count, 1))
    rows = max(math.ceil(count / columns), 1)
    heights = [1.0] * rows
    if sizes:
        aspects = [min(max(height / width, 0.3), 1.5) for height, width in sizes]
        heights = [max(aspects[row * columns : (row + 1) * columns]) for row in range(rows)]
    height = cell * sum(heights) + (0.35 if title else 0) + 0.2 * rows  # a line for titles of the pictures
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(cell * columns, height),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    axes = list(grid.flat)
    for ax in axes:
        ax.set_axis_off()
    if title:
        figure.suptitle(for_figure(title), fontsize=11)
    return figure, axes[:count]


def draw_positive_points(
    image: Any,
    points: Tensor,
    strides: Tensor,
    gt_index: Tensor,
    targets: Targets,
    classes: Sequence[str],
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Returns the image with its objects and the points that learn them: the dot's size tells the stride.

    Args:
        points, strides: (P, 2), (P,) of the priors.
        gt_index: (P,) assigned object, -1 for background.
    """
    figure = draw_targets(image, targets, classes, title=title, ax=ax)
    ax = ax or figure.axes[0]
    for level, stride in enumerate(torch.unique(strides).tolist()):
        chosen = (gt_index >= 0) & (strides == stride)
        colors = [class_color(int(targets.labels[one])) for one in gt_index[chosen].tolist()]
        x, y = points[chosen].T.tolist() if bool(chosen.any()) else ([], [])
        ax.scatter(
            x, y, s=14 * (level + 1), c=colors, edgecolors="white", linewidths=0.6, label=f"stride {stride:.0f}", zorder=3
        )
    return figure


def sample_gallery(
    samples: Sequence[tuple[Any, dict[str, Any]]], classes: Sequence[str], *, columns: int = 4, title: str | None = None
) -> Figure:
    """Returns a grid of samples (image, target) with their objects; works on data sets' and on augmented samples."""
    figure, axes = gallery(len(samples), columns, title=title, sizes=_sizes(samples))
    for ax, (image, target) in zip(axes, samples, strict=True):
        draw_targets(image, targets_of(target), classes, ax=ax)
    return figure


def comparison_gallery(
    samples: Sequence[tuple[Any, dict[str, Any]]],
    detections: Sequence[Detections],
    classes: Sequence[str],
    *,
    score_threshold: float = 0.3,
    title: str | None = None,
) -> Figure:
    """Returns one column per sample: the ground truth above, the detections below."""
    count = len(samples)
    figure, axes = gallery(2 * count, columns=max(count, 1), title=title, sizes=_sizes(samples) * 2)
    for number, ((image, target), found) in enumerate(zip(samples, detections, strict=True)):
        draw_targets(image, targets_of(target), classes, title="truth", ax=axes[number])
        heading = f"detections, score {score_threshold:g} and up"
        draw_detections(image, found, classes, score_threshold=score_threshold, title=heading, ax=axes[count + number])
    return figure


def _sizes(samples: Sequence[tuple[Any, dict[str, Any]]]) -> list[tuple[int, int]]:
    return [to_rgb_array(image).shape[:2] for image, _ in samples]


def targets_of(target: dict[str, Any]) -> Targets:
    """Returns the objects of a data set's or an augmented sample's target."""
    boxes = target["boxes"].as_subclass(Tensor)
    others = {name: target.get(name) for name in ("masks", "ignore", "meta")}
    return Targets(boxes, target["labels"], **others)
