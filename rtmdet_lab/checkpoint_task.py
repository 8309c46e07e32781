"""From a weight file to a task that is ready to predict or to be scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rtmdet_lab.config import MOST_CLASSES, ExperimentConfig, from_dict, with_overrides
from rtmdet_lab.errors import CheckpointError, UserError
from rtmdet_lab.models.checkpoints import Checkpoint, guess_size, load_checkpoint, locate, read_checkpoint
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.download import public_name
from rtmdet_lab.models.zoo import ZOO
from rtmdet_lab.presets import TASK_PREFIX, parse_model_name, resolve
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import build_task


def task_from_checkpoint(
    source: str | Path, model: str | None = None, classes: Sequence[str] | None = None, **test_settings: Any
) -> Task:
    """Returns a task whose model holds the weights of ``source``, in eval mode.

    Args:
        source: path, URL or published name.
        model: model name; needed only for a foreign file whose size cannot be told from its weights.
        classes: names in label order; by default those the file knows.
        test_settings: fields of :class:`~rtmdet_lab.config.TestConfig`.

    Raises:
        CheckpointError, UnknownNameError, DownloadError: the file cannot be had or does not fit.
    """
    path = locate(source)
    checkpoint = read_checkpoint(path)
    config = _config_of(checkpoint, public_name(source), model)
    count = _num_classes(checkpoint, path)
    names = tuple(classes or checkpoint.classes or (f"class {label}" for label in range(count)))
    if len(names) != count:
        raise CheckpointError(f"{path} was made for {count} class(es), but {len(names)} are named: name each of its classes")
    overrides = {"model.num_classes": count, "data.classes": list(names), "model.pretrained_backbone": False}
    config = with_overrides(config, overrides | {f"test.{name}": value for name, value in test_settings.items()})
    if checkpoint.config is not None:
        _check_size(path, checkpoint, config)
    task = build_task(config)
    load_checkpoint(task.model, path).require_complete()
    task.model.eval()
    return task


def _config_of(checkpoint: Checkpoint, source: str, model: str | None) -> ExperimentConfig:
    if checkpoint.config is not None:
        try:
            config = from_dict(checkpoint.config)
        except UserError as error:
            raise CheckpointError(f"{source} was written with settings that this version cannot use: {error}") from error
        name = TASK_PREFIX[config.task] + config.model.size
        if model is not None and model != name:
            raise CheckpointError(f"{source} holds a {name}, not a {model}: leave the model name out")
        return dataclasses.replace(config, train=dataclasses.replace(config.train, init_weights=""))
    if model is None and source in ZOO:
        model = ZOO[source].model
    if model is None:
        size = guess_size(checkpoint.tensors)
        if size is None:
            raise CheckpointError(f"{source} does not tell which model it belongs to: name the model (--model)")
        tell = {"instance": "bbox_head.rtm_kernel.0.weight", "rotated": "bbox_head.rtm_ang.0.weight"}
        task = next((name for name, key in tell.items() if key in checkpoint.tensors), "detection")
        model = TASK_PREFIX[task] + size
    task, size = parse_model_name(model)
    return with_overrides(ExperimentConfig(), {"task": task, "model.size": size})


def _num_classes(checkpoint: Checkpoint, path: Path) -> int:
    predictor = checkpoint.tensors.get("bbox_head.rtm_cls.0.weight")
    if predictor is None or predictor.numel() == 0 or predictor.ndim == 0:  # without elements, any length costs nothing
        raise CheckpointError(f"{path} has no class predictors (bbox_head.rtm_cls): it is not a detector")
    if len(predictor) > MOST_CLASSES:
        raise CheckpointError(f"{path} declares {len(predictor):,} classes, more than {MOST_CLASSES:,}: it is damaged")
    return len(predictor)


def _check_size(path: Path, checkpoint: Checkpoint, config: ExperimentConfig) -> None:
    """Raises CheckpointError where a file's settings ask for a network far larger than the weights it holds."""
    with torch.device("meta"):  # takes no memory
        needed = sum(one.numel() for one in RTMDet(resolve(config).model, config.task).parameters())
    held = sum(one.numel() for one in checkpoint.tensors.values())
    if needed > 2 * held:
        raise CheckpointError(
            f"{path} holds {held:,} numbers, but its settings need {needed:,}: it is damaged, save it again"
        )
