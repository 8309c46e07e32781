"""Finds the batch that a GPU's memory holds, and keeps the effective one with more batches per optimizer step.

The learning rate follows the effective batch, so it stays, too. Batch norm sees the smaller batches: a run with another
split of the same effective batch is a similar one, not the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from rtmdet_lab.config import ExperimentConfig
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey, Source, collate
from rtmdet_lab.distributed import world_size
from rtmdet_lab.errors import DataError, SettingError
from rtmdet_lab.experiment import choose_device, open_data, prepare
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.training.ema import ModelEMA
from rtmdet_lab.training.evaluate import autocast
from rtmdet_lab.training.memory import OutOfMemory, explain_memory, training_advice
from rtmdet_lab.training.optim import build_optimizer
from rtmdet_lab.training.stages import plan_stages
from rtmdet_lab.training.state import saved_config
from rtmdet_lab.transforms.base import Sample
from rtmdet_lab.transforms.normalize import normalize

HEADROOM = 0.9  # share of the memory a batch may take: fragments and other programs need some
LOOKED_AT = 64  # samples, of which the one with the most objects fills the batch


def fitting_config(
    config: ExperimentConfig, out_dir: Path, device: str = "auto", processes: int = 1, note: Callable[[str], None] = print
) -> ExperimentConfig:
    """Returns ``config`` with the largest batch that fits, and ``train.accumulate`` such that their product stays.

    A run in ``out_dir`` that is to be continued keeps the batch it has.

    Args:
        processes: among which each batch is divided, one GPU each.
        note: told in a sentence what was chosen.

    Raises:
        SettingError: there is no GPU to measure.
        OutOfMemory: not even one image per process fits.
    """
    effective = config.train.batch_size * config.train.accumulate
    saved = saved_config(out_dir)
    if saved is not None and saved.train.batch_size * saved.train.accumulate == effective:
        return with_batch(config, saved.train.batch_size)
    if world_size() > 1:
        raise SettingError("--auto-batch cannot be used under torchrun: set train.batch_size yourself")
    chosen = choose_device(device)
    if chosen.type != "cuda":
        raise SettingError("--auto-batch measures a GPU's memory, and there is none here: choose train.batch_size yourself")
    train, _ = open_data(config)
    task, _ = prepare(config, train.classes)
    found = find_batch(task, train, chosen, processes)
    note(f"batches of {found.train.batch_size} images fit, {found.train.accumulate} of them per optimizer step")
    return with_batch(config, found.train.batch_size)


def with_batch(config: ExperimentConfig, batch: int) -> ExperimentConfig:
    """Returns ``config`` with batches of ``batch`` images and the same number of images per optimizer step."""
    accumulate = config.train.batch_size * config.train.accumulate // batch
    return dataclasses.replace(config, train=dataclasses.replace(config.train, batch_size=batch, accumulate=accumulate))


def batches_to_try(config: ExperimentConfig, processes: int = 1) -> list[int]:
    """Returns the batch sizes, largest first, that divide the effective one and divide among the processes."""
    effective = config.train.batch_size * config.train.accumulate
    sizes = range(config.train.batch_size, 0, -1)
    return [size for size in sizes if effective % size == 0 and size % processes == 0]


def find_batch(task: Task, source: Source, device: torch.device, processes: int = 1) -> ExperimentConfig:
    """Returns the task's config with the largest batch of which two training steps fit; spoils the task's weights.

    Raises:
        OutOfMemory: not even one image per process fits.
    """
    config = task.config
    task.model.to(device)
    if config.train.channels_last:
        task.model.to(memory_format=torch.channels_last)
    sample = fullest_sample(task, source)
    for size in batches_to_try(config, processes):
        tried = with_batch(config, size)
        try:
            with explain_memory(training_advice(tried)), _headroom(device):
                train_twice(task, sample, size // processes, device)
            return tried
        except OutOfMemory as error:
            failure = OutOfMemory(str(error))  # without the traceback, which holds what did not fit
        finally:
            task.model.zero_grad(set_to_none=True)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if not batches_to_try(config, processes):
        raise SettingError(f"train.batch_size {config.train.batch_size} does not divide over {processes} processes")
    raise failure


def fullest_sample(task: Task, source: Source) -> Sample:
    """Returns the training sample with the most objects of the first ones: assigning labels needs memory for each."""
    config = task.config
    stage = plan_stages(config, source)[0]
    dataset = PipelineDataset(stage.source, stage.pipeline, training=True, seed=config.seed, on_bad=config.data.on_bad)
    samples = []
    for position in range(min(LOOKED_AT, len(source))):
        sample, _, failure = dataset[SampleKey(0, position, position)]
        if failure:
            raise DataError(failure)
        samples.append(sample)
    return max(samples, key=lambda one: len(one[1]["labels"]))


def train_twice(task: Task, sample: Sample, size: int, device: torch.device) -> None:
    """Makes two optimizer steps on ``size`` copies of a sample: from the second on everything is allocated."""
    train = task.config.train
    batch = collate([(sample, [], None)] * size)
    optimizer, scaler = build_optimizer(task.model, train), torch.amp.GradScaler(device.type, enabled=train.amp == "fp16")
    average = ModelEMA(task.model, train.ema_momentum, train.ema_gamma) if train.ema else None
    task.model.train()
    for _ in range(2):
        images = normalize(batch.images.to(device))
        if train.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(device, train.amp):
            predictions = task.model(images)
        losses = task.criterion(predictions, [target.to(device) for target in batch.targets])
        scaler.scale(torch.stack(list(losses.values())).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if average is not None:
            average.update(task.model)


@contextlib.contextmanager
def _headroom(device: torch.device) -> Iterator[None]:
    """Lets this process take a share of a GPU's memory only."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_per_process_memory_fraction(HEADROOM, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
