"""Finds the batch that the memory holds and the set fills, and says before a training what it will need.

A batch that was asked for is kept as the effective one, with more batches per optimizer step. The learning rate follows the
effective batch, so it stays, too. Batch norm sees the smaller batches: a run with another split of the same effective batch
is a similar one, not the same. A batch that nobody asked for, the published one, is lowered to what fits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rtmdet_lab.config.aliases import current_names
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import world_size
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.data.loaders import Source, collate
from rtmdet_lab.engine.memory import OutOfMemory, explain_memory, training_advice
from rtmdet_lab.engine.processes import require_processes
from rtmdet_lab.engine.state import saved_config
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.experiment.forecast import GIB, first_samples, free_memory, fullest, measure
from rtmdet_lab.experiment.run import choose_device, open_data, prepare, with_classes
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.transforms.base import Sample
from rtmdet_lab.transforms.normalize import normalize

HEADROOM = {"cuda": 0.9, "cpu": 0.75}  # share of the memory a batch may take: fragments and other programs need some
LEAST_STEPS = 25  # of an epoch, where the batch is chosen here
PROBED_SIZES = 8  # images
SMALL_SET, LONG_RECIPE = 5000, 100  # images, epochs
PROBED = 64  # samples, of which the one with the most objects fills the batch


def planned_config(
    config: ExperimentConfig,
    out_dir: Path,
    device: str = "auto",
    processes: int = 1,
    *,
    asked: bool = False,
    command: str = "",
    note: Callable[[str], None] = print,
) -> ExperimentConfig:
    """Returns ``config`` with a batch that fits memory and training set; says what the training will need.

    A run in ``out_dir`` that is to be continued keeps the batch it has.

    Args:
        processes: among which each batch is divided, one GPU each.
        asked: the effective batch is to be kept, by accumulation where its batch does not fit.
        command: what starts this training without its settings, for the advice where the recipe is too long for the set.
        note: told in a sentence what was chosen, and what is needed.

    Raises:
        OutOfMemory: not even one image per process fits.
    """
    require_processes(processes)
    if world_size() > 1:  # every process would measure beside the others
        return config
    resolved = resolve(config)
    effective = resolved.train.batch_size * resolved.train.gradient_accumulation_steps
    saved = saved_config(out_dir)
    if saved is not None and (not asked or saved.train.batch_size * saved.train.gradient_accumulation_steps == effective):
        return with_overrides(config, _split(saved.train.batch_size, saved.train.gradient_accumulation_steps))
    chosen = choose_device(device)
    train, val = open_data(config)
    images = len(train) * config.data.repeat
    forecast = measure(resolve(with_classes(config, train.classes)), train, chosen)
    free = free_memory(chosen)
    sizes = batches_to_try(resolved, processes) if asked else smaller_batches(resolved, images, processes)
    fitting = [size for size in sizes if forecast.memory(with_batch(resolved, size)) <= HEADROOM[chosen.type] * free]
    if not fitting and chosen.type == "cpu":
        smallest = with_batch(resolved, sizes[-1] if sizes else processes)
        needed = f"{forecast.memory(smallest) / GIB:.1f} GB of the {free / GIB:.1f} GB that are free"
        raise OutOfMemory(f"the memory of the machine is not enough for {training_advice(smallest)}: it takes {needed}")
    if chosen.type == "cuda":  # measured to the byte: a GPU says where its memory ends
        task, _ = prepare(config, train.classes)
        batch = find_batch(task, train, chosen, processes, sizes).train.batch_size
    else:
        batch = fitting[0]
    batches = effective // batch if asked else 1
    config = with_overrides(config, _split(batch, batches))
    now = resolve(config)
    if (batch, batches) != (resolved.train.batch_size, resolved.train.gradient_accumulation_steps):
        note(_choice(resolved, now, asked, images))
    if images < SMALL_SET and now.train.epochs >= LONG_RECIPE:
        note(_advice(now, train, command))
    note(forecast.sentence(now, len(train), len(val), free))
    return config


def asks_for_batch(overrides: Mapping[str, Any]) -> bool:
    """Whether settings, as :func:`~rtmdet_lab.config.overrides.with_overrides` takes them, name the images of a step.

    >>> asks_for_batch({"train": {"batch_size": 8}}), asks_for_batch({"seed": 1})
    (True, False)
    """
    overrides = current_names(overrides)
    nested = overrides.get("train")
    names = {*overrides, *(f"train.{name}" for name in (nested if isinstance(nested, Mapping) else ()))}
    return not names.isdisjoint({"train.batch_size", "train.gradient_accumulation_steps"})


def _split(batch: int, batches: int) -> dict[str, int]:
    return {"train.batch_size": batch, "train.gradient_accumulation_steps": batches}


def _choice(before: ExperimentConfig, now: ExperimentConfig, asked: bool, images: int) -> str:
    """Returns in words which batch was chosen."""
    batch, batches, lr = now.train.batch_size, now.train.gradient_accumulation_steps, now.train.lr
    if asked:
        return f"batches of {batch} images fit, {batches} of them per optimizer step"
    why = f"the published {before.train.batch_size} do not suit {images} images on this machine"
    choose = "to choose: train.batch_size, and train.gradient_accumulation_steps"
    return f"batches of {batch} images ({why}), learning rate {lr:.3g}; {choose}"


def _advice(config: ExperimentConfig, train: Source, command: str) -> str:
    """Returns in words that the published recipe is no recipe for a small set, and what to do instead."""
    images = len(train) * config.data.repeat
    settings = " ".join(short_recipe(config, images, longest_side(train)))
    start = f"`{command} --set {settings}`" if command else settings
    return (
        f"warning: {config.train.epochs} epochs are the recipe for 118,287 images from nothing, and these are {images}; "
        f"what learns sooner: {start}, or published weights (--init NAME --reset-predictors, see `rtmdet-lab models`)"
    )


def short_recipe(config: ExperimentConfig, images: int, side: int) -> list[str]:
    """Returns the settings with which a small set of images of that side is learned in about 2000 optimizer steps.

    As in the quickstart: boxes that are one cell large at first, mild jitter, few images per step, and a learning rate for
    steps that are few. Never larger than the images are.
    """
    batch = min(config.train.batch_size, 8)
    epochs = min(max(round(2000 * batch / images), 10), 100)
    settings = [f"train.epochs={epochs}", f"train.batch_size={batch}", "train.lr=0.002"]
    settings += spec_of(config.task).short_settings(epochs)
    size = min(-(-side // 32) * 32, config.augment.input_size)
    return settings + ([f"augment.input_size={size}"] if size < config.augment.input_size else [])


def longest_side(source: Source) -> int:
    """Returns the longest side of the first images, pixels."""
    return max(max(source.load(index)[0].shape[-2:]) for index in range(min(len(source), PROBED_SIZES)))


def smaller_batches(config: ExperimentConfig, images: int, processes: int = 1) -> list[int]:
    """Returns batches from the published one down by halves, largest first, of which an epoch has at least 25.

    Sets of fewer than 100 images get batches of 4, or what they have.
    """
    most = max(images // LEAST_STEPS, min(4, images))
    size, sizes = config.train.batch_size, []
    while size >= processes:
        if size <= most and size % processes == 0:
            sizes.append(size)
        size //= 2
    return sizes or [processes]


def with_batch(config: ExperimentConfig, batch: int) -> ExperimentConfig:
    """Returns ``config`` with batches of ``batch`` images and the same number of images per optimizer step."""
    batches = max(config.train.batch_size * config.train.gradient_accumulation_steps // batch, 1)
    return with_overrides(config, _split(batch, batches))


def batches_to_try(config: ExperimentConfig, processes: int = 1) -> list[int]:
    """Returns the batch sizes, largest first, that divide the effective one and divide among the processes."""
    effective = config.train.batch_size * config.train.gradient_accumulation_steps
    sizes = range(config.train.batch_size, 0, -1)
    return [size for size in sizes if effective % size == 0 and size % processes == 0]


def find_batch(
    task: Task, source: Source, device: torch.device, processes: int = 1, sizes: Sequence[int] | None = None
) -> ExperimentConfig:
    """Returns the task's config with the largest batch of which two training steps fit; spoils the task's weights.

    Args:
        sizes: batches to try, largest first; by default those that keep the effective batch.

    Raises:
        OutOfMemory: not even one image per process fits.
    """
    config = task.config
    sample = fullest(first_samples(config, source, PROBED))
    sizes = batches_to_try(config, processes) if sizes is None else sizes
    for size in sizes:
        tried = with_batch(config, size)
        try:
            with explain_memory(training_advice(tried)), _headroom(device):
                train_twice(dataclasses.replace(task, config=tried), sample, size // processes, device)
            return tried
        except OutOfMemory as error:
            failure = OutOfMemory(str(error))  # without the traceback, which holds what did not fit
        finally:
            task.model.zero_grad(set_to_none=True)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if not sizes:
        raise SettingError(f"train.batch_size {config.train.batch_size} does not divide over {processes} processes")
    raise failure


def train_twice(task: Task, sample: Sample, size: int, device: torch.device) -> None:
    """Makes two optimizer steps on ``size`` copies of a sample: from the second on everything is allocated.

    Where batches share an update, two of them stand for all: gradients wait while the second one passes.
    """
    batch = collate([(sample, [], None)] * size)
    shared = min(task.config.train.gradient_accumulation_steps, 2)
    train = dataclasses.replace(task.config.train, gradient_accumulation_steps=shared, compile=False)
    step = TrainStep(dataclasses.replace(task, config=dataclasses.replace(task.config, train=train)), 2 * shared, device)
    for _ in range(2 * shared):
        step(normalize(batch.images.to(device)), [target.to(device) for target in batch.targets])


@contextlib.contextmanager
def _headroom(device: torch.device) -> Iterator[None]:
    """Lets this process take a share of a GPU's memory only."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(HEADROOM["cuda"], device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
