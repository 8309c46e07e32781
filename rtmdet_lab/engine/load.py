"""From a weight file to a task that is ready to predict or to be scored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import model_name, parse_model_name
from rtmdet_lab.config.settings import MOST_CLASSES, ExperimentConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import CheckpointError, did_you_mean
from rtmdet_lab.models.agreement import listed
from rtmdet_lab.models.checkpoints import Checkpoint, load_checkpoint, locate, read_checkpoint
from rtmdet_lab.models.download import public_name
from rtmdet_lab.models.knowledge import Knowledge, own_config
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import build_network, build_task


def task_from_checkpoint(
    source: str | Path,
    model: str | None = None,
    classes: Sequence[str] | None = None,
    *,
    class_names: Sequence[str] | None = None,
    **test_settings: Any,
) -> Task:
    """Returns a task whose model holds the weights of ``source``, in eval mode.

    Args:
        source: path, run folder, URL or published name.
        model: model name; needed only for a foreign file whose size cannot be told from its weights.
        classes: names of the classes to look for, in label order; the others' rows are left out. None: all.
        class_names: what to call the file's classes, in their order there; for a file that does not name them, or names
            them in other words.
        test_settings: fields of :class:`~rtmdet_lab.config.settings.TestConfig`. An ``input_size`` missing or None is
            the tile, or else the one the weights were trained for, as far as the file knows it.

    Raises:
        CheckpointError, UnknownNameError, DownloadError: the file cannot be had or does not fit.
    """
    path = locate(source)
    checkpoint = read_checkpoint(path)
    knowledge = checkpoint.knowledge(source)
    config = _config_of(checkpoint, knowledge, public_name(source), model)
    count = _num_classes(checkpoint, path, TASKS[config.task].predictor)
    names = _names(path, checkpoint.classes, class_names, count)
    chosen = _chosen(path, names, classes)
    overrides = {"model.num_classes": count, "data.classes": list(names), "model.pretrained_backbone": False}
    if test_settings.get("input_size") is None:
        size = test_settings.get("tile") or knowledge.input_size or config.augment.input_size
        test_settings = {**test_settings, "input_size": size}
    config = with_overrides(config, overrides | {f"test.{name}": value for name, value in test_settings.items()})
    if checkpoint.config is not None:
        _check_size(path, checkpoint, config)
    config = with_overrides(config, {"model.num_classes": len(chosen), "data.classes": list(chosen)})
    task = build_task(config)
    load_checkpoint(task.model, source, class_names=names).require_complete()
    task.model.eval()
    return task


def _names(path: Path, known: tuple[str, ...] | None, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Returns what a file's classes are called: as ``given``, or as the file names them, or by their numbers."""
    names = tuple(given or known or (f"class {label}" for label in range(count)))
    if len(names) != count:
        names_told = f"but {len(names)} are named" if given else f"but names {len(names)}"
        raise CheckpointError(
            f"{path} was made for {count} class(es), {names_told}: name each of its classes (class_names, --class-names)"
        )
    name, often = Counter(names).most_common(1)[0]
    if often > 1 and given:
        raise CheckpointError(f"class_names has {name!r} {often} times: give each class of {path} its own name")
    for label, (ours, theirs) in enumerate(zip(names, known or (), strict=False) if given else ()):
        if ours != theirs and ours in known:
            raise CheckpointError(
                f"{path} calls its class {label} {theirs!r} and another one {ours!r}: class_names may not exchange them; to "
                "choose among its classes, use classes (--classes)"
            )
    return names


def _chosen(path: Path, names: tuple[str, ...], classes: Sequence[str] | None) -> tuple[str, ...]:
    """Returns the classes to look for, which ``names`` must hold."""
    if not classes:
        return names
    for name in classes:
        if name not in names:
            hint = did_you_mean(name, names, cutoff=0.75)
            named = names == tuple(f"class {label}" for label in range(len(names)))
            unnamed = "it does not name its classes, do so with class_names (--class-names)" if named else ""
            raise CheckpointError(
                f"{path} has no class {name!r}: {unnamed or f'{hint} it was trained on {listed(names, 10)}'.lstrip()}"
            )
    name, often = Counter(classes).most_common(1)[0]
    if often > 1:
        raise CheckpointError(f"classes name {name!r} twice: name each class once")
    return tuple(classes)


def _config_of(checkpoint: Checkpoint, knowledge: Knowledge, source: str, model: str | None) -> ExperimentConfig:
    """Returns the configuration of a file of our own, or the published one of a foreign file's model."""
    if checkpoint.config is not None:
        config = own_config(source, checkpoint.config)
        name = model_name(config.task, config.model.size)
        if model is not None and model != name:
            raise CheckpointError(f"{source} holds a {name}, not a {model}: leave the model name out")
        return dataclasses.replace(config, train=dataclasses.replace(config.train, init_weights=""))
    if model is None:
        if knowledge.size is None:
            raise CheckpointError(f"{source} does not tell which model it belongs to: name the model (--model)")
        model = model_name(knowledge.task or ExperimentConfig().task, knowledge.size)
    task, size = parse_model_name(model)
    told = {f"model.{name}": value for name, value in knowledge.settings.items()}
    return with_overrides(ExperimentConfig(), {"task": task, "model.size": size, **told})


def _num_classes(checkpoint: Checkpoint, path: Path, key: str) -> int:
    predictor = checkpoint.tensors.get(key)
    if predictor is None or predictor.numel() == 0 or predictor.ndim == 0:  # without elements, any length costs nothing
        raise CheckpointError(f"{path} has no class predictors ({key.removesuffix('.0.weight')}): it is not a detector")
    if len(predictor) > MOST_CLASSES:
        raise CheckpointError(f"{path} declares {len(predictor):,} classes, more than {MOST_CLASSES:,}: it is damaged")
    return len(predictor)


def _check_size(path: Path, checkpoint: Checkpoint, config: ExperimentConfig) -> None:
    """Raises CheckpointError where a file's settings ask for a network far larger than the weights it holds."""
    with torch.device("meta"):  # takes no memory
        needed = sum(weight.numel() for weight in build_network(config.task, config.model).parameters())
    held = sum(tensor.numel() for tensor in checkpoint.tensors.values())
    if needed > 2 * held:
        raise CheckpointError(
            f"{path} holds {held:,} numbers, but its settings need {needed:,}: it is damaged, save it again"
        )
