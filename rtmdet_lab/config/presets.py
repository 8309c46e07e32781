"""The published size table: what "tiny" or "l" stands for (paper section 4, released configurations), and its gaps filled.

Everything else (channels, block counts, neck inputs) is derived from depth and width, never written a second time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtmdet_lab.config.other_names import meant_model
from rtmdet_lab.config.overrides import from_dict, iter_settings
from rtmdet_lab.config.recipes import published_recipe, recipe_of, resolve_train
from rtmdet_lab.config.resolved import (
    ResolvedAugment,
    ResolvedConfig,
    ResolvedHead,
    ResolvedModel,
    ResolvedTest,
    filled,
)
from rtmdet_lab.config.settings import (
    AssignerConfig,
    AugmentConfig,
    ExperimentConfig,
    LossConfig,
    ModelConfig,
    NeckConfig,
    Sharing,
    Size,
    TaskName,
    TestConfig,
)
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError, UnknownNameError, did_you_mean

STRIDES = (8, 16, 32)
STEM_AND_STAGE_CHANNELS = (64, 128, 256, 512, 1024)  # before scaling with the width multiplier


@dataclass(frozen=True)
class SizePreset:
    depth: float
    width: float
    exp_on_reg: bool
    resize_range: tuple[float, float]
    mosaic_cache: int
    mixup_cache: int
    cache_eviction: str
    mixup_prob: float
    depthwise: bool = False
    sharing: Sharing = "convs"


SIZES: dict[Size, SizePreset] = {
    # nano is the published person detector's layout: separable convolutions everywhere, levels share nothing.
    "nano": SizePreset(0.33, 0.25, False, (0.5, 2.0), 20, 10, "oldest", 0.5, depthwise=True, sharing="none"),
    "tiny": SizePreset(0.167, 0.375, False, (0.5, 2.0), 20, 10, "oldest", 0.5),
    "s": SizePreset(0.33, 0.5, False, (0.5, 2.0), 40, 20, "random", 1.0),
    "m": SizePreset(0.67, 0.75, True, (0.1, 2.0), 40, 20, "random", 1.0),
    "l": SizePreset(1.0, 1.0, True, (0.1, 2.0), 40, 20, "random", 1.0),
    "x": SizePreset(1.33, 1.25, True, (0.1, 2.0), 40, 20, "random", 1.0),
}


def model_names() -> list[str]:
    """Returns every model name :func:`rtmdet_lab.create_model` knows, by task and then by size."""
    return [model_name(task, size) for task, facts in TASKS.items() for size in facts.sizes]


def model_name(task: TaskName, size: Size) -> str:
    """Returns what the model of a task and size is called.

    >>> model_name("instance", "s")
    'rtmdet-ins-s'
    """
    return TASKS[task].prefix + size


def parse_model_name(name: str) -> tuple[TaskName, Size]:
    """Returns (task, size) of a name such as ``rtmdet-ins-s``.

    Raises:
        UnknownNameError: unknown name; the nearest known one is suggested.

    >>> parse_model_name("rtmdet-tiny")
    ('detection', 'tiny')
    """
    for task, facts in TASKS.items():
        for size in facts.sizes:
            if name == model_name(task, size):
                return task, size

    hint = f"{did_you_mean(meant_model(name), model_names(), cutoff=0.4)} known are {', '.join(model_names())}".lstrip()
    raise UnknownNameError(f"no model {name!r}: {hint}")


def resolve_model(config: ModelConfig, task: TaskName = "detection") -> ResolvedModel:
    """Returns ``config`` with every ``None`` replaced by the value of its size and task."""
    preset, facts = SIZES[config.size], TASKS[task]
    return filled(
        ResolvedModel,
        config,
        depth=preset.depth,
        width=preset.width,
        depthwise=preset.depthwise,
        exp_on_reg=preset.exp_on_reg if facts.exp_on_reg is None else facts.exp_on_reg,
        pretrained_backbone=False,
        head=filled(ResolvedHead, config.head, sharing=preset.sharing, shared_tower=facts.shared_tower),
    )


def resolve_augment(config: AugmentConfig, size: Size, task: TaskName = "detection") -> ResolvedAugment:
    """Returns ``config`` with every ``None`` replaced by the published value for ``size`` and ``task`` (paper.md 3.1, 3.6).

    Raises:
        SettingError: a setting that has no part in the recipe of the task.
    """
    recipe = published_recipe(task, size, config.rotated_recipe)
    for item in dataclasses.fields(AugmentConfig):
        if item.name in ("input_size", *recipe.augment) or getattr(config, item.name) == item.default:
            continue
        remedy = "leave it alone"
        if recipe.other is not None and item.name in recipe.other[1].augment:
            remedy = f"set {recipe.other[0]}, too"
        raise SettingError(f"augment.{item.name} has no part in {recipe.title}: {remedy}")
    if recipe.single_stage:
        return filled(ResolvedAugment, config, input_size=recipe.input_size)
    preset = SIZES[size]
    return filled(
        ResolvedAugment,
        config,
        input_size=recipe.input_size,
        mosaic_cache=preset.mosaic_cache,
        mixup_cache=preset.mixup_cache,
        cache_eviction=preset.cache_eviction,
        mixup_prob=preset.mixup_prob,
        resize_range=preset.resize_range,
        empty_crops=TASKS[task].empty_crops,
    )


def resolve_test(config: TestConfig, task: TaskName, canvas: int = 640) -> ResolvedTest:
    """Returns ``config`` with every ``None`` replaced by the published value of the task.

    Settings of test-time augmentation stay ``None`` where it is off.

    Args:
        canvas: input size where neither ``config.input_size`` nor ``config.tile`` is set, pixels.

    Raises:
        SettingError: settings that do not go together, or that the task does not have.
    """
    published, facts = dict(TASKS[task].test), TASKS[task]
    augmented = config.tta or config.tta_scales is not None or bool(config.tta_flip)
    if facts.tta is None and (augmented or config.tile is not None):
        name = "tta" if augmented else "tile"
        raise SettingError(f"test.{name} {facts.tta_refused}: leave it alone for the task {task}")
    if augmented and facts.tta is not None:
        published |= facts.tta
        if not config.tta:
            published |= {"tta_scales": (1.0,), "tta_flip": False}
        if config.tile is not None:
            del published["tta_max_per_image"]
    resolved = filled(ResolvedTest, config, input_size=config.tile or canvas, **published)
    _check_views(resolved, augmented)
    return resolved


def _check_views(config: TestConfig, augmented: bool) -> None:
    """Raises SettingError where windows would not move on, or where a setting would have no effect."""
    for name in ("tta_nms_iou", "tta_max_per_image"):
        if not augmented and getattr(config, name) is not None:
            raise SettingError(f"test.{name} has no effect without test.tta, test.tta_scales or test.tta_flip")
    tile, overlap = config.tile, config.overlap
    if tile is None:
        if overlap != TestConfig.overlap:
            raise SettingError(f"test.overlap is {overlap}, but has no effect without test.tile: set it, too")
        return
    if config.tta_max_per_image is not None:
        raise SettingError("test.tta_max_per_image has no effect with test.tile: max_per_image limits each window")
    if overlap >= tile:
        raise SettingError(f"test.overlap is {overlap}, but must be less than test.tile, which is {tile}")
    for scale in config.tta_scales or (1.0,):
        if int(overlap / scale) >= int(tile / scale):
            raise SettingError(f"test.tta_scales has {scale}, which leaves windows of {int(tile / scale)} pixels: lower it")


def resolve(config: ExperimentConfig) -> ResolvedConfig:
    """Returns ``config`` with every ``None`` that names a preset filled in: what the run will really use.

    Entry points call it, once; what they call takes a :class:`ResolvedConfig`.

    Raises:
        SettingError: settings that do not go together, or that the task does not have.
    """
    facts = TASKS[config.task]
    for item in dataclasses.fields(LossConfig):
        if item.name not in facts.losses and getattr(config.loss, item.name) != item.default:
            tasks = " or ".join(name for name, other in TASKS.items() if item.name in other.losses)
            raise SettingError(f"loss.{item.name} belongs to the task {tasks}: leave it alone for {config.task}")
    if not facts.dense and (config.assigner, config.model.neck) != (AssignerConfig(), NeckConfig()):
        raise SettingError(f"assigner and model.neck have no part in the task {config.task}: leave their settings alone")
    values = dict(iter_settings(config))
    for name, (value, why) in facts.refused.items():
        if values[name] == value:
            raise SettingError(f"{name} {value!r} {why}")
    augment = resolve_augment(config.augment, config.model.size, config.task)
    return filled(
        ResolvedConfig,
        config,
        augment=augment,
        test=resolve_test(config.test, config.task, augment.input_size),
        model=resolve_model(config.model, config.task),
        train=resolve_train(config.train, recipe_of(config)),
    )


def resolved_from_dict(plain: Mapping[str, Any]) -> ResolvedConfig:
    """Returns the config that a record, a state or a weight file carries; settings it does not have are published ones.

    Raises:
        UserError: settings that this version does not have, or values they cannot take.
    """
    return resolve(from_dict(plain))


def stage_channels(width: float) -> list[int]:
    """Returns the channels of the stem and the four stages.

    >>> stage_channels(0.375)
    [24, 48, 96, 192, 384]
    """
    return [int(channels * width) for channels in STEM_AND_STAGE_CHANNELS]


def scaled_blocks(blocks: int, depth: float) -> int:
    """Returns the number of blocks after depth scaling, at least one (Python's round: half to even).

    >>> [scaled_blocks(n, 0.33) for n in (3, 6, 6, 3)]
    [1, 2, 2, 1]
    """
    return max(round(blocks * depth), 1)
