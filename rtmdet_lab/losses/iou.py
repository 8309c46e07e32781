"""Box losses: one minus an overlap measure, weighted per box (paper 3.3, paper.md 4.3)."""

from __future__ import annotations

from torch import Tensor

from rtmdet_lab.geometry.boxes import OverlapKind, aligned_overlap


def overlap_loss(boxes: Tensor, targets: Tensor, weight: Tensor, kind: OverlapKind = "giou") -> Tensor:
    """Returns the sum over boxes of weight * (1 - overlap).

    1 - GIoU lies in [0, 2]. Boxes of weight 0 contribute neither loss nor gradient, whatever their values: a background
    point may decode to infinity, and 0 * infinity is not 0.

    Args:
        boxes, targets: (..., 4) x1 y1 x2 y2, pixels.
        weight: (...,), zero or more; the matched IoU in the published recipe.
    """
    used = (weight > 0)[..., None]
    boxes = boxes.where(used, targets.detach())
    return (weight * (1 - aligned_overlap(boxes, targets, kind))).sum()
