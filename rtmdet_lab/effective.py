"""Which configuration really took effect: read back from the built objects and compared with the row that asked for it.

A setting that is lost on its way (overwritten, misspelt in a builder, without a part to act on) would show only as a table
whose rows do not differ. So before a run trains, every setting its row varies is read from the network, the assigner, the
pipelines and the optimizer that were built, and a difference stops the run by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rtmdet_lab.assigners.atss import ATSSAssigner
from rtmdet_lab.assigners.costs import CENTER_COSTS, CLS_COSTS, IOU_COSTS
from rtmdet_lab.assigners.dynamic import DynamicAssigner, inside_any_box
from rtmdet_lab.assigners.task_aligned import TaskAlignedAssigner
from rtmdet_lab.config import ExperimentConfig, iter_settings
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.errors import SettingError
from rtmdet_lab.layers.attention import ChannelAttention
from rtmdet_lab.layers.blocks import BLOCKS, LargeKernelBlock, RepLargeKernelBlock
from rtmdet_lab.layers.conv import ConvBNAct
from rtmdet_lab.layers.csp import CSPLayer
from rtmdet_lab.presets import resolve, scaled_blocks, stage_channels
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.training.optim import build_optimizer
from rtmdet_lab.training.schedule import lr_factor
from rtmdet_lab.training.stages import Stage, plan_stages
from rtmdet_lab.transforms.direct import MosaicCrop
from rtmdet_lab.transforms.mixing import MixUp, Mosaic
from rtmdet_lab.transforms.partners import CachedPartners


@dataclass
class Built:
    """What a config becomes before it trains."""

    task: Task
    stages: tuple[Stage, ...]
    optimizer: torch.optim.Optimizer


def build(config: ExperimentConfig, source: Source) -> Built:
    """Returns the objects of a config, on the meta device: nothing is drawn and no memory used."""
    config = resolve(config)
    with torch.device("meta"):
        task = build_task(config)
    return Built(task, plan_stages(config, source), build_optimizer(task.model, config.train))


def read_back(built: Built, names: Mapping[str, Any] | list[str]) -> dict[str, Any]:
    """Returns the value of each setting as the objects have it.

    Settings without an object of their own (weights of losses, thresholds, ...) are read from the task's config, which is
    what the loss, the decoding and the loop read.
    """
    settings = dict(iter_settings(built.task.config))
    return {name: READERS[name](built) if name in READERS else _listed(settings[name]) for name in names}


def check_effective(
    config: ExperimentConfig, varied: Mapping[str, Any], base: ExperimentConfig, source: Source
) -> dict[str, Any]:
    """Returns the settings of a row as they took effect.

    Args:
        config: of the run, resolved.
        varied: the settings the row varies.
        base: the resolved config of the table without the row's settings.
        source: the training set.

    Raises:
        SettingError: a setting was not taken, or differs from the base's and yet changed nothing; names it.
    """
    names = {name: None for key in varied for name in _leaves(key, config)}
    built, plain = build(config, source), build(base, source)
    found, without = read_back(built, names), read_back(plain, names)
    wanted, usual = dict(iter_settings(config)), dict(iter_settings(base))
    for name in names:
        expected = EXPECTED[name](config) if name in EXPECTED else _listed(wanted[name])
        if found[name] != expected:
            raise SettingError(
                f"setting {name!r} was not taken: {wanted[name]!r} was asked for, but the built parts have {found[name]!r} "
                f"where {expected!r} is expected"
            )
        if wanted[name] != usual[name] and found[name] == without[name]:
            raise SettingError(
                f"setting {name!r} changes nothing: with {wanted[name]!r} and with {usual[name]!r} the built parts have "
                f"{found[name]!r}"
            )
    return found


def _leaves(key: str, config: ExperimentConfig) -> list[str]:
    """Returns the settings a key of a row names: itself, or all below it where it names a group."""
    return [name for name, _ in iter_settings(config) if name == key or name.startswith(f"{key}.")]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# -- the network ------------------------------------------------------------------------------------------------------


def _csp_layers(part: nn.Module) -> list[CSPLayer]:
    return [module for module in part.modules() if isinstance(module, CSPLayer)]


def _only(values: set[Any], what: str) -> Any:
    """Returns the one value all parts share; a network whose parts differ was not built as any setting says."""
    if len(values) != 1:
        raise SettingError(f"the parts of the network differ in {what}: {sorted(map(str, values))}")
    return next(iter(values))


def _block(built: Built) -> str:
    kinds = {type(block) for layer in _csp_layers(built.task.model) for block in layer.blocks}
    names = {kind: name for name, kind in BLOCKS.items()}
    return _only({names[kind] for kind in kinds}, "their blocks")


def _kernel_size(built: Built) -> int | None:
    """Returns the kernel of the large-kernel blocks, None where the network has other blocks."""
    sizes = {
        max(conv.kernel_size[0] for conv in block.conv2.modules() if isinstance(conv, nn.Conv2d) and conv.groups > 1)
        for block in built.task.model.modules()
        if isinstance(block, (LargeKernelBlock, RepLargeKernelBlock))
    }
    return _only(sizes, "their kernels") if sizes else None


def _stage_parts(built: Built) -> tuple[list[int], list[int]]:
    """Returns the output channels and the number of blocks of each backbone stage."""
    layers = _csp_layers(built.task.model.backbone)
    return [layer.final_conv.conv.out_channels for layer in layers], [len(layer.blocks) for layer in layers]


def _expand_ratio(part: nn.Module) -> float:
    layers = _csp_layers(part)
    return max(layer.main_conv.conv.out_channels / layer.final_conv.conv.out_channels for layer in layers)


def _expected_ratio(config: ExperimentConfig, part: str) -> float:
    ratio = getattr(config.model, part).expand_ratio
    channels = stage_channels(config.model.width)[1:]
    outputs = channels if part == "backbone" else channels[1:]
    return max(int(width * ratio) / width for width in outputs)


def _sharing(built: Built) -> str:
    towers = list(built.task.model.bbox_head.cls_convs)
    convs = [[module for module in tower.modules() if isinstance(module, ConvBNAct)] for tower in towers]
    if all(one.bn is convs[0][0].bn for one in (level[0] for level in convs[1:])):
        return "all"
    return "convs" if all(level[0].conv is convs[0][0].conv for level in convs[1:]) else "none"


def _shared_tower(built: Built) -> bool | None:
    head = built.task.model.bbox_head
    return head.reg_convs is head.cls_convs if built.task.name == "instance" else None


# -- the assigner -----------------------------------------------------------------------------------------------------


def _assigner_kind(built: Built) -> str:
    assigner = built.task.assigner
    if isinstance(assigner, DynamicAssigner):
        return "dynamic_soft_label" if assigner.candidates is inside_any_box else "simota"
    kinds = {ATSSAssigner: "atss", TaskAlignedAssigner: "task_aligned"}
    return kinds.get(type(assigner), type(assigner).__name__)


def _cost(term: str, table: Mapping[str, Any]) -> Callable[[Built], str]:
    def read(built: Built) -> str:
        function = built.task.assigner.terms[term][0]
        return next(name for name, known in table.items() if known is getattr(function, "func", function))

    return read


# -- pipelines, optimizer, schedule -----------------------------------------------------------------------------------


def _steps(built: Built, *kinds: type) -> list[Any]:
    return [step for stage in built.stages for step in stage.pipeline.transforms if isinstance(step, kinds)]


def _partners(built: Built, attribute: str, *kinds: type) -> Any:
    """Returns an attribute of the caches of the mixing steps; None where nothing is mixed or nothing cached."""
    caches = [step.partners for step in _steps(built, *kinds) if isinstance(step.partners, CachedPartners)]
    return _only({getattr(cache, attribute) for cache in caches}, f"their caches' {attribute}") if caches else None


def _partner_kind(built: Built) -> str | None:
    kinds = {isinstance(step.partners, CachedPartners) for step in _steps(built, Mosaic, MosaicCrop, MixUp)}
    return ("cached" if _only(kinds, "their partners") else "uncached") if kinds else None


def _mixes(config: ExperimentConfig) -> bool:
    """Whether a run has a strong stage: without one, mosaic and mixup have no part in it."""
    plain = config.task == "rotated" and config.augment.rotated_recipe == "plain"
    return config.train.weak_epochs < config.train.epochs and not plain


def _reduces(built: Built) -> bool:
    """Whether all stages read images reduced."""
    return all(getattr(getattr(stage.source, "reading", None), "side", None) is not None for stage in built.stages)


def _weak_epochs(built: Built) -> int:
    return sum(stage.epochs for stage in built.stages if stage.name == "weak")


def _schedule(built: Built) -> str:
    """Returns the schedule's name by the shape of the curve the loop follows: its height at one and three quarters."""
    heights = [lr_factor(quarter * 250_000, 1_000_000, built.task.config.train) for quarter in (1, 3)]
    if heights[0] < 1:
        return "cosine"
    return "flat_cosine" if heights[1] < 1 else "constant"


def _lr_floor(built: Built) -> float:
    """Returns the height of the curve at its end."""
    return round(lr_factor(1_000_000, 1_000_000, built.task.config.train), 9)


def _decays_norm_and_bias(built: Built) -> bool:
    return all(group["weight_decay"] > 0 for group in built.optimizer.param_groups)


def _size(built: Built) -> list[list[int]]:
    return [list(part) for part in _stage_parts(built)]


def _expected_size(config: ExperimentConfig) -> list[list[int]]:
    blocks = [scaled_blocks(count, config.model.depth) for count in config.model.backbone.stage_blocks]
    return [stage_channels(config.model.width)[1:], blocks]


READERS: dict[str, Callable[[Built], Any]] = {
    "model.size": _size,
    "model.depth": lambda built: _stage_parts(built)[1],
    "model.width": lambda built: _stage_parts(built)[0],
    "model.block": _block,
    "model.kernel_size": _kernel_size,
    "model.backbone.stage_blocks": lambda built: _stage_parts(built)[1],
    "model.backbone.channel_attention": lambda built: any(
        isinstance(m, ChannelAttention) for m in built.task.model.modules()
    ),
    "model.backbone.expand_ratio": lambda built: _expand_ratio(built.task.model.backbone),
    "model.neck.expand_ratio": lambda built: _expand_ratio(built.task.model.neck),
    "model.head.sharing": _sharing,
    "model.head.shared_tower": _shared_tower,
    "assigner.kind": _assigner_kind,
    "assigner.cls_cost": _cost("cls", CLS_COSTS),
    "assigner.iou_cost": _cost("iou", IOU_COSTS),
    "assigner.center_cost": _cost("center", CENTER_COSTS),
    "augment.mosaic": lambda built: bool(_steps(built, Mosaic, MosaicCrop)),
    "augment.mixup": lambda built: bool(_steps(built, MixUp)),
    "augment.partners": _partner_kind,
    "augment.mosaic_cache": lambda built: _partners(built, "max_size", Mosaic, MosaicCrop),
    "augment.mixup_cache": lambda built: _partners(built, "max_size", MixUp),
    "augment.pop": lambda built: _partners(built, "pop", Mosaic, MosaicCrop, MixUp),
    "data.reduced_decode": _reduces,
    "train.epochs": lambda built: sum(stage.epochs for stage in built.stages),
    "train.weak_epochs": _weak_epochs,
    "train.optimizer": lambda built: type(built.optimizer).__name__.lower(),
    "train.lr": lambda built: built.optimizer.defaults["lr"],
    "train.schedule": _schedule,
    "train.lr_floor": _lr_floor,
    "train.decay_norm_and_bias": _decays_norm_and_bias,
}

# What a reader finds where a setting is scaled, rounded or has no part in the run, on its way into the objects.
EXPECTED: dict[str, Callable[[ExperimentConfig], Any]] = {
    "model.size": _expected_size,
    "model.depth": lambda config: _expected_size(config)[1],
    "model.width": lambda config: _expected_size(config)[0],
    "model.backbone.stage_blocks": lambda config: _expected_size(config)[1],
    "model.kernel_size": lambda config: config.model.kernel_size if "large_kernel" in config.model.block else None,
    "model.backbone.expand_ratio": lambda config: _expected_ratio(config, "backbone"),
    "model.neck.expand_ratio": lambda config: _expected_ratio(config, "neck"),
    "train.lr_floor": lambda config: 1.0 if config.train.schedule == "constant" else config.train.lr_floor,
    "augment.mosaic": lambda config: config.augment.mosaic and _mixes(config),
    "augment.mixup": lambda config: config.augment.mixup and _mixes(config),
    "augment.partners": lambda config: config.augment.partners if _mixes(config) else None,
    "augment.mosaic_cache": lambda config: config.augment.mosaic_cache if _mixes(config) else None,
    "augment.mixup_cache": lambda config: config.augment.mixup_cache if _mixes(config) else None,
    "augment.pop": lambda config: config.augment.pop if _mixes(config) else None,
}
