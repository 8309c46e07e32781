"""What differs between upright and rotated boxes, in one object each: code that takes both asks it and tests no shapes.

An upright box is x1 y1 x2 y2, a rotated one cx cy w h angle (:mod:`rtmdet_lab.geometry.rotated`); the number of columns
tells them apart, and :func:`kind_of` is the one place that counts them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.geometry.boxes import box_centers, flip_boxes, pairwise_iou
from rtmdet_lab.geometry.nms import class_nms
from rtmdet_lab.geometry.priors import points_inside
from rtmdet_lab.geometry.rotated import (
    flip_rboxes,
    points_in_rboxes,
    rboxes_to_quads,
    resize_rboxes,
    rotated_iou,
    rotated_nms,
)


@dataclass(frozen=True)
class BoxKind:
    """The geometry of one form of boxes (..., ``columns``), in pixels."""

    name: str
    columns: int  # numbers per box
    centers: Callable[[Tensor], Tensor]  # (..., 2) x, y
    sides: Callable[[Tensor], Tensor]  # (..., 2) width, height in the box's own frame
    corners: Callable[[Tensor], Tensor]  # (..., 8) x1 y1 ... x4 y4, around the box from its top left
    scaled: Callable[[Tensor, tuple[float, float]], Tensor]  # after x, y -> x * scale[0], y * scale[1]
    shifted: Callable[[Tensor, tuple[float, float]], Tensor]  # after x, y -> x + offset[0], y + offset[1]
    # Mirrored in an image of (height, width), left to right, top to bottom; upright boxes left to right alone.
    mirrored: Callable[[Tensor, tuple[int, int], bool, bool], Tensor]
    iou: Callable[[Tensor, Tensor], Tensor]  # (..., N, columns), (..., M, columns) -> (..., N, M)
    inside: Callable[[Tensor, Tensor], Tensor]  # points (P, 2), boxes (..., G, columns) -> (..., G, P) bool
    suppress: Callable[[Tensor, Tensor, Tensor, float], Tensor]  # boxes, scores, labels, IoU -> indices kept, best first

    def has_area(self, boxes: Tensor) -> Tensor:
        """Returns (N,) bool: the boxes (N, ``columns``) that have a width and a height."""
        return (self.sides(boxes) > 0).all(dim=1)


def _upright_corners(boxes: Tensor) -> Tensor:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], dim=-1)


def _mirrored_upright(boxes: Tensor, size: tuple[int, int], horizontal: bool, vertical: bool) -> Tensor:
    if vertical:
        raise ValueError("upright boxes are mirrored left to right alone")
    return flip_boxes(boxes, size[1]) if horizontal else boxes


UPRIGHT = BoxKind(
    name="upright",
    columns=4,
    centers=box_centers,
    sides=lambda boxes: boxes[..., 2:] - boxes[..., :2],
    corners=_upright_corners,
    scaled=lambda boxes, scale: boxes * boxes.new_tensor([*scale, *scale]),
    shifted=lambda boxes, offset: boxes + boxes.new_tensor([*offset, *offset]),
    mirrored=_mirrored_upright,
    iou=pairwise_iou,
    inside=points_inside,
    suppress=class_nms,
)
ROTATED = BoxKind(
    name="rotated",
    columns=5,
    centers=lambda boxes: boxes[..., :2],
    sides=lambda boxes: boxes[..., 2:4],
    corners=rboxes_to_quads,
    scaled=resize_rboxes,
    shifted=lambda boxes, offset: boxes + boxes.new_tensor([*offset, 0, 0, 0]),
    mirrored=flip_rboxes,
    iou=rotated_iou,
    inside=points_in_rboxes,
    suppress=rotated_nms,
)
_BY_COLUMNS = {kind.columns: kind for kind in (UPRIGHT, ROTATED)}


def kind_of(boxes: Any) -> BoxKind:
    """Returns the kind of boxes (..., 4 or 5), a tensor or an array; also of a single one.

    Raises:
        ValueError: another number of columns.

    >>> kind_of(torch.zeros(0, 5)).name
    'rotated'
    """
    kind = _BY_COLUMNS.get(boxes.shape[-1])
    if kind is None:
        raise ValueError(f"boxes are (..., 4) or (..., 5), got {tuple(boxes.shape)}")
    return kind
