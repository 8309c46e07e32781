"""From a data set and a pipeline to batches: worker processes, seeds, order, and what happens to bad images.

Every sample's randomness is seeded by (seed, epoch, position), and caches start empty with each epoch, so an epoch is a
function of its number: a resumed run draws exactly what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import signal
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from rtmdet_lab.errors import DataError, StorageError, UserError
from rtmdet_lab.structures import Targets
from rtmdet_lab.transforms.base import EmptyCrop, Sample, plain_boxes
from rtmdet_lab.transforms.mixing import Mixing

MAX_REDRAWS = 1000  # a pipeline that rejects this many samples in a row will reject all


class LoaderError(UserError, RuntimeError):
    """A loader process was killed or broke."""


class Source(Protocol):
    """A data set as the loader sees it."""

    classes: tuple[str, ...]
    title: str

    def __len__(self) -> int: ...
    def load(self, index: int) -> Sample: ...


class SampleKey(NamedTuple):
    epoch: int
    position: int  # in the epoch's order, over all processes
    index: int  # in the data set


@dataclass
class Batch:
    """Images as bytes and their ground truth; normalisation happens on the device."""

    images: Tensor  # (B, 3, H, W) uint8 RGB
    targets: list[Targets]
    notes: list[str] = field(default_factory=list)  # bad images that were skipped
    failure: str | None = None  # a bad image that must stop the run

    def pin_memory(self) -> Batch:
        self.images = self.images.pin_memory()
        return self


class PipelineDataset(Dataset):
    """Samples of ``source`` after ``pipeline``, addressed by :class:`SampleKey`.

    Args:
        training: replace a sample that was rejected (empty crop, bad image to skip) by another one. Otherwise such a
            sample is left out of its batch, and the ground truth stays in the pixels of the file, where it is scored.
        on_bad: "refuse" or "skip" damaged images.
    """

    def __init__(
        self, source: Source, pipeline: v2.Transform, *, training: bool, seed: int = 0, on_bad: str = "refuse"
    ) -> None:
        self.source = source
        self.pipeline = pipeline
        self.training = training
        self.seed = seed
        self.on_bad = on_bad
        self._epoch = -1

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[Sample | None, list[str], str | None]:
        """Returns (sample, notes, failure): a message instead of an exception, which a worker could not raise cleanly."""
        if key.epoch != self._epoch:
            self._epoch = key.epoch
            for step in mixing_steps(self.pipeline):
                step.start_epoch()
        state = torch.get_rng_state()
        # default_generator, not manual_seed: the latter queues a call for CUDA each time, which adds up in a worker.
        torch.default_generator.manual_seed(sample_seed(self.seed, key.epoch, key.position))
        try:
            return self._draw(key.index)
        finally:
            torch.set_rng_state(state)

    def _draw(self, index: int) -> tuple[Sample | None, list[str], str | None]:
        notes: list[str] = []
        for _ in range(MAX_REDRAWS):
            try:
                image, target = load_for(self.pipeline, self.source, index)
                image, moved = self.pipeline(image, target)
                return (image, moved if self.training else dict(target, meta=moved["meta"])), notes, None
            except EmptyCrop:
                pass
            except DataError as error:
                if self.on_bad == "refuse":
                    return None, notes, f"{error}; leave such images out with data.on_bad=skip (--on-bad skip)"
                notes.append(str(error))
            except StorageError as error:  # the disk is away, not this image: skipping would skip them all
                return None, notes, str(error)
            if not self.training:
                return None, notes, None
            index = int(torch.randint(len(self.source), ()))
        if len(notes) == MAX_REDRAWS:
            return None, [], f"{MAX_REDRAWS} images drawn in a row cannot be used, the last one because {notes[-1]}"
        return None, notes, f"the pipeline rejected {MAX_REDRAWS} samples in a row: no crop of these images has an object"


def load_for(pipeline: v2.Transform, source: Source, index: int) -> Sample:
    """Returns image number ``index`` and its target as ``pipeline`` is to be given them next."""
    # The few images that a mosaic leaves alone are shown larger than a reduced one may be.
    if _reduces(source) and any(step.stays_alone() for step in mixing_steps(pipeline)):
        return source.load(index, whole=True)
    return source.load(index)


def _reduces(source: Source) -> bool:
    reading = getattr(source, "reading", None)
    return reading is not None and reading.side is not None


def mixing_steps(pipeline: v2.Transform) -> Iterator[Mixing]:
    """Yields the transforms of a pipeline that keep other images, also inside nested compositions."""
    if isinstance(pipeline, Mixing):
        yield pipeline
    # v2's containers (Compose, RandomApply, RandomChoice, ...) keep their steps in a plain list: children() is blind to it.
    for step in (*pipeline.children(), *getattr(pipeline, "transforms", ())):
        yield from mixing_steps(step)


def sample_seed(seed: int, epoch: int, position: int) -> int:
    """Returns the seed of one sample, 32 bits (torch's generator reads no more)."""
    return zlib.crc32(struct.pack("<qqq", seed, epoch, position))


def collate(samples: Sequence[tuple[Sample | None, list[str], str | None]]) -> Batch:
    """Returns a batch of samples whose images have one size; missing samples are left out."""
    pairs = [sample for sample, _, _ in samples if sample is not None]
    notes = [note for _, some, _ in samples for note in some]
    failures = [failure for _, _, failure in samples if failure]
    # Stacked as (B, H, W, 3), the layout the transforms leave and channels-last networks want: no transposing copy.
    rows = [image.as_subclass(Tensor).permute(1, 2, 0) for image, _ in pairs]
    images = torch.stack(rows).permute(0, 3, 1, 2) if rows else torch.empty(0, 3, 0, 0)
    targets = [to_targets(target) for _, target in pairs]
    return Batch(images, targets, notes, failures[0] if failures else None)


def to_targets(target: dict) -> Targets:
    """Returns the ground truth of a sample as plain tensors."""
    optional = {name: target.get(name) for name in ("masks", "centers", "ignore", "areas")}
    return Targets(plain_boxes(target), target["labels"], meta=target["meta"], **optional)


class TrainSampler(Sampler[list[SampleKey]]):
    """Shuffled batches of one process; the order is a function of seed and epoch.

    Every batch is full: the last one is completed from the start of the order. Of each global batch, process ``rank``
    takes its share, so the union over processes is the order of a single one.
    """

    def __init__(
        self, length: int, batch_size: int, seed: int = 0, repeat: int = 1, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size % world_size:
            raise DataError(f"train.batch_size {batch_size} does not divide over {world_size} processes")
        self.length, self.repeat, self.seed = length, repeat, seed
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.length * self.repeat // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        generator = torch.Generator().manual_seed(sample_seed(self.seed, self.epoch, -1))
        order = torch.cat([torch.randperm(self.length, generator=generator) for _ in range(self.repeat)]).tolist()
        share = self.batch_size // self.world_size
        for batch in range(len(self)):
            first = batch * self.batch_size + self.rank * share
            positions = range(first, first + share)
            yield [SampleKey(self.epoch, position, order[position % len(order)]) for position in positions]


class TestSampler(Sampler[list[SampleKey]]):
    """Every image once, in order; with several processes each takes every ``world_size``-th, none twice."""

    __test__ = False  # not a pytest class

    def __init__(self, length: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.indices = range(rank, length, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for start in range(0, len(self.indices), self.batch_size):
            yield [SampleKey(0, index, index) for index in self.indices[start : start + self.batch_size]]


def make_loader(dataset: PipelineDataset, sampler: Sampler, workers: int, pin_memory: bool = False) -> DataLoader:
    """Returns a loader whose batches come in the sampler's order; workers stay alive between epochs."""
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_init_worker,
        generator=torch.Generator(),  # its own: an iterator must not draw from the run's generator
    )


def batches_of(loader: DataLoader) -> Iterator[Batch]:
    """Yields a loader's batches; raises LoaderError when one of its processes is gone."""
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise LoaderError(
            f"one of {loader.num_workers} loader processes has ended ({str(error).strip().rstrip('.')}), as where memory "
            "runs out: continue with --resume, where it comes again with lower train.workers or augment.mosaic_cache"
        ) from error


def _init_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides and ends us
    cv2.setNumThreads(0)  # one worker is one thread: more would fight over the cores


def end_processes(loader: DataLoader) -> None:
    """Kills the processes of a loader that is not used any more."""
    for process in getattr(getattr(loader, "_iterator", None), "_workers", ()):
        process.kill()
