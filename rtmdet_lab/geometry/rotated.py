"""Rotated boxes: angles, corners, exact overlaps, suppression (paper.md 3.7, 4.8).

A box is (cx, cy, w, h, angle): pixels, and radians from +x towards +y (clockwise on the screen). In le90 the angle lies in
[-pi/2, pi/2); ground truth also has its longer side as w, predictions need not.

The overlap is the area of one rectangle cut out of the other. In the frame in which the first box is the unit square the
second is a parallelogram; it is cut to the two slabs |x| <= 1/2 and |y| <= 1/2, one after the other, every corner moved to
the nearest place inside and the crossings put between them. That needs no case distinction, so thousands of pairs run at
once, and the polygon stays closed whatever rounding does: nearly coinciding edges change the area by nearly nothing.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

PAIRS_AT_ONCE = 100_000  # bounds the memory of an overlap matrix: about 36 corners each
FLAT = 1e-5  # an edge that moves less across a slab, in sides of the first box, counts as parallel to it
SMALLEST_SIDE = 1e-6  # pixels; thinner boxes overlap as boxes of this side, so that gradients stay finite


def normalise_angle(angle: Tensor) -> Tensor:
    """Returns angles in [-pi/2, pi/2); a rectangle looks the same after half a turn."""
    return torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2


def to_le90(boxes: Tensor) -> Tensor:
    """Returns the same rectangles (..., 5) with the longer side as w and the angle in [-pi/2, pi/2)."""
    x, y, width, height, angle = boxes.unbind(-1)
    tall = width < height
    angle = normalise_angle(torch.where(tall, angle + math.pi / 2, angle))
    return torch.stack([x, y, torch.where(tall, height, width), torch.where(tall, width, height), angle], dim=-1)


def rboxes_to_quads(boxes: Tensor) -> Tensor:
    """Returns the corners (..., 8) x1 y1 ... x4 y4 of boxes (..., 5), around the rectangle from the box's own top left."""
    center, along, across = _axes(boxes)
    corners = [center - along - across, center + along - across, center + along + across, center - along + across]
    return torch.cat(corners, dim=-1)


def quads_to_rboxes(quads: Tensor) -> Tensor:
    """Returns the smallest rectangle around each four corners (N, 8), as boxes (N, 5) with the angle in [-pi/2, pi/2).

    OpenCV's ``minAreaRect``, as in the published data pipeline: either side may be w, see :func:`to_le90`. Corners that
    cross, lie on a line or are not convex give the rectangle around them, which may have no area.
    """
    found = []
    for corners in quads.detach().cpu().float().reshape(-1, 4, 2).numpy():
        (x, y), (width, height), degrees = cv2.minAreaRect(corners)
        if degrees <= 0:  # OpenCV's versions differ in which side is the width; the published data has angles in (0, 90]
            width, height, degrees = height, width, degrees + 90
        found.append([x, y, width, height, math.radians(degrees)])
    boxes = torch.tensor(found, dtype=torch.float64).reshape(-1, 5)
    boxes[:, 4] = normalise_angle(boxes[:, 4])
    return boxes.to(quads.device, quads.dtype if quads.is_floating_point() else torch.float32)


def rboxes_to_boxes(boxes: Tensor) -> Tensor:
    """Returns the upright boxes (..., 4) x1 y1 x2 y2 around rotated ones (..., 5)."""
    center, along, across = _axes(boxes)
    reach = along.abs() + across.abs()
    return torch.cat([center - reach, center + reach], dim=-1)


def resize_rboxes(boxes: Tensor, scale: tuple[float, float]) -> Tensor:
    """Returns boxes (..., 5) after x, y -> x * scale, y * scale; each side is scaled along its own direction.

    Where x and y scale apart a rectangle becomes a parallelogram: the result keeps the direction of the side w.
    """
    center = boxes[..., :2] * boxes.new_tensor(scale)
    if scale[0] == scale[1]:
        return torch.cat([center, boxes[..., 2:4] * scale[0], boxes[..., 4:]], dim=-1)
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    along = torch.stack([cosine * scale[0], sine * scale[1]], dim=-1)
    across = torch.stack([-sine * scale[0], cosine * scale[1]], dim=-1)
    sides = boxes[..., 2:4] * torch.stack([along.norm(dim=-1), across.norm(dim=-1)], dim=-1)
    angle = normalise_angle(torch.atan2(along[..., 1], along[..., 0]))
    return torch.cat([center, sides, angle[..., None]], dim=-1)


def points_in_rboxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Returns whether each point lies strictly inside each box: (..., G, P) bool from points (P, 2), boxes (..., G, 5)."""
    offset = points - boxes[..., None, :2]  # (..., G, P, 2)
    cosine, sine = boxes[..., 4:].cos(), boxes[..., 4:].sin()  # (..., G, 1)
    along = offset[..., 0] * cosine + offset[..., 1] * sine
    across = offset[..., 1] * cosine - offset[..., 0] * sine
    return (along.abs() < boxes[..., 2:3] / 2) & (across.abs() < boxes[..., 3:4] / 2)


def rotated_iou(a: Tensor, b: Tensor, aligned: bool = False) -> Tensor:
    """Returns the exact IoU of rotated boxes, in [0, 1], with finite gradients for any boxes of finite numbers.

    Half precision is computed in float32. Where edges coincide the gradient is one of the one-sided ones.

    Args:
        a, b: aligned, (..., 5) each, giving (...); otherwise (..., N, 5) and (..., M, 5), giving (..., N, M).
    """
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(kind), b.to(kind)
    if aligned:
        return _aligned_iou(a, b)
    a, b = a[..., :, None, :], b[..., None, :, :]
    with torch.no_grad():
        # Most pairs are too far apart: a matrix of 128 objects and 20000 points keeps a few percent.
        reach = _radius(a) + _radius(b)
        near = (a[..., :2] - b[..., :2]).square().sum(-1) < reach.square()
    shape = near.shape
    index = near.flatten().nonzero().squeeze(1)
    a, b = a.expand(*shape, 5).reshape(-1, 5), b.expand(*shape, 5).reshape(-1, 5)
    parts = [_aligned_iou(a[part], b[part]) for part in index.split(PAIRS_AT_ONCE)]
    values = torch.cat(parts) if parts else a.new_zeros(0)
    return a.new_zeros(near.numel()).index_put((index,), values).reshape(shape)


def rotated_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Returns the indices kept, best first: a box goes if a better one of its class overlaps it by more than the threshold.

    Args:
        boxes: (N, 5). scores, labels: (N,). Equal scores keep their order.
    """
    order = scores.argsort(descending=True, stable=True)
    ranked, kinds = boxes[order].detach().float(), labels[order]
    hulls = rboxes_to_boxes(ranked)
    firsts, seconds = [], []
    rows = max(10_000_000 // max(len(order), 1), 1)
    for start in range(0, len(order), rows):
        some = hulls[start : start + rows, None]
        meet = (some[..., :2] < hulls[:, 2:]).all(-1) & (hulls[:, :2] < some[..., 2:]).all(-1)
        meet &= kinds[start : start + rows, None] == kinds
        first, second = meet.triu(start + 1).nonzero(as_tuple=True)
        first = first + start
        for one, other in zip(first.split(PAIRS_AT_ONCE), second.split(PAIRS_AT_ONCE), strict=True):
            over = _aligned_iou(ranked[one], ranked[other]) > iou_threshold
            firsts.append(one[over])
            seconds.append(other[over])
    if not firsts:
        return order
    better, worse = torch.cat(firsts).cpu().numpy(), torch.cat(seconds).cpu().numpy()
    bounds = np.searchsorted(better, np.arange(len(order) + 1))
    kept = np.ones(len(order), bool)
    for number in np.unique(better):
        if kept[number]:
            kept[worse[bounds[number] : bounds[number + 1]]] = False
    return order[torch.from_numpy(kept).to(order.device)]


def _axes(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the centers and the half sides as vectors, (..., 2) each."""
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    along = torch.stack([cosine, sine], dim=-1) * boxes[..., 2:3] / 2
    across = torch.stack([-sine, cosine], dim=-1) * boxes[..., 3:4] / 2
    return boxes[..., :2], along, across


def _radius(boxes: Tensor) -> Tensor:
    return boxes[..., 2:4].norm(dim=-1) / 2


def _aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    sides_a, sides_b = a[..., 2:4].clamp(min=SMALLEST_SIDE), b[..., 2:4].clamp(min=SMALLEST_SIDE)
    turn, offset = a[..., 4], b[..., :2] - a[..., :2]
    cosine, sine = turn.cos(), turn.sin()
    center = torch.stack(
        [offset[..., 0] * cosine + offset[..., 1] * sine, offset[..., 1] * cosine - offset[..., 0] * sine], dim=-1
    )
    relative = torch.cat([center, sides_b, (b[..., 4] - turn)[..., None]], dim=-1)
    corners = rboxes_to_quads(relative).unflatten(-1, (4, 2)) / sides_a[..., None, :]
    polygon = _cut_to_slab(_cut_to_slab(corners, axis=0), axis=1)
    x, y = polygon.unbind(-1)
    # Relative to the first corner: the area of a small polygon far from the origin would drown in its coordinates.
    x, y = x - x[..., :1], y - y[..., :1]
    share = (x * y.roll(-1, -1) - y * x.roll(-1, -1)).sum(-1) / 2
    area_a, area_b = sides_a.prod(-1), sides_b.prod(-1)
    shared = (share.clamp(0, 1) * area_a).minimum(area_b)
    return shared / (area_a + area_b - shared)


def _cut_to_slab(polygon: Tensor, axis: int) -> Tensor:
    """Returns the polygon (..., K, 2) cut to coordinates -1/2 to 1/2 of one axis, as (..., 3 K, 2).

    Of each edge three points remain: its start, and where it enters and leaves the slab. A point outside is moved to the
    slab's border; the pieces along the border that arise run to and fro and enclose nothing.
    """
    start = polygon
    step = polygon.roll(-1, -2) - start
    across = step[..., axis]
    flat = across.abs() < FLAT
    speed = torch.where(flat, torch.full_like(across, FLAT), across)
    middle = -start[..., axis] / speed
    half = 0.5 / speed.abs()
    entering, leaving = ((middle + way * half).clamp(0, 1)[..., None] for way in (-1, 1))
    points = torch.stack([start, start + entering * step, start + leaving * step], dim=-2).flatten(-3, -2)
    inside = points[..., axis].clamp(-0.5, 0.5)
    kept = points[..., 1 - axis]
    return torch.stack([inside, kept] if axis == 0 else [kept, inside], dim=-1)
