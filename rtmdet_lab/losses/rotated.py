"""Box losses of rotated boxes: one minus the exact IoU, or a distance of the Gaussians that stand for the boxes.

A box as a Gaussian has its center as the mean m, and a covariance S with the squared sides over 12 (ProbIoU: that of the
uniform distribution on the box) or over 4 (KLD) along its axes. With d = m_a - m_b and a the prediction:

* ``rotated_iou``: 1 - IoU (paper.md 3.7, the published choice).
* ``probiou``: Hellinger distance sqrt(1 - exp(-D)), D the Bhattacharyya distance
  d^T (S_a + S_b)^-1 d / 4 + log(det(S_a + S_b) / (4 sqrt(det S_a det S_b))) / 2 (arXiv 2106.06072, the loss L1).
* ``kld``: 1 - 1 / (1 + log(1 + K)), K = (d^T S_b^-1 d + tr(S_b^-1 S_a) + log(det S_b / det S_a)) / 2 - 1, the
  Kullback-Leibler divergence made bounded (arXiv 2106.01883, with tau = 1).

The Gaussians cannot tell a square's angle. They have a gradient where the boxes do not meet, which the IoU has not: KLD at
any distance, ProbIoU only near by: exp(-D) vanishes a few box sides away.

Differences of matrix products lose all digits of float32 for thin boxes, so both distances are written as sums whose terms
are zero for identical boxes. Only the angle between the two boxes enters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from rtmdet_lab.geometry.rotated import rotated_iou

RotatedKind = Literal["rotated_iou", "probiou", "kld"]
SMALLEST_SIDE = 1e-3  # pixels; keeps the covariance of a thin box invertible
SMALLEST_DISTANCE = 1e-12  # the square root has no gradient at 0
LARGEST_DISTANCE = 80.0  # exp(-D) is 0 in float32 beyond it


def rotated_overlap_loss(boxes: Tensor, targets: Tensor, weight: Tensor, kind: RotatedKind = "rotated_iou") -> Tensor:
    """Returns the sum over boxes of weight * loss, each loss in [0, 1]; computed in float32 or better.

    Boxes of weight 0 contribute neither loss nor gradient, whatever their values.

    Args:
        boxes, targets: (N, 5) cx cy w h angle, pixels and radians.
        weight: (N,), zero or more; the matched IoU in the published recipe.

    Raises:
        ValueError: ``kind`` is none of the three.
    """
    wide = torch.promote_types(boxes.dtype, torch.float32)
    boxes, targets = boxes.to(wide), targets.to(wide)
    boxes = boxes.where((weight > 0)[..., None], targets.detach())
    if kind not in _LOSSES:
        raise ValueError(f"the loss of rotated boxes is rotated_iou, probiou or kld, not {kind!r}")
    return (weight * _LOSSES[kind](boxes, targets)).sum()


def _iou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    return 1 - rotated_iou(boxes, targets, aligned=True)


def _probiou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    distance = _bhattacharyya(boxes, targets).clamp(SMALLEST_DISTANCE, LARGEST_DISTANCE)
    return (-torch.expm1(-distance)).sqrt()


def _kld_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    return 1 - 1 / (1 + torch.log1p(_kullback_leibler(boxes, targets).clamp(min=0)))


# Aligned boxes (N, 5) in float32 or better -> losses (N,).
_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rotated_iou": _iou_loss,
    "probiou": _probiou_loss,
    "kld": _kld_loss,
}


def _sides(boxes: Tensor) -> tuple[Tensor, ...]:
    return boxes[..., 2:4].clamp(min=SMALLEST_SIDE).unbind(-1)


def _offset_in_frame(offset: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the offsets (..., 2) along and across each box."""
    cosine, sine = boxes[..., 4].cos(), boxes[..., 4].sin()
    return offset[..., 0] * cosine + offset[..., 1] * sine, offset[..., 1] * cosine - offset[..., 0] * sine


def _squares_of_turn(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    turn = a[..., 4] - b[..., 4]
    return turn.cos().square(), turn.sin().square()


def _bhattacharyya(a: Tensor, b: Tensor) -> Tensor:
    (w, h), (v, g) = _sides(a), _sides(b)
    cosine2, sine2 = _squares_of_turn(a, b)
    # 144 det(S_a + S_b) - 4 wh vg, which completes to squares.
    excess = (w * h - v * g).square() + cosine2 * (w * g - h * v).square() + sine2 * (w * v - h * g).square()
    four = 4 * w * h * v * g
    # The adjugate of a sum of 2 x 2 matrices is the sum of the adjugates, each diagonal in the frame of its own box.
    offset = a[..., :2] - b[..., :2]
    (along_a, across_a), (along_b, across_b) = _offset_in_frame(offset, a), _offset_in_frame(offset, b)
    adjugate = (h * along_a).square() + (w * across_a).square() + (g * along_b).square() + (v * across_b).square()
    return 3 * adjugate / (four + excess) + torch.log1p(excess / four) / 2


def _kullback_leibler(a: Tensor, b: Tensor) -> Tensor:
    (w, h), (v, g) = _sides(a), _sides(b)
    along, across = _offset_in_frame(a[..., :2] - b[..., :2], b)
    distance = 4 * ((along / v).square() + (across / g).square())
    _, sine2 = _squares_of_turn(a, b)
    # The trace for parallel boxes, and what turning adds to it.
    wide, high = (w / v).square(), (h / g).square()
    turned = sine2 * (h - w) * (h + w) * (g - v) * (g + v) / (v * g).square()
    return (distance + (wide - 1 - wide.log()) + (high - 1 - high.log()) + turned) / 2
