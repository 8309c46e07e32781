"""Dice loss of masks, in its squared form (paper.md 4.4)."""

from __future__ import annotations

from torch import Tensor

EPSILON = 5e-6  # of the released head; keeps an empty mask that is predicted empty finite


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Returns 1 - Dice of each mask, (N,), in [0, 1]; logits (N, ...) and masks (N, ...) of 0 and 1."""
    predicted, target = logits.float().sigmoid().flatten(1), masks.to(logits.device).float().flatten(1)
    overlap = (predicted * target).sum(1)
    total = predicted.square().sum(1) + target.square().sum(1) + 2 * EPSILON
    return 1 - 2 * overlap / total
