"""The stages of a training: epochs that share a pipeline."""

from __future__ import annotations

from typing import Any, NamedTuple

from torchvision.transforms import v2

from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.transforms.pipelines import strong_pipeline, weak_pipeline
from rtmdet_lab.transforms.rotated import RandomRotate


class Phase(NamedTuple):
    """Epochs of a training that share a pipeline."""

    name: str
    epochs: int
    pipeline: v2.Transform


# Settings with which both exist, of two epochs.
TWO_STAGES: dict[str, Any] = {"augment.one_resize": False, "train.epochs": 2, "train.weak_epochs": 1}


def mixing_phases(config: ResolvedConfig, source: Source, rotate: RandomRotate | None = None) -> list[Phase]:
    """Returns the strong stage, with mosaic and mixup, and the weak one without (paper 3.4).

    Args:
        rotate: the rotation of rotated boxes.
    """
    train, augment = config.train, config.augment
    strong = strong_pipeline(augment, source.load, len(source), rotate)
    weak = weak_pipeline(augment, rotate)
    return [Phase("strong", train.epochs - train.weak_epochs, strong), Phase("weak", train.weak_epochs, weak)]


def mild_settings(epochs: int) -> list[str]:
    """Returns the settings with which a small set is learned in few epochs: weak augmentation alone, mild jitter."""
    return [f"train.weak_epochs={epochs}", "'augment.resize_range=[0.8,1.25]'"]
