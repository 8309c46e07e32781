"""From a task's name to its spec, and from a config to a task."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import parse_model_name, resolve
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import ExperimentConfig, ModelConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.models.network import Network
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.spec import TaskSpec


@cache
def spec_of(task: str) -> TaskSpec:
    """Returns what makes a task different: ``SPEC`` of the file of its name.

    Raises:
        SettingError: no such task.
    """
    if task not in TASKS:
        raise SettingError(f"task is {task!r}, but this version has only {', '.join(TASKS)}")
    return importlib.import_module(f"rtmdet_lab.tasks.{task}").SPEC


def decode_for(task: str) -> Callable[[Any, Sequence[ImageMeta], ResolvedTest], list[Detections]]:
    """Returns the function that turns a task's predictions into detections, for use without losses.

    It raises NonFiniteOutputError where a network gave NaN or infinite numbers.
    """
    spec = spec_of(task)

    def decode(predictions: Any, metas: Sequence[ImageMeta], config: ResolvedTest) -> list[Detections]:
        detections = spec.decode(predictions, metas, config)
        spec.require_finite(predictions, detections, metas)
        return detections

    return decode


def build_task(config: ExperimentConfig) -> Task:
    """Returns network, assigner, losses, decoding and evaluator for ``config.task``.

    Raises:
        SettingError: settings that do not go together, or no such task.
    """
    spec = spec_of(config.task)
    task = spec.build(config if isinstance(config, ResolvedConfig) else resolve(config))
    task.decode = partial(decode_for(config.task), config=task.config.test)
    names = task.config.data.classes
    task.model.classes = names if names is not None and len(names) == task.model.num_classes else None
    task.model.input_size = task.config.test.input_size
    return task


def build_network(task: str, config: ModelConfig) -> Network:
    """Returns the untrained network of a task."""
    return spec_of(task).network(config)


def find_data(folder: Path, task: str) -> dict[str, str]:
    """Returns the ``data.*`` settings of a folder in a usual layout of a task's format.

    Raises:
        DataError: nothing of the known layouts is there; names what was looked for.
    """
    return spec_of(task).data.find(folder)


def create_model(name: str, num_classes: int = 80, **overrides: Any) -> Network:
    """Returns an untrained model by its published name: ``rtmdet-{nano,tiny,s,m,l,x}``, ``rtmdet-ins-{tiny,s,m,l,x}``,
    ``rtmdet-r-{tiny,s,m,l}``.

    ``overrides`` are settings of :class:`ModelConfig`: ``create_model("rtmdet-s", kernel_size=7)``; nested ones as a
    mapping (``backbone={"spp": False}``) or dotted (``**{"backbone.spp": False}``).

    Raises:
        KeyError: unknown model or setting, with the nearest known name.
        TypeError, SettingError: a value the setting cannot take.

    >>> model = create_model("rtmdet-tiny", num_classes=6)
    >>> sum(p.numel() for p in model.parameters())
    4874634
    """
    task, size = parse_model_name(name)
    return build_network(task, with_overrides(ModelConfig(size=size, num_classes=num_classes), overrides))
