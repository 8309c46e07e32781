"""Quality focal loss: classification towards the IoU instead of towards 1 (paper 3.3, paper.md 4.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from rtmdet_lab.config.settings import LossConfig
from rtmdet_lab.core.structures import Assignment, DensePredictions


def classification_loss(
    predictions: DensePredictions, labels: Tensor, assignment: Assignment, normaliser: Tensor, config: LossConfig
) -> Tensor:
    """Returns the weighted classification loss of a batch, a scalar."""
    total = _LOSSES[config.cls](predictions.logits.float(), labels, assignment.quality, config.cls_beta)
    return config.cls_weight * total / normaliser


def quality_focal_loss(logits: Tensor, labels: Tensor, quality: Tensor, beta: float = 2.0) -> Tensor:
    """Returns the summed loss: sum over points and classes of |y - p|^beta * BCE(p, y).

    Args:
        logits: (..., C).
        labels: (...,) int64, the class of each positive; any value where ``quality`` is 0 and the label is below 0.
        quality: (...,) in [0, 1], the target y of the positive's own class. Every other target is 0.
        beta: exponent, zero or more.
    """
    target = one_hot_quality(labels, quality, logits.shape[-1]).to(logits.dtype)
    factor = (target - logits.sigmoid()).abs().pow(beta)
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * factor).sum()


def sigmoid_focal_loss(logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Returns the summed focal loss with hard labels (arXiv 1708.02002); a label below 0 is background."""
    target = one_hot_quality(labels, torch.ones_like(labels, dtype=logits.dtype), logits.shape[-1])
    probability = logits.sigmoid()
    wrong = torch.where(target > 0, 1 - probability, probability)
    weight = torch.where(target > 0, alpha, 1 - alpha)
    return (weight * wrong.pow(gamma) * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()


def one_hot_quality(labels: Tensor, quality: Tensor, num_classes: int) -> Tensor:
    """Returns (..., C): ``quality`` at each label, 0 elsewhere and everywhere for labels below 0."""
    target = quality.new_zeros(*labels.shape, num_classes)
    value = torch.where(labels >= 0, quality, 0.0)
    return target.scatter_(-1, labels.clamp(min=0)[..., None], value[..., None])


# Logits, labels, quality, beta -> the summed loss; hard labels know neither quality nor beta.
_LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor, float], Tensor]] = {
    "quality_focal": quality_focal_loss,
    "focal": lambda logits, labels, quality, beta: sigmoid_focal_loss(logits, labels),
}
