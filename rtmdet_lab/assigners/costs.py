"""The three terms of the matching cost, one function per choice (paper 3.3, paper.md 4.1).

Every term maps :class:`MatchInputs` to (B, G, P), lower is better. Adding one of your own is a function and a line in the
table below it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rtmdet_lab.assigners.base import MatchInputs
from rtmdet_lab.geometry.boxes import aligned_overlap

CostTerm = Callable[[MatchInputs], Tensor]

LOG_EPS = 1e-7  # an IoU of zero costs -log(1e-7) = 16.1
OUTSIDE_COST = 1e5  # past every sum of the other terms, yet small enough to keep their order in float32


def soft_cls_cost(inputs: MatchInputs) -> Tensor:
    """Classification cost with the IoU as soft label: sum over classes of BCE(p, y) * |y - p|^2.

    y is the IoU for the object's own class and 0 for the others, so only one class differs between objects: the sum over
    all classes is taken once per point, and the own class is exchanged in it. No (points, objects, classes) tensor exists.
    """
    return _exchange_own_class(inputs, inputs.iou, focal=True)


def hard_cls_cost(inputs: MatchInputs) -> Tensor:
    """The same with label 1 for the object's class whatever the box is worth (ablation: soft label off)."""
    return _exchange_own_class(inputs, torch.ones_like(inputs.iou), focal=True)


def bce_cls_cost(inputs: MatchInputs) -> Tensor:
    """Plain cross-entropy with hard labels: SimOTA's term (its joint score is the class score: no objectness here)."""
    return _exchange_own_class(inputs, torch.ones_like(inputs.iou), focal=False)


def _exchange_own_class(inputs: MatchInputs, label: Tensor, focal: bool) -> Tensor:
    as_background = _background_cost(inputs.logits, focal)  # (B, P, C)
    # The sum runs in float64 because the own class is subtracted from it again.
    total = as_background.sum(dim=-1, dtype=torch.float64)  # (B, P)
    logits = own_class(inputs.logits, inputs.targets.labels)  # (B, G, P)
    own = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    if focal:
        own = own * (label - logits.sigmoid()).square()
    others = total[:, None] - own_class(as_background, inputs.targets.labels)
    return (others + own).to(label.dtype)


def _background_cost(logits: Tensor, focal: bool) -> Tensor:
    cost = F.softplus(logits)  # BCE with label 0
    return cost.mul_(logits.sigmoid().square_()) if focal else cost


def own_class(values: Tensor, labels: Tensor) -> Tensor:
    """Returns (B, G, P): ``values`` (B, P, C) at each object's class."""
    index = labels[..., None].expand(-1, -1, values.shape[1])  # (B, G, P)
    return values.transpose(1, 2).gather(1, index)


def log_iou_cost(inputs: MatchInputs) -> Tensor:
    """-log(IoU): tells poor matches apart, where GIoU spans less than one between good and bad (paper 3.3)."""
    return -torch.log(inputs.iou + LOG_EPS)


def giou_cost(inputs: MatchInputs) -> Tensor:
    """1 - GIoU, in [0, 2]: the regression cost of earlier assigners. Horizontal boxes only."""
    if inputs.boxes.shape[-1] != 4:
        raise ValueError("assigner.iou_cost 'giou' is defined for horizontal boxes: use 'log' or 'linear'")
    return 1 - aligned_overlap(inputs.boxes[:, None], inputs.targets.boxes[:, :, None], "giou")


def linear_iou_cost(inputs: MatchInputs) -> Tensor:
    """1 - IoU, in [0, 1]."""
    return 1 - inputs.iou


def soft_center_cost(inputs: MatchInputs, radius: float = 3.0, base: float = 10.0) -> Tensor:
    """Penalise points far from an object's center, smoothly. Paper 3.3: soft center prior.

    base ** (distance / stride - radius), so one stride further costs ten times more and no point is excluded.
    """
    x, y = _center_offsets(inputs)
    distance = (x.square() + y.square()).sqrt() / inputs.priors.strides
    return torch.pow(base, distance - radius)


def fixed_center_cost(inputs: MatchInputs, radius: float = 2.5, base: float = 10.0) -> Tensor:
    """A wall instead of a slope: points outside the box, or off the center by more than ``radius`` strides, cost 1e5."""
    return OUTSIDE_COST * (~(inputs.inside & in_center_region(inputs, radius))).float()


def in_center_region(inputs: MatchInputs, radius: float) -> Tensor:
    """Returns (B, G, P) bool: the point is within ``radius`` strides of the center, in x and in y."""
    x, y = _center_offsets(inputs)
    near = torch.maximum(x.abs(), y.abs()) < radius * inputs.priors.strides
    return near & inputs.targets.valid[..., None]


def _center_offsets(inputs: MatchInputs) -> tuple[Tensor, Tensor]:
    """Returns how far each point lies right of and below each object's center, pixels, (B, G, P) each."""
    x, y = inputs.priors.points.t().contiguous()
    return x - inputs.targets.centers[..., :1], y - inputs.targets.centers[..., 1:]


def _free(inputs: MatchInputs, *_: float, **__: float) -> Tensor:
    return torch.zeros_like(inputs.iou)


CLS_COSTS: dict[str, CostTerm] = {"soft": soft_cls_cost, "hard": hard_cls_cost, "bce": bce_cls_cost, "none": _free}
IOU_COSTS: dict[str, CostTerm] = {"log": log_iou_cost, "giou": giou_cost, "linear": linear_iou_cost, "none": _free}
# Center terms also take radius (strides) and base.
CENTER_COSTS: dict[str, CostTerm] = {"soft": soft_center_cost, "fixed": fixed_center_cost, "none": _free}
