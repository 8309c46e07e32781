"""What a training will need, memory and time, measured on one image before it starts.

The memory of a step grows with its batch by what the backward pass keeps of one image, which is counted while one image
passes; it was within 15 % of the measured growth for nano to m at 320 and 640 pixels.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey, Source, collate
from rtmdet_lab.engine.console import minutes
from rtmdet_lab.engine.memory import require_memory_for_classes
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.transforms.base import Sample
from rtmdet_lab.transforms.normalize import normalize

GIB = 2**30
WORKER = 300 * 2**20  # bytes of a loader process: Python, its share of the libraries, cached images
WAITING = 3  # batches per loader process that are drawn, waiting or in use
SPARE = 1.15  # what a step takes over what is counted
STATES = 5  # weights, gradients, two moments of the optimizer, averaged weights
VALIDATION = 0.35  # time of an image that is validated over that of one that is learned
PROBED = 4  # samples that are loaded; the one with the most objects is learned


@dataclass(frozen=True)
class Forecast:
    """What one image costs on a device, and what the model costs however many there are."""

    device: str
    fixed: int  # bytes
    per_image: int  # bytes of an image of a batch
    learn_s: float  # of one image, forward and backward
    load_s: float  # of one image, in one process

    def memory(self, config: ExperimentConfig) -> int:
        """Returns the bytes a training of this config takes on the device; its train settings must be resolved."""
        train, side = config.train, config.augment.input_size
        loading = train.workers * WORKER + train.batch_size * 3 * side**2 * (1 + WAITING * train.workers)
        return self.fixed + train.batch_size * self.per_image + (loading if self.device == "cpu" else 0)

    def seconds(self, config: ExperimentConfig, images: int, val_images: int) -> float:
        """Returns the time of a whole training on ``images``, with its validations; the config must be resolved."""
        train = config.train
        learned = train.epochs * images * config.data.repeat
        load_s = self.load_s / max(train.workers, 1)
        each = max(self.learn_s, load_s) if train.workers else self.learn_s + load_s
        validations = train.epochs / (train.val_interval or 10) + train.weak_epochs
        return learned * each + validations * val_images * VALIDATION * each

    def sentence(self, config: ExperimentConfig, images: int, val_images: int, available: int) -> str:
        """Returns memory and time of the training in words."""
        where = "GPU memory" if self.device == "cuda" else "memory"
        needed = f"about {self.memory(config) / GIB:.1f} GB of {where}, {available / GIB:.1f} GB are free"
        time_needed = f"about {minutes(self.seconds(config, images, val_images))} on this machine"
        train = config.train
        return f"estimate: {needed}; {time_needed} for {train.epochs} epochs of {images * config.data.repeat} images"


def measure(config: ExperimentConfig, source: Source, device: torch.device) -> Forecast:
    """Returns what a training of ``config`` on ``source`` costs, after learning one of its images twice.

    The network is drawn anew, whatever weights the run starts from. ``config`` must be resolved and have the set's classes.

    Raises:
        DataError: images that cannot be read.
        OutOfMemory: the scores of one image alone do not fit.
    """
    random = torch.get_rng_state()
    try:
        return _measure(config, source, device)
    finally:
        torch.set_rng_state(random)


def first_samples(config: ExperimentConfig, source: Source, most: int) -> list[Sample]:
    """Returns the first training samples of a run, at most so many, decoded anew.

    Raises:
        DataError: images that cannot be read.
    """
    stage = plan_stages(config, source)[0]
    dataset = PipelineDataset(stage.source, stage.pipeline, training=True, seed=config.seed, on_bad=config.data.on_bad)
    samples = []
    for position in range(min(most, len(source))):
        sample, _, failure = dataset[SampleKey(0, position, position)]
        if failure:
            raise DataError(failure)
        samples.append(sample)
    return samples


def fullest(samples: Sequence[Sample]) -> Sample:
    """Returns the sample with the most objects: assigning labels needs memory for each."""
    return max(samples, key=lambda sample: len(sample[1]["labels"]))


def _measure(config: ExperimentConfig, source: Source, device: torch.device) -> Forecast:
    begin = time.monotonic()
    samples = first_samples(config, source, PROBED)
    load_s = (time.monotonic() - begin) / len(samples)
    batch = collate([(fullest(samples), [], None)])

    require_memory_for_classes(config.model.num_classes, 1, config.augment.input_size, device)
    task = build_task(config)
    # Its average and optimizer are not needed, and a batch of one has no norm statistics where the map is one cell.
    plain = dataclasses.replace(config.train, ema=False, compile=False, norm_eval=True)
    task.config = dataclasses.replace(task.config, train=plain)
    step = TrainStep(task, batches=1, device=device)
    images, targets = normalize(batch.images.to(device)), [target.to(device) for target in batch.targets]
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    for _ in range(2):  # the first step also prepares what the second one is timed without
        saved.clear()
        begin = time.monotonic()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            losses = step.forward(images, targets)
        step.backward(losses)
        if device.type == "cuda":
            torch.cuda.synchronize()
        learn_s = time.monotonic() - begin
    model = step.state.model
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    per_image = sum(size for place, size in saved.items() if place not in own)
    return Forecast(device.type, STATES * weights, int(SPARE * per_image), learn_s, load_s)


def free_memory(device: torch.device) -> int:
    """Returns the bytes that can still be taken on a device, as the system says or its container allows."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = [_of_machine()]
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            free.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return max(min(free), 0)


def _of_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
