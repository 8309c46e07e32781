"""Every setting of an experiment, as nested frozen dataclasses.

Answers "what can be changed, and what is it called?". A row of a paper table is a mapping from dotted setting names to
values; :mod:`rtmdet_lab.config.overrides` turns it into a new config, and :mod:`rtmdet_lab.config.describe` reads the
docstring that each setting has.

Defaults are the published recipe (paper section 4 and the released configurations). ``None`` in a field that names a
preset means "the published value of this task and size" (:mod:`rtmdet_lab.config.presets` fills the gaps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rtmdet_lab.config.settings.data import AugmentConfig, DataConfig
from rtmdet_lab.config.settings.inference import INFERENCE, TestConfig
from rtmdet_lab.config.settings.limits import Settings
from rtmdet_lab.config.settings.model import (
    MOST_CLASSES,
    BackboneConfig,
    BlockKind,
    HeadConfig,
    ModelConfig,
    NeckConfig,
    Sharing,
    Size,
)
from rtmdet_lab.config.settings.training import AssignerConfig, LossConfig, TrainConfig
from rtmdet_lab.config.tasks import TASKS

if TYPE_CHECKING:
    TaskName = str
else:  # the names of the table, so that settings are checked against them
    TaskName = Literal[tuple(TASKS)]

__all__ = [
    "INFERENCE",
    "MOST_CLASSES",
    "AssignerConfig",
    "AugmentConfig",
    "BackboneConfig",
    "BlockKind",
    "DataConfig",
    "ExperimentConfig",
    "HeadConfig",
    "LossConfig",
    "ModelConfig",
    "NeckConfig",
    "Sharing",
    "Size",
    "TaskName",
    "TestConfig",
    "TrainConfig",
]


@dataclass(frozen=True)
class ExperimentConfig(Settings):
    """One run: a task, a network, how it is taught, on what, and the seed."""

    task: TaskName = "detection"
    """What is found in an image: it decides head, losses, pipelines, test and the published recipe."""
    model: ModelConfig = ModelConfig()
    assigner: AssignerConfig = AssignerConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()
    data: DataConfig = DataConfig()
    seed: int = 0
    """Seed of drawn weights, the order of images and all augmentation: the same one gives the same run."""
