"""Horizontal boxes (x1 y1 x2 y2, pixels): area, overlap measures, clipping.

Written out rather than taken from ``torchvision.ops`` because the assigner needs batched pairs and the loss needs finite
values and gradients for boxes without area, which the published eps convention gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

OverlapKind = Literal["iou", "giou", "diou", "ciou"]


def box_area(boxes: Tensor) -> Tensor:
    """Returns areas, (...,) from (..., 4). Boxes with a negative side have area 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def box_centers(boxes: Tensor) -> Tensor:
    """Returns centers, (..., 2) from (..., 4)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def aligned_overlap(boxes: Tensor, others: Tensor, kind: OverlapKind = "iou", eps: float = 1e-7) -> Tensor:
    """Returns the overlap of each box with its partner; inputs broadcast to (..., 4), result (...,).

    iou is in [0, 1]; giou, diou and ciou in [-1, 1] and can drop below zero for boxes apart. Union and hull are kept at
    or above ``eps`` so that empty boxes give 0 and finite gradients (released implementation). Half precision inputs are
    computed in float32: 640 * 640 pixels is past the half-precision maximum of 65504.
    """
    boxes, others = _in_one_precision(boxes, others)
    iou, union = _iou_and_union(boxes.unbind(-1), others.unbind(-1), eps)
    if kind == "iou":
        return iou
    hull = (torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])).clamp(min=0)
    if kind == "giou":
        hull_area = (hull[..., 0] * hull[..., 1]).clamp(min=eps)
        return iou - (hull_area - union) / hull_area
    diagonal = hull.square().sum(-1).clamp(min=eps)
    diou = iou - (box_centers(boxes) - box_centers(others)).square().sum(-1) / diagonal
    if kind == "diou":
        return diou
    # Complete IoU: the aspect term's weight is a constant, as in its paper (arXiv 1911.08287).
    aspect = (4 / torch.pi**2) * (_aspect_angle(others, eps) - _aspect_angle(boxes, eps)).square()
    weight = (aspect / (1 - iou + aspect).clamp(min=eps)).detach()
    return diou - weight * aspect


def _in_one_precision(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, others.dtype), torch.float32)
    return boxes.to(dtype), others.to(dtype)


def _iou_and_union(box: Sequence[Tensor], other: Sequence[Tensor], eps: float) -> tuple[Tensor, Tensor]:
    """Returns IoU and union of boxes given as four tensors each, x1 y1 x2 y2."""
    width = (torch.minimum(box[2], other[2]) - torch.maximum(box[0], other[0])).clamp(min=0)
    height = (torch.minimum(box[3], other[3]) - torch.maximum(box[1], other[1])).clamp(min=0)
    intersection = width * height
    # Published models may decode boxes with negative sides; their area keeps its sign there, and so it does here.
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (box, other)]
    union = (areas[0] + areas[1] - intersection).clamp(min=eps)
    return intersection / union, union


def _aspect_angle(boxes: Tensor, eps: float) -> Tensor:
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.atan(sides[..., 0] / sides[..., 1].clamp(min=eps))


def pairwise_iou(boxes: Tensor, others: Tensor, eps: float = 1e-6) -> Tensor:
    """Returns the IoU of every box with every other one, (..., N, M) from (..., N, 4) and (..., M, 4).

    ``eps`` is the smallest union (the released assigner's value, ten times the loss's).
    """
    boxes, others = _in_one_precision(boxes, others)
    # One coordinate after the other in memory: a CPU reads four times less, and several numbers at once.
    planes = others.movedim(-1, 0).contiguous().unsqueeze(-2)
    return _iou_and_union(boxes.unsqueeze(-2).unbind(-1), planes.unbind(0), eps)[0]


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns boxes with corners moved into an image of ``size`` (height, width)."""
    height, width = size
    limit = boxes.new_tensor([width, height, width, height])
    return boxes.clamp(min=0).minimum(limit)


def xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Returns x1 y1 x2 y2 from COCO's x y width height, (..., 4)."""
    return torch.cat([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Returns COCO's x y width height from x1 y1 x2 y2, (..., 4)."""
    return torch.cat([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], dim=-1)


def flip_boxes(boxes: Tensor, width: int) -> Tensor:
    """Returns boxes mirrored left to right in an image ``width`` pixels wide."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)
