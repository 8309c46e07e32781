"""The two stages of a run: strong augmentation, then weak (paper 3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from torchvision.transforms import v2

from rtmdet_lab.config import ExperimentConfig
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.transforms.pipelines import strong_pipeline, weak_pipeline


@dataclass(frozen=True)
class Stage:
    """Epochs that share a pipeline. Each stage gets a loader of its own: changing a transform on a live data set would
    not reach persistent workers, raise nothing, and show only as a worse AP."""

    name: str
    first_epoch: int
    epochs: int
    pipeline: v2.Compose

    def __contains__(self, epoch: int) -> bool:
        return self.first_epoch <= epoch < self.first_epoch + self.epochs


def plan_stages(config: ExperimentConfig, source: Source) -> tuple[Stage, ...]:
    """Returns the stages in order; one of zero epochs is left out. ``config`` must be resolved."""
    strong = config.train.epochs - config.train.weak_epochs
    stages = (
        Stage("strong", 0, strong, strong_pipeline(config.augment, source.load, len(source))),
        Stage("weak", strong, config.train.weak_epochs, weak_pipeline(config.augment)),
    )
    return tuple(stage for stage in stages if stage.epochs > 0)
