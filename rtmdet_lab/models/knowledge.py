"""What a weight file knows of the network it was trained in, whoever wrote it.

Files of our own carry their configuration. Published ones, and those of anybody who trained with the published code, may
carry the text of theirs: a Python file, of which the assignments are read and nothing is run. Weights known by name have the
settings of their size.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from rtmdet_lab.config.overrides import from_dict, iter_settings
from rtmdet_lab.config.presets import (
    SIZES,
    STEM_AND_STAGE_CHANNELS,
    STRIDES,
    model_name,
    resolve_model,
    resolved_from_dict,
)
from rtmdet_lab.config.settings import ExperimentConfig, ModelConfig, TaskName
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import CheckpointError, UserError
from rtmdet_lab.models.zoo import ZOO, ZooEntry
from rtmdet_lab.transforms.normalize import MEAN_BGR, STD_BGR

_LARGEST_SIZE = 8192  # pixels; past what any model is tested at: a file must not ask for all memory
_LONGEST_TEXT = 1_000_000  # characters; published configurations have some thousands
# Not part of what trained weights mean: how many classes they have is seen from them, and the first says where they began.
_NOT_OF_WEIGHTS = ("pretrained_backbone", "num_classes", "size")


@dataclass(frozen=True)
class Knowledge:
    """What is known of the network a file's weights were trained in; what is not is left out."""

    task: TaskName | None = None
    size: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of ``ModelConfig``, dotted and resolved
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)  # what no setting changes: theirs, ours
    input_size: int | None = None  # pixels, of training or of the published scores
    origin: str = ""  # where ``input_size`` was read


def knowledge_of(
    source: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None, text: str | None
) -> Knowledge:
    """Returns what is known of the weights in ``source``.

    Args:
        source: path, URL or published name.
        config: the experiment configuration of a file of our own.
        text: the configuration of a file of the published code.

    Raises:
        CheckpointError: a configuration of our own that this version cannot use.
    """
    if config is not None:
        return _of_own(source, config)
    entry = published_entry(source)
    read = _of_text(text) if text else Knowledge()
    task = read.task or task_of(tensors)
    size = guess_size(tensors)
    input_size, origin = read.input_size, "its configuration"
    if entry is None and size is not None and task is not None:
        entry = _entry_like(model_name(task, size), tensors)
    if input_size is None and entry is not None:
        input_size, origin = entry.input_size, f"the published one of {entry.model}"
    settings = dict(read.settings)
    if published_entry(source) is not None and task is not None and size is not None:
        known = dict(iter_settings(resolve_model(ModelConfig(size=size), task)))
        settings = {name: value for name, value in known.items() if name not in _NOT_OF_WEIGHTS} | settings
    return Knowledge(task, size, settings, read.differences, input_size, origin if input_size else "")


def published_entry(source: str) -> ZooEntry | None:
    """Returns the published detector that a name, URL or file name stands for, or None."""
    name = source.replace("\\", "/").rsplit("/", 1)[-1].partition("?")[0]
    for entry in ZOO.values():
        if entry.model.startswith("rtmdet") and (source == entry.name or name == entry.filename):
            return entry
    return None


def task_of(tensors: Mapping[str, Tensor]) -> TaskName | None:
    """Returns the task whose head a set of weights has, or None where they have no head."""
    for task, facts in TASKS.items():
        if facts.head_key in tensors:
            return task
    plain = next(task for task, facts in TASKS.items() if facts.dense and not facts.head_key)
    return plain if any(key.startswith("bbox_head.") for key in tensors) else None


def guess_size(tensors: Mapping[str, Tensor]) -> str | None:
    """Returns the published size whose width and depth a set of weights has, or None."""
    stem = tensors.get("backbone.stem.2.conv.weight")
    if stem is None or stem.ndim != 4:
        return None
    blocks = {key.split(".")[4] for key in tensors if key.startswith("backbone.stage2.1.blocks.")}
    for name, preset in SIZES.items():
        same_depth = max(round(6 * preset.depth), 1) == len(blocks)
        if int(STEM_AND_STAGE_CHANNELS[0] * preset.width) == stem.shape[0] and same_depth:
            return name
    return None


def _entry_like(model: str, tensors: Mapping[str, Tensor]) -> ZooEntry | None:
    """Returns published weights of the same model; of the person detector only where there is a single class, too."""
    rows = tensors.get("bbox_head.rtm_cls.0.weight")
    count = len(rows) if rows is not None and rows.ndim else 0
    alike = [entry for entry in ZOO.values() if entry.model == model and (entry.num_classes > 1 or count == 1)]
    return alike[0] if alike else None


def _of_own(source: str, config: Mapping[str, Any]) -> Knowledge:
    # Nothing but these two parts says what the weights mean: a setting of the training may be from another version.
    read = own_config(source, {name: config[name] for name in ("task", "model") if name in config})
    settings = {
        name: value for name, value in iter_settings(resolve_model(read.model, read.task)) if name not in _NOT_OF_WEIGHTS
    }
    return Knowledge(read.task, read.model.size, settings, {}, _own_input_size(config), "the one it was trained for")


def _own_input_size(config: Mapping[str, Any]) -> int | None:
    try:
        return resolved_from_dict(config).test.input_size
    except UserError:
        return None


def own_config(source: str, config: Mapping[str, Any]) -> ExperimentConfig:
    """Returns the configuration that a file of our own carries.

    Raises:
        CheckpointError: this version cannot use it.
    """
    try:
        return from_dict(config)
    except UserError as error:
        raise CheckpointError(f"{source} was written with settings that this version cannot use: {error}") from error


def _of_text(text: str) -> Knowledge:
    """Returns what the text of a published-style configuration says; a text that is none says nothing."""
    try:
        statements = ast.parse(text[:_LONGEST_TEXT]).body
        values = {
            one.targets[0].id: _value(one.value)
            for one in statements
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Knowledge()
    model = _mapping(values.get("model"))
    pixels = _mapping(model.get("data_preprocessor")) or _mapping(values.get("img_norm_cfg"))
    head = _mapping(model.get("bbox_head"))
    kind = str(head.get("type", "")).rpartition(".")[2]
    task: TaskName | None = None
    settings: dict[str, Any] = {}
    if "RTMDet" in kind:
        named = [task for task, facts in TASKS.items() if facts.dense and facts.published_head in kind]
        task = max(named, key=lambda name: len(TASKS[name].published_head))  # "" is in every name
        # Instance heads of the published code have no such choice.
        if TASKS[task].exp_on_reg is None and ("exp_on_reg" in head or "SepBN" in kind):
            settings["exp_on_reg"] = bool(head.get("exp_on_reg", False))
    return Knowledge(task, None, settings, _fixed_differences(model, head, pixels), _tested_size(values))


def _fixed_differences(
    model: Mapping[str, Any], head: Mapping[str, Any], pixels: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Returns what a configuration says otherwise than this version, which has no setting for it: theirs and ours."""
    backbone = _mapping(model.get("backbone"))
    strides = _mapping(head.get("anchor_generator")).get("strides")
    if isinstance(strides, (list, tuple)):
        strides = tuple(one[0] if isinstance(one, (list, tuple)) and one else one for one in strides)
    activation = _mapping(backbone.get("act_cfg")).get("type")
    told = {
        "strides": (strides, STRIDES),
        "the order of colors": ("RGB" if pixels.get("bgr_to_rgb", pixels.get("to_rgb")) else None, "BGR"),
        "the mean of pixels": (_numbers(pixels.get("mean")), MEAN_BGR),
        "the deviation of pixels": (_numbers(pixels.get("std")), STD_BGR),
        "the activation": ("SiLU" if activation == "Swish" else activation, "SiLU"),
        "eps of the norms": (_mapping(backbone.get("norm_cfg")).get("eps"), 1e-5),
        "the angle convention": (head.get("angle_version"), "le90"),
    }
    return {name: (theirs, ours) for name, (theirs, ours) in told.items() if theirs is not None and theirs != ours}


def _tested_size(values: Mapping[str, Any]) -> int | None:
    """Returns the longer side that the test pipeline of a configuration resizes to, if a network can take it."""
    for name in ("test_pipeline", "test_dataloader", "data"):
        sizes = [max(scale) for scale in _scales(values.get(name)) if scale]
        if sizes and 32 <= sizes[0] <= _LARGEST_SIZE and sizes[0] % 32 == 0:
            return sizes[0]
    return None


def _scales(part: Any) -> list[tuple[int, ...]]:
    """Returns every (width, height) that a resizing step inside of a configuration's part names, the first one first."""
    if isinstance(part, Mapping):
        if str(part.get("type", "")).rpartition(".")[2] in ("Resize", "MultiScaleFlipAug"):
            scale = part.get("scale", part.get("img_scale"))
            if isinstance(scale, (list, tuple)) and scale and all(type(one) is int for one in scale):
                return [tuple(scale)]
        return [scale for inner in part.values() for scale in _scales(inner)]
    if isinstance(part, (list, tuple)):
        return [scale for inner in part for scale in _scales(inner)]
    return []


def _numbers(value: Any) -> tuple[float, ...] | None:
    listed = isinstance(value, (list, tuple)) and all(isinstance(one, (int, float)) for one in value)
    return tuple(float(max(min(one, 1e9), -1e9)) for one in value) if listed else None  # whole numbers may be past floats


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _value(node: ast.expr) -> Any:
    """Returns the value of a literal or of ``dict(...)`` of such; None for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {one.arg: _value(one.value) for one in node.keywords if one.arg}
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values, strict=True) if _is_text(key)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return tuple(_value(one) for one in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
