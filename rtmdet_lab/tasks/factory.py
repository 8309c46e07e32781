"""``build_task``: from a config to a task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import ExperimentConfig, TaskName
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import require_finite
from rtmdet_lab.tasks.detection import decode_boxes, detection_task
from rtmdet_lab.tasks.instance import decode_instances, instance_task
from rtmdet_lab.tasks.rotated import decode_rotated_boxes, rotated_task

TASKS: dict[TaskName, Callable[[ResolvedConfig], Task]] = {
    "detection": detection_task,
    "instance": instance_task,
    "rotated": rotated_task,
}
DECODERS: dict[TaskName, Callable[[DensePredictions, Sequence[ImageMeta], ResolvedTest], list[Detections]]] = {
    "detection": decode_boxes,
    "instance": decode_instances,
    "rotated": decode_rotated_boxes,
}


def decode_for(task: TaskName) -> Callable[[DensePredictions, Sequence[ImageMeta], ResolvedTest], list[Detections]]:
    """Returns the function that turns a task's dense predictions into detections, for use without losses.

    It raises NonFiniteOutputError where a network gave NaN or infinite numbers.
    """
    return partial(_checked, DECODERS[task])


def _checked(
    decode: Callable[..., list[Detections]],
    predictions: DensePredictions,
    metas: Sequence[ImageMeta],
    *config: ResolvedTest,
    **named: ResolvedTest,
) -> list[Detections]:
    found = decode(predictions, metas, *config, **named)
    require_finite(predictions, found, metas)
    return found


def build_task(config: ExperimentConfig) -> Task:
    """Returns network, assigner, losses, decoding and evaluator for ``config.task``.

    Raises:
        SettingError: a task that is not built yet.
    """
    if config.task not in TASKS:
        raise SettingError(f"task is {config.task!r}, but this version has only {', '.join(TASKS)}")
    task = TASKS[config.task](resolve(config))
    task.decode = partial(_checked, task.decode)
    names = task.config.data.classes
    task.model.classes = names if names is not None and len(names) == task.model.num_classes else None
    task.model.input_size = task.config.test.input_size
    return task
