"""Running a model over a validation set: loader, autocast, and the evaluator's result gathered from all processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import gather_objects, max_over_processes, rank, world_size
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.half_precision import autocast
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta, Targets
from rtmdet_lab.data.loaders import Batch, PipelineDataset, Source, TestSampler, batches_of, make_loader
from rtmdet_lab.engine.console import OnlyNotes, Reporter
from rtmdet_lab.engine.memory import explain_memory, validation_advice
from rtmdet_lab.tasks.base import Evaluator, Task
from rtmdet_lab.tasks.factory import spec_of
from rtmdet_lab.tasks.test_time import detect, has_views
from rtmdet_lab.transforms.normalize import normalize


def make_val_loader(source: Source, config: ExperimentConfig, device: torch.device) -> DataLoader:
    """Returns the loader of a validation set under the test pipeline; ``config`` must be resolved.

    Images of which several views are needed come one by one, as they are.
    """
    test, workers = config.test, config.train.workers
    views = has_views(test)
    pipeline = v2.Identity() if views else spec_of(config.task).test_pipeline(test.input_size)
    dataset = PipelineDataset(source, pipeline, training=False, on_bad=config.data.on_bad)
    sampler = TestSampler(len(source), 1 if views else test.batch_size, rank(), world_size())
    if test.tile is not None:
        workers = 0  # a large image travels from another process in shared memory, of which there may be little
    return make_loader(dataset, sampler, workers, device.type == "cuda" and not views)


def evaluate(
    task: Task, source: Source, *, device: torch.device | str = "cpu", reporter: Reporter | None = None
) -> Evaluator:
    """Returns the evaluator of ``task`` after it has seen every image of ``source``."""
    device = torch.device(device)
    loader = make_val_loader(source, task.config, device)
    task.model.to(device)
    return run_evaluation(task, loader, device, task.model, reporter or OnlyNotes())


@torch.inference_mode()
def run_evaluation(
    task: Task,
    loader: DataLoader,
    device: torch.device,
    model: nn.Module,
    reporter: Reporter,
    cancelled: Callable[[], bool] = lambda: False,
) -> Evaluator | None:
    """Returns the filled evaluator; with several processes, every one gets the images of all. None if any was cancelled."""
    model.eval()
    evaluator = task.new_evaluator()
    number, stopped = 0, False
    with explain_memory(validation_advice(task.config)):
        for number, (detections, targets) in enumerate(_detected(task, loader, device, model, reporter), start=1):
            stopped = cancelled()
            if stopped:
                break
            evaluator.add(detections, targets)
            reporter.validating(number, len(loader))
    if world_size() > 1:
        states = gather_objects(None if stopped else evaluator.state())
        if None in states:
            return None
        evaluator.merge(states)
    elif stopped:
        return None
    if max_over_processes(number) == 0:
        raise DataError(f"no image of {loader.dataset.source.title} can be read: nothing to score")
    return evaluator


def _detected(
    task: Task, loader: DataLoader, device: torch.device, model: nn.Module, reporter: Reporter
) -> Iterator[tuple[list[Detections], list[Targets]]]:
    """Yields detections and ground truth of one batch after the other, on the CPU."""
    config = task.config.train

    def forward(images: Tensor) -> DensePredictions:
        if config.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with autocast(device, config.amp if device.type == "cuda" else "off"):
            return model(images)

    if not has_views(task.config.test):
        for images, targets in iter_batches(loader, device, reporter):
            detections = task.decode(forward(images), [target.meta for target in targets])
            yield [of_image.to("cpu") for of_image in detections], [target.to("cpu") for target in targets]
        return

    truth: deque[Targets] = deque()

    def samples() -> Iterator[tuple[Tensor, ImageMeta]]:
        for batch in _usable(loader, reporter):
            truth.append(batch.targets[0])
            yield batch.images[0], batch.targets[0].meta

    def forward_bytes(images: Tensor) -> DensePredictions:
        return forward(normalize(images.to(device)))

    for of_image in detect(forward_bytes, task.decode, samples(), task.name, task.config.test):
        yield [of_image], [truth.popleft()]


def iter_batches(loader: DataLoader, device: torch.device, reporter: Reporter) -> Iterator[tuple[Tensor, list[Any]]]:
    """Yields normalised images and targets on the device; reports skipped images and stops at refused ones."""
    for batch in _usable(loader, reporter):
        images = normalize(batch.images.to(device, non_blocking=True))
        yield images, [target.to(device, non_blocking=True) for target in batch.targets]


def _usable(loader: DataLoader, reporter: Reporter) -> Iterator[Batch]:
    """Yields the batches that hold an image."""
    batch: Batch
    for batch in batches_of(loader):
        if batch.failure:
            raise DataError(batch.failure)
        for note in batch.notes:
            reporter.note(f"skipped: {note}")
        if batch.targets:
            yield batch
