"""A config whose presets are filled in: what a run really uses, and what all code below the entry points takes.

Each class narrows the fields of its base in which ``None`` stands for a published value. What is left of ``None`` means
something else than "the published one": no limit, no such step, or a choice that only the weights can make.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

from rtmdet_lab.config.settings import (
    AugmentConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    Sharing,
    TestConfig,
    TrainConfig,
)

Resolved = TypeVar("Resolved")


@dataclass(frozen=True)
class ResolvedHead(HeadConfig):
    """Detection head."""

    sharing: Sharing = field(kw_only=True)


@dataclass(frozen=True)
class ResolvedModel(ModelConfig):
    """The network."""

    depth: float = field(kw_only=True)
    width: float = field(kw_only=True)
    depthwise: bool = field(kw_only=True)
    exp_on_reg: bool = field(kw_only=True)
    pretrained_backbone: bool | str = field(kw_only=True)
    head: ResolvedHead = field(kw_only=True)


@dataclass(frozen=True)
class ResolvedAugment(AugmentConfig):
    """The training pipelines. The plain recipe of rotated boxes has no mosaic, mixup and jitter: those settings are None."""

    input_size: int = field(kw_only=True)


@dataclass(frozen=True)
class ResolvedTrain(TrainConfig):
    """The training."""

    epochs: int = field(kw_only=True)
    weak_epochs: int = field(kw_only=True)
    batch_size: int = field(kw_only=True)
    lr: float = field(kw_only=True)
    val_interval: int = field(kw_only=True)


@dataclass(frozen=True)
class ResolvedTest(TestConfig):
    """Inference. Settings of test-time augmentation stay None where it is off."""

    __test__ = False

    input_size: int = field(kw_only=True)
    score_threshold: float = field(kw_only=True)
    nms_iou: float = field(kw_only=True)
    max_per_level: int = field(kw_only=True)
    max_per_image: int = field(kw_only=True)


@dataclass(frozen=True)
class ResolvedConfig(ExperimentConfig):
    """One run, with nothing left to presets."""

    model: ResolvedModel = field(kw_only=True)
    augment: ResolvedAugment = field(kw_only=True)
    train: ResolvedTrain = field(kw_only=True)
    test: ResolvedTest = field(kw_only=True)


def filled(kind: type[Resolved], config: Any, **values: Any) -> Resolved:
    """Returns ``config`` as the resolved ``kind`` of its type, with ``values`` where its own are None.

    Values of fields that ``config`` has set are left out; nested configs are always replaced.
    """
    own = {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
    given = {name: value for name, value in values.items() if own[name] is None or dataclasses.is_dataclass(value)}
    return kind(**(own | given))
