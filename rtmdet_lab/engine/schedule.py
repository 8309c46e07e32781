"""Learning rate per optimizer step: warm-up, flat, cosine (paper.md 4.5); and after which epochs a run is validated."""

from __future__ import annotations

import math
from collections.abc import Callable

from rtmdet_lab.config.settings import TrainConfig


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """Returns the learning rate of an optimizer step (from 0) of a run."""
    return config.lr * lr_factor(step, total_steps, config)


def lr_factor(step: int, total_steps: int, config: TrainConfig) -> float:
    """Returns the learning rate of ``step`` (from 0) over the base one.

    Warm-up and main schedule multiply where they overlap. The warm-up takes ``warmup_steps``, but at most a tenth of the
    run, so that short runs learn at all; its last step has the full rate already, as published (n / 999 at step n of 1000).

    >>> config = TrainConfig(warmup_steps=0)
    >>> [round(lr_factor(step, 100, config), 3) for step in (0, 49, 75, 100)]
    [1.0, 1.0, 0.525, 0.05]
    """
    return _warmup(step, total_steps, config) * _main(step, total_steps, config)


def _warmup(step: int, total_steps: int, config: TrainConfig) -> float:
    length = min(config.warmup_steps, total_steps // 10)
    if step >= length - 1:
        return 1.0
    return config.warmup_factor + (1 - config.warmup_factor) * step / (length - 1)


# Steps of a run -> the step from which the rate falls along a cosine.
_FALLS_FROM: dict[str, Callable[[int], float]] = {
    "flat_cosine": lambda total_steps: total_steps / 2,
    "cosine": lambda total_steps: 0.0,
    "constant": lambda total_steps: math.inf,
}


def _main(step: int, total_steps: int, config: TrainConfig) -> float:
    start = _FALLS_FROM[config.schedule](total_steps)
    if step < start:
        return 1.0
    progress = min((step - start) / max(total_steps - start, 1), 1.0)
    return config.lr_floor + 0.5 * (1 - config.lr_floor) * (1 + math.cos(math.pi * progress))


def is_validated(epoch: int, config: TrainConfig) -> bool:
    """Whether a run is validated after ``epoch`` (from 0): every ``val_interval`` epochs, and after the last one.

    Stages have no part in it, so that runs that differ in them are looked at equally often. ``config`` must be resolved.
    """
    return (epoch + 1) % config.val_interval == 0 or epoch == config.epochs - 1
