"""The settings of an experiment: what can be changed, what it is called, and what is published."""

from rtmdet_lab.config.overrides import differences, from_dict, iter_settings, to_dict, with_overrides
from rtmdet_lab.config.settings import (
    AssignerConfig,
    AugmentConfig,
    BackboneConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    LossConfig,
    ModelConfig,
    NeckConfig,
    TestConfig,
    TrainConfig,
)

__all__ = [
    "AssignerConfig",
    "AugmentConfig",
    "BackboneConfig",
    "DataConfig",
    "ExperimentConfig",
    "HeadConfig",
    "LossConfig",
    "ModelConfig",
    "NeckConfig",
    "TestConfig",
    "TrainConfig",
    "differences",
    "from_dict",
    "iter_settings",
    "to_dict",
    "with_overrides",
]
