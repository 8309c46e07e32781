"""Prior points and what their distances mean (paper.md 3.5; released head).

Points sit at the corner of their cell, (x * stride, y * stride): offset 0, not the cell's center.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rtmdet_lab.core.structures import Priors


def point_grid(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Priors:
    """Returns one prior per cell of feature maps of ``sizes`` (height, width), level-major, row-major inside a level.

    >>> point_grid([(1, 2), (1, 1)], [8, 16]).points.tolist()
    [[0.0, 0.0], [8.0, 0.0], [0.0, 0.0]]
    """
    points, point_strides = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        points.append(level_points(height, width, stride, device, dtype))
        point_strides.append(torch.full((height * width,), float(stride), device=device, dtype=dtype))
    return Priors(torch.cat(points), torch.cat(point_strides))


def level_points(
    height: int,
    width: int,
    stride: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Returns the points (height * width, 2) of one level, row-major."""
    y = torch.arange(height, device=device, dtype=dtype) * stride
    x = torch.arange(width, device=device, dtype=dtype) * stride
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).reshape(-1, 2)


def decode_distances(points: Tensor, distances: Tensor) -> Tensor:
    """Returns boxes x1 y1 x2 y2, (..., P, 4), from points (P, 2) and distances left, top, right, bottom (..., P, 4).

    Distances are pixels and may be negative: small models do not force them above zero (``exp_on_reg`` off).
    """
    return torch.cat([points - distances[..., :2], points + distances[..., 2:]], dim=-1)


def decode_rotated(points: Tensor, distances: Tensor, angles: Tensor) -> Tensor:
    """Returns boxes (cx, cy, w, h, angle), (..., P, 5), from points (P, 2) and what is predicted at them (paper.md 4.8).

    Args:
        distances: left, top, right, bottom (..., P, 4) in the box's own frame, pixels.
        angles: (..., P) radians, any; the result's lie in [-pi/2, pi/2) (le90).
    """
    left, top, right, bottom = distances.unbind(-1)
    along, across = (right - left) / 2, (bottom - top) / 2
    cosine, sine = angles.cos(), angles.sin()
    x = points[:, 0] + cosine * along - sine * across
    y = points[:, 1] + sine * along + cosine * across
    angle = torch.remainder(angles + math.pi / 2, math.pi) - math.pi / 2
    return torch.stack([x, y, left + right, top + bottom, angle], dim=-1)


def encode_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Returns the distances (..., P, 4) for which :func:`decode_distances` gives ``boxes``."""
    return torch.cat([points - boxes[..., :2], boxes[..., 2:] - points], dim=-1)


def points_inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Returns whether each point is strictly inside each box: (..., G, P) bool from points (P, 2), boxes (..., G, 4)."""
    boxes = boxes[..., None, :]  # (..., G, 1, 4)
    x, y = points.t().contiguous()
    # One comparison: on a CPU each takes as long as six differences.
    across = torch.minimum(x - boxes[..., 0], boxes[..., 2] - x)
    return torch.minimum(across, torch.minimum(y - boxes[..., 1], boxes[..., 3] - y)) > 0
