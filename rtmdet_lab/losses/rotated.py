"""Box losses of rotated boxes: one minus the exact IoU, or a distance of the Gaussians that stand for the boxes.

A box as a Gaussian has its center as the mean, and a covariance with the squared sides over 12 (ProbIoU: that of the uniform
distribution on the box) or over 4 (KLD) along its axes.

* ``rotated_iou``: 1 - IoU (paper.md 3.7, the published choice).
* ``probiou``: Hellinger distance sqrt(1 - exp(-D)), D the Bhattacharyya distance (arXiv 2106.06072).
* ``kld``: 1 - 1 / (1 + log(1 + KL(prediction, target))), the Kullback-Leibler divergence made bounded (arXiv 2106.01883).

The Gaussians cannot tell a square's angle; they have a gradient where the boxes do not meet, which the IoU has not.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rtmdet_lab.geometry.rotated import rotated_iou

RotatedKind = Literal["rotated_iou", "probiou", "kld"]
SMALLEST_SIDE = 1e-3  # pixels; keeps the covariance of a thin box invertible
LARGEST_DISTANCE = 100.0  # exp(-D) is 0 in float32 beyond it


def rotated_overlap_loss(boxes: Tensor, targets: Tensor, weight: Tensor, kind: RotatedKind = "rotated_iou") -> Tensor:
    """Returns the sum over boxes of weight * loss, each loss in [0, 1]; computed in float32 or better.

    Args:
        boxes, targets: (N, 5) cx cy w h angle, pixels and radians.
        weight: (N,), zero or more; the matched IoU in the published recipe.
    """
    wide = torch.promote_types(boxes.dtype, torch.float32)
    boxes, targets = boxes.to(wide), targets.to(wide)
    if kind == "rotated_iou":
        losses = 1 - rotated_iou(boxes, targets, aligned=True)
    elif kind == "probiou":
        distance = _bhattacharyya(boxes, targets).clamp(min=1e-7, max=LARGEST_DISTANCE)
        losses = (1 - (-distance).exp()).sqrt()
    else:
        losses = 1 - 1 / (1 + torch.log1p(_kullback_leibler(boxes, targets).clamp(min=0)))
    return (weight * losses).sum()


def _covariance(boxes: Tensor, divisor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the entries xx, yy, xy of each box's covariance, pixels^2."""
    sides = boxes[..., 2:4].clamp(min=SMALLEST_SIDE).square() / divisor
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    along, across = sides.unbind(-1)
    return (
        along * cosine**2 + across * sine**2,
        along * sine**2 + across * cosine**2,
        (along - across) * cosine * sine,
    )


def _log_area(boxes: Tensor) -> Tensor:
    """Returns the log of the covariance's determinant up to the divisor, exact for thin boxes."""
    return 2 * boxes[..., 2:4].clamp(min=SMALLEST_SIDE).log().sum(-1)


def _bhattacharyya(a: Tensor, b: Tensor) -> Tensor:
    xx, yy, xy = (one + other for one, other in zip(_covariance(a, 12), _covariance(b, 12), strict=True))
    determinant = (xx * yy - xy**2).clamp(min=1e-12)
    x, y = (a[..., :2] - b[..., :2]).unbind(-1)
    mean = (yy * x**2 + xx * y**2 - 2 * xy * x * y) / determinant / 4
    spread = (determinant / 4).log() - (_log_area(a) + _log_area(b)) / 2 + 2 * torch.log(a.new_tensor(12.0))
    return mean + spread / 2


def _kullback_leibler(a: Tensor, b: Tensor) -> Tensor:
    xx, yy, xy = _covariance(a, 4)
    sides = b[..., 2:4].clamp(min=SMALLEST_SIDE).square() / 4
    cosine, sine = b[..., 4].cos(), b[..., 4].sin()
    x, y = (a[..., :2] - b[..., :2]).unbind(-1)
    # In the target's own frame its covariance is diagonal.
    along, across = x * cosine + y * sine, y * cosine - x * sine
    wide = xx * cosine**2 + yy * sine**2 + 2 * xy * cosine * sine
    high = xx * sine**2 + yy * cosine**2 - 2 * xy * cosine * sine
    trace = wide / sides[..., 0] + high / sides[..., 1]
    distance = along**2 / sides[..., 0] + across**2 / sides[..., 1]
    return (trace + distance + _log_area(b) - _log_area(a)) / 2 - 1
