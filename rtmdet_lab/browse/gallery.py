"""The first images of a view as a figure: what a notebook shows where nobody can click."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtmdet_lab.browse.labels import list_name
from rtmdet_lab.browse.match_results import KIND
from rtmdet_lab.data.images import read_image
from rtmdet_lab.geometry.box_kind import kind_of
from rtmdet_lab.geometry.rotated import quads_to_rboxes
from rtmdet_lab.viz.draw import add_box, class_color, gallery, show_image, tint, to_rgb_array

TRUTH = "ground_truth"
_TRUTH_COLOR = (1.0, 1.0, 1.0)
_ZOOM = 5  # a small label is shown with this many times its own side around it


def view_gallery(view: Any, field: str, title: str | None = None, most: int = 6, columns: int = 3) -> Figure:
    """Returns a figure of the first images of a view: the labels of ``field`` in colour, what was annotated in dashes.

    Images whose labels are small are shown around the first of them.

    Args:
        view: a FiftyOne view or data set with images put there by :func:`~rtmdet_lab.browse.dataset.put`.
        field: a run's, or "ground_truth".
        most: images shown at most.
    """
    samples = list(view.limit(most))
    images = [to_rgb_array(read_image(Path(sample.filepath))) for sample in samples]
    count = len(view)
    shown = f"{title}: {len(samples)} of {count} images" if title else None
    figure, axes = gallery(len(samples), columns, title=shown, sizes=[image.shape[:2] for image in images])
    for ax, sample, image in zip(axes, samples, images, strict=True):
        _draw(ax, sample, image, field, view._dataset.default_classes)
    if not samples:
        figure.text(0.5, 0.4, "no image", ha="center", fontsize=11)
    return figure


def view_field(dataset: Any, view: str) -> str:
    """Returns the field whose labels a saved view is about: that of a run, or the ground truth."""
    run = view.partition(":")[0]
    return run if dataset.has_field(run) and "missed" not in view else TRUTH


def _draw(ax: Axes, sample: Any, image: np.ndarray, field: str, classes: Sequence[str]) -> None:
    size = image.shape[:2]
    labels = labels_of(sample, field)
    show_image(ax, _tinted(image, labels, classes), f"image {sample.image_id}")
    if field != TRUTH:
        for label in labels_of(sample, TRUTH):
            add_box(ax, box_of(label, size), _TRUTH_COLOR, style=":")
    boxes = [box_of(label, size) for label in labels]
    if boxes:
        _zoom(ax, boxes, size)
    for label, box in zip(labels, boxes, strict=True):
        text = label.label
        if field != TRUTH:
            text += f" {label.confidence:.2f}" + (f", {label[KIND]}" if label.has_field(KIND) else "")
        add_box(ax, box, class_color(_number(label.label, classes)), text if _inside(ax, box) else "")


def labels_of(sample: Any, field: str) -> list[Any]:
    """Returns the labels of a sample's field, of whichever kind."""
    value = sample[field]
    return [] if value is None else value[list_name("polylines" in value._fields)]


def box_of(label: Any, size: tuple[int, int]) -> torch.Tensor:
    """Returns the box (4,) x1 y1 x2 y2 or (5,) cx cy w h angle of a FiftyOne label, in pixels."""
    height, width = size
    if "points" in label._fields:
        points = torch.tensor(label.points[0], dtype=torch.float64) * torch.tensor([width, height])
        return quads_to_rboxes(points.reshape(1, 8))[0].float()
    x, y, w, h = label.bounding_box
    return torch.tensor([x * width, y * height, (x + w) * width, (y + h) * height])


def _tinted(image: np.ndarray, labels: Sequence[Any], classes: Sequence[str]) -> np.ndarray:
    tinted = image.astype(np.float32)
    for label in labels:
        mask = label["mask"] if "mask" in label._fields else None
        if mask is None:
            continue
        x, y = (round(label.bounding_box[axis] * image.shape[1 - axis]) for axis in (0, 1))
        part = tinted[y : y + mask.shape[0], x : x + mask.shape[1]]
        tint(part, mask[: part.shape[0], : part.shape[1]], _number(label.label, classes))
    return tinted.astype(np.uint8)


def _number(name: str, classes: Sequence[str]) -> int:
    return classes.index(name) if name in classes else len(classes)


def _zoom(ax: Axes, boxes: Sequence[torch.Tensor], size: tuple[int, int]) -> None:
    """Limits the axes to the surroundings of the first box, where that is small in its image."""
    box = boxes[0]
    kind = kind_of(box)
    center, side = kind.centers(box), float(kind.sides(box).max())
    height, width = size
    shown = max(2 * _ZOOM * side, 120.0)
    if shown >= min(height, width):
        return
    left = min(max(float(center[0]) - shown / 2, 0), width - shown)
    top = min(max(float(center[1]) - shown / 2, 0), height - shown)
    ax.set_xlim(left, left + shown)
    ax.set_ylim(top + shown, top)


def _inside(ax: Axes, box: torch.Tensor) -> bool:
    """Whether a box's middle is in what the axes show; the text of others would hang outside of the picture."""
    x, y = kind_of(box).centers(box).tolist()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return left <= x <= right and min(top, bottom) <= y <= max(top, bottom)
