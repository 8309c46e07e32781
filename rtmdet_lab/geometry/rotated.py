"""Rotated boxes: angles, corners, exact overlaps, suppression (paper.md 3.7, 4.8).

A box is (cx, cy, w, h, angle): pixels, and radians from +x towards +y (clockwise on the screen). In le90 the angle lies in
[-pi/2, pi/2); ground truth also has its longer side as w, predictions need not.

The overlap is the area of one rectangle inside another. In the frame in which the first box is the unit square the second
is a parallelogram. Clamping the coordinates of its outline to the square folds whatever lies outside onto the border, where
it encloses nothing, and leaves the winding around every point inside as it was: the folded outline encloses exactly the
shared area. By Green's theorem that is the integral of clamp(y) d clamp(x) along the four edges, which has a closed form:
clamp(y) on an edge is three straight pieces. There are no case distinctions, so thousands of pairs run at once, and nearly
coinciding edges change the area by nearly nothing.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

PAIRS_AT_ONCE = 1 << 15  # exact overlaps in one go on a CPU: they stay in its cache, three times as fast as 1 << 17
COMPARED_AT_ONCE = 1 << 22  # pairs whose distance is looked at in one go; bounds the memory beside the result
FLAT = 1e-7  # an edge that moves less, in sides of the first box, has no place where it crosses
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


def flip_rboxes(boxes: Tensor, size: tuple[int, int], horizontal: bool = True, vertical: bool = False) -> Tensor:
    """Returns boxes (..., 5) mirrored left to right, top to bottom or both, in an image of ``size`` (height, width)."""
    x, y, width, height, angle = boxes.unbind(-1)
    x = size[1] - x if horizontal else x
    y = size[0] - y if vertical else y
    angle = normalise_angle(-angle) if horizontal != vertical else angle
    return torch.stack([x, y, width, height, angle], dim=-1)


def points_in_rboxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Returns whether each point lies strictly inside each box: (..., G, P) bool from points (P, 2), boxes (..., G, 5)."""
    x, y = points.t().contiguous()
    x, y = x - boxes[..., 0:1], y - boxes[..., 1:2]  # (..., G, P)
    cosine, sine = boxes[..., 4:].cos(), boxes[..., 4:].sin()  # (..., G, 1)
    along = boxes[..., 2:3] / 2 - (x * cosine + y * sine).abs()
    across = boxes[..., 3:4] / 2 - (y * cosine - x * sine).abs()
    return torch.minimum(along, across) > 0  # one comparison, as for boxes that are not turned


def rotated_iou(a: Tensor, b: Tensor, aligned: bool = False) -> Tensor:
    """Returns the exact IoU of rotated boxes, in [0, 1], with finite gradients for any boxes of finite numbers.

    Half precision is computed in float32. Where edges coincide the gradient lies between the one-sided ones. Pairs too far
    apart to meet cost next to nothing, and without gradients the memory is that of the result and some 100 MB.

    Args:
        a, b: aligned, (..., 5) each, giving (...); otherwise (..., N, 5) and (..., M, 5), giving (..., N, M).
    """
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(kind), b.to(kind)
    if aligned:
        return _aligned_iou(a, b)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns = a.shape[-2], b.shape[-2]
    images = math.prod(batch)
    a = a.expand(*batch, rows, 5).reshape(images, rows, 5)
    b = b.expand(*batch, columns, 5).reshape(images, columns, 5)
    index = _near_pairs(a.detach(), b.detach())
    row = index.div(max(columns, 1), rounding_mode="floor")
    column = row.div(max(rows, 1), rounding_mode="floor") * columns + index % max(columns, 1)
    values = _iou_of_pairs(a.flatten(0, 1), b.flatten(0, 1), row, column)
    return values.new_zeros(images * rows * columns).index_put((index,), values).reshape(*batch, rows, columns)


def rotated_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Returns the indices kept, best first: a box goes if a better one of its class overlaps it by more than the threshold.

    Args:
        boxes: (N, 5). scores, labels: (N,). Equal scores keep their order.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = torch.ones(len(order), dtype=torch.bool)
    for label in labels.unique().tolist():
        rank = (labels[order] == label).nonzero().squeeze(1)
        kept[rank.cpu()] = _suppress(boxes[order[rank]].detach().float(), iou_threshold)
    return order[kept.to(order.device)]


def _suppress(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Returns which boxes (N, 5) of one class, best first, are kept: (N,) bool on the CPU."""
    count = len(boxes)
    hulls = rboxes_to_boxes(boxes)
    firsts, seconds = [], []
    rows = max(10_000_000 // count, 1)
    for start in range(0, count, rows):
        left, top, right, bottom = hulls[start : start + rows, None].unbind(-1)
        x1, y1, x2, y2 = hulls[start:].unbind(-1)
        meet = (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)
        first, second = (index + start for index in meet.triu(1).nonzero(as_tuple=True))
        for one, other in zip(first.split(PAIRS_AT_ONCE), second.split(PAIRS_AT_ONCE), strict=True):
            over = _aligned_iou(boxes[one], boxes[other]) > iou_threshold
            firsts.append(one[over])
            seconds.append(other[over])
    better, worse = torch.cat(firsts).cpu().numpy(), torch.cat(seconds).cpu().numpy()
    bounds = np.searchsorted(better, np.arange(count + 1))
    kept = np.ones(count, bool)
    for number in np.unique(better):
        if kept[number]:
            kept[worse[bounds[number] : bounds[number + 1]]] = False
    return torch.from_numpy(kept)


def _axes(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the centers and the half sides as vectors, (..., 2) each."""
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    along = torch.stack([cosine, sine], dim=-1) * boxes[..., 2:3] / 2
    across = torch.stack([-sine, cosine], dim=-1) * boxes[..., 3:4] / 2
    return boxes[..., :2], along, across


def _radius(boxes: Tensor) -> Tensor:
    return boxes[..., 2:4].norm(dim=-1) / 2


def _near_pairs(a: Tensor, b: Tensor) -> Tensor:
    """Returns the flat indices into (B, N, M) of the pairs whose circumscribed circles meet; a (B, N, 5), b (B, M, 5)."""
    rows, columns = a.shape[1], b.shape[1]
    step = max(COMPARED_AT_ONCE // max(columns, 1), 1)
    found = []
    for image, (some, others) in enumerate(zip(a, b, strict=True)):
        reach = _radius(others)
        for start in range(0, rows, step):
            part = some[start : start + step]
            apart = (part[:, None, 0] - others[:, 0]).square_()
            apart += (part[:, None, 1] - others[:, 1]).square_()
            near = apart < (_radius(part)[:, None] + reach).square_()
            found.append(near.flatten().nonzero().squeeze(1) + (image * rows + start) * columns)
    return torch.cat(found) if found else torch.zeros(0, dtype=torch.int64, device=a.device)


def _iou_of_pairs(a: Tensor, b: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Returns the overlaps (K,) of a[first] with b[second]."""
    count = PAIRS_AT_ONCE if a.device.type == "cpu" else 32 * PAIRS_AT_ONCE  # other devices want few, large steps
    parts = zip(first.split(count), second.split(count), strict=True)  # one empty part where there are no pairs
    return torch.cat([_aligned_iou(a[one], b[other]) for one, other in parts])


def _aligned_iou(a: Tensor, b: Tensor) -> Tensor:
    width_a, height_a = a[..., 2:4].clamp(min=SMALLEST_SIDE).unbind(-1)
    width_b, height_b = b[..., 2:4].clamp(min=SMALLEST_SIDE).unbind(-1)
    # The first box becomes the unit square around the origin: large coordinates and extreme sides cost no digits.
    cosine, sine = a[..., 4].cos(), a[..., 4].sin()
    right, down = (b[..., :2] - a[..., :2]).unbind(-1)
    x, y = (right * cosine + down * sine) / width_a, (down * cosine - right * sine) / height_a
    turn = b[..., 4] - a[..., 4]
    cosine, sine = turn.cos(), turn.sin()
    along_x, along_y = width_b * cosine / width_a, width_b * sine / height_a
    across_x, across_y = -height_b * sine / width_a, height_b * cosine / height_a
    x, y = x - (along_x + across_x) / 2, y - (along_y + across_y) / 2
    start_x = torch.stack([x, x + along_x, x + along_x + across_x, x + across_x], dim=-1)
    start_y = torch.stack([y, y + along_y, y + along_y + across_y, y + across_y], dim=-1)
    step_x = torch.stack([along_x, across_x, -along_x, -across_x], dim=-1)
    step_y = torch.stack([along_y, across_y, -along_y, -across_y], dim=-1)
    share = _shared_with_unit_square(start_x, start_y, step_x, step_y)
    area_a, area_b = width_a * height_a, width_b * height_b
    shared = (share.clamp(0, 1) * area_a).minimum(area_b)
    return shared / (area_a + area_b - shared)


def _shared_with_unit_square(x: Tensor, y: Tensor, step_x: Tensor, step_y: Tensor) -> Tensor:
    """Returns the area (...,) of a polygon inside |x|, |y| <= 1/2; starts and steps of its edges (..., K), x towards y."""
    # Of each edge the part inside |x| <= 1/2, on which y goes from `low` to `low + rise`.
    begin, end = _crossings(x, step_x)
    low = y + begin * step_y
    rise = (end - begin) * step_y
    shift = _clamped(x + end * step_x) - _clamped(x + begin * step_x)
    # The mean of clamp(y) over that part, by the trapezoid rule on its three straight pieces.
    first, second = _crossings(low, rise)
    v0, v1, v2, v3 = (_clamped(value) for value in (low, low + first * rise, low + second * rise, low + rise))
    mean = (first * (v0 + v1) + (second - first) * (v1 + v2) + (1 - second) * (v2 + v3)) / 2
    return -(mean * shift).sum(-1)


def _crossings(start: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Returns where in [0, 1] start + t * step enters and leaves [-1/2, 1/2]."""
    # A flat step has no crossing; any t does, since all its values are the same, but the division must stay finite.
    step = torch.where(step.abs() < FLAT, FLAT, step)
    middle, half = -start / step, (0.5 / step).abs()
    return (middle - half).clamp(0, 1), (middle + half).clamp(0, 1)


def _clamped(values: Tensor) -> Tensor:
    return values.clamp(-0.5, 0.5)
