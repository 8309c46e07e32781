"""The three terms of the matching cost, one function per choice (paper 3.3, paper.md 4.1).

Every term maps pairs to a cost each, lower is better: all pairs of a batch (:class:`MatchInputs`, the cost is (B, G, P)) or
some of an image (:class:`SomePairs`, it is (M,)). Costs are not negative: far pairs are left out by their distance alone.
Adding one of your own is a function and a line in the table below it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rtmdet_lab.assigners.base import MatchInputs, SomePairs
from rtmdet_lab.geometry.box_kind import UPRIGHT, kind_of
from rtmdet_lab.geometry.boxes import aligned_overlap

Pairs = MatchInputs | SomePairs
CostTerm = Callable[[Pairs], Tensor]

LOG_EPS = 1e-7  # an IoU of zero costs -log(1e-7) = 16.1
OUTSIDE_COST = 1e5  # past every sum of the other terms, yet small enough to keep their order in float32


def soft_cls_cost(pairs: Pairs) -> Tensor:
    """Classification cost with the IoU as soft label: sum over classes of BCE(p, y) * |y - p|^2.

    y is the IoU for the object's own class and 0 for the others, so only one class differs between objects: the sum over
    all classes is taken once per point, and the own class is exchanged in it. No (points, objects, classes) tensor exists.
    """
    return _exchange_own_class(pairs, pairs.iou, focal=True)


def hard_cls_cost(pairs: Pairs) -> Tensor:
    """The same with label 1 for the object's class whatever the box is worth (ablation: soft label off)."""
    return _exchange_own_class(pairs, torch.ones_like(pairs.iou), focal=True)


def bce_cls_cost(pairs: Pairs) -> Tensor:
    """Plain cross-entropy with hard labels: SimOTA's term (its joint score is the class score: no objectness here)."""
    return _exchange_own_class(pairs, torch.ones_like(pairs.iou), focal=False)


def _exchange_own_class(pairs: Pairs, label: Tensor, focal: bool) -> Tensor:
    as_background = _background_cost(pairs.logits, focal)  # (B, P, C)
    # The sum runs in float64 because the own class is subtracted from it again.
    total = as_background.sum(dim=-1, dtype=torch.float64)  # (B, P)
    logits = pairs.of_own_class(pairs.logits)
    own = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    if focal:
        own = own * (label - logits.sigmoid()).square()
    others = pairs.of_points(total) - pairs.of_own_class(as_background)
    return (others + own).to(label.dtype)


def _background_cost(logits: Tensor, focal: bool) -> Tensor:
    cost = F.softplus(logits)  # BCE with label 0
    return cost.mul_(logits.sigmoid().square_()) if focal else cost


def log_iou_cost(pairs: Pairs) -> Tensor:
    """-log(IoU): tells poor matches apart, where GIoU spans less than one between good and bad (paper 3.3)."""
    return -torch.log(pairs.iou + LOG_EPS)


def giou_cost(pairs: Pairs) -> Tensor:
    """1 - GIoU, in [0, 2]: the regression cost of earlier assigners. Horizontal boxes only."""
    if kind_of(pairs.both_boxes[0]) is not UPRIGHT:
        raise ValueError("assigner.iou_cost 'giou' is defined for horizontal boxes: use 'log' or 'linear'")
    return 1 - aligned_overlap(*pairs.both_boxes, "giou")


def linear_iou_cost(pairs: Pairs) -> Tensor:
    """1 - IoU, in [0, 1]."""
    return 1 - pairs.iou


def soft_center_cost(pairs: Pairs, radius: float = 3.0, base: float = 10.0) -> Tensor:
    """Penalise points far from an object's center, smoothly. Paper 3.3: soft center prior.

    base ** (distance / stride - radius), so one stride further costs ten times more and no point is excluded.
    """
    x, y = pairs.offsets
    distance = (x.square() + y.square()).sqrt() / pairs.strides
    return torch.pow(base, distance - radius)


def fixed_center_cost(pairs: Pairs, radius: float = 2.5, base: float = 10.0) -> Tensor:
    """A wall instead of a slope: points outside the box, or off the center by more than ``radius`` strides, cost 1e5."""
    return OUTSIDE_COST * (~(pairs.inside & in_center_region(pairs, radius))).float()


def in_center_region(pairs: Pairs, radius: float) -> Tensor:
    """Returns a bool per pair: the point is within ``radius`` strides of the center, in x and in y."""
    x, y = pairs.offsets
    return torch.maximum(x.abs(), y.abs()) < radius * pairs.strides


def _free(pairs: Pairs, *_: float, **__: float) -> Tensor:
    return torch.zeros_like(pairs.iou)


CLS_COSTS: dict[str, CostTerm] = {"soft": soft_cls_cost, "hard": hard_cls_cost, "bce": bce_cls_cost, "none": _free}
IOU_COSTS: dict[str, CostTerm] = {"log": log_iou_cost, "giou": giou_cost, "linear": linear_iou_cost, "none": _free}
# Center terms also take radius (strides) and base.
CENTER_COSTS: dict[str, Callable[..., Tensor]] = {"soft": soft_center_cost, "fixed": fixed_center_cost, "none": _free}
