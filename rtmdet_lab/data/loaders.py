"""From a data set and a pipeline to batches: worker processes, seeds, order, and what happens to bad images.

Every sample's randomness is seeded by (seed, epoch, position), and caches start empty with each epoch, so an epoch is a
function of its number: a resumed run draws exactly what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import itertools
import signal
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from rtmdet_lab.core.children import Watch, begin_child
from rtmdet_lab.core.errors import DataError, StorageError, UserError
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.data.handover import Lost, Outbox, Parcel
from rtmdet_lab.transforms.base import EmptyCrop, Sample, plain_boxes
from rtmdet_lab.transforms.mixing import Mixing

PREFETCH = 2  # batches that each loader process is ahead
MAX_REDRAWS = 1000  # a pipeline that rejects this many samples in a row will reject all


class LoaderError(UserError, RuntimeError):
    """A loader process was killed, stood still or broke."""


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

    Every batch is full: the last one is completed from the start of the order, and one that is larger than the epoch holds
    images several times (``repeats``). Of each global batch, process ``rank``
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

    @property
    def repeats(self) -> str | None:
        """Returns in words that a batch holds images more than once, or None."""
        images = self.length * self.repeat
        if self.batch_size <= images:
            return None
        return (
            f"a batch of {self.batch_size} is more than the {images} images of an epoch: {self.batch_size - images} of its "
            "places repeat images; lower train.batch_size, or raise data.repeat"
        )

    def __iter__(self) -> Iterator[list[SampleKey]]:
        order, share = self._order(), self.batch_size // self.world_size
        for batch in range(len(self)):
            indices = list(itertools.islice(order, self.batch_size))
            places = range(self.rank * share, (self.rank + 1) * share)
            yield [SampleKey(self.epoch, batch * self.batch_size + place, indices[place]) for place in places]

    def _order(self) -> Iterator[int]:
        """Yields the epoch's images and then those from its start again; only what is asked for is drawn."""
        while True:
            generator = torch.Generator().manual_seed(sample_seed(self.seed, self.epoch, -1))
            for _ in range(self.repeat):
                yield from torch.randperm(self.length, generator=generator).tolist()


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
        collate_fn=_HandOver() if workers else collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=_init_worker,
        generator=torch.Generator(),  # its own: an iterator must not draw from the run's generator
    )


class _HandOver:
    """Collates in a loader process, and hands the batch over outside ``/dev/shm`` (:mod:`rtmdet_lab.data.handover`)."""

    def __init__(self) -> None:
        self.outbox = Outbox(PREFETCH + 1)  # those a process has been asked for, and one that is just received

    def __call__(self, samples: Sequence[tuple[Sample | None, list[str], str | None]]) -> Parcel | Lost:
        try:
            return self.outbox.send(collate(samples))
        except OSError as error:
            return Lost(error.strerror)


def batches_of(loader: DataLoader) -> Iterator[Batch]:
    """Yields a loader's batches.

    Raises:
        LoaderError: a process of the loader cannot be started, was killed, or stood still (:class:`Watch`).
    """
    if not loader.num_workers:
        yield from loader
        return
    done = False
    try:
        begun = bool(_processes(loader))
        iterator = None if begun else _begin(loader)  # forks: before the watch has its thread
        with Watch(lambda: [process.pid for process in _processes(loader)], idle_runs=True) as watch:
            while True:
                try:
                    with watch.waiting():
                        iterator = iterator or iter(loader)
                        batch = next(iterator, None)
                except (RuntimeError, AssertionError) as error:
                    if not watch.still and not str(error).startswith(("DataLoader worker", "Pin memory thread")):
                        raise
                    raise _gone(loader, watch) from error
                if isinstance(batch, Lost):
                    if not all(process.is_alive() for process in _processes(loader)):
                        raise _gone(loader, watch)
                    raise LoaderError(f"a loader process cannot hand over its batch ({batch.reason}): lower train.workers")
                if batch is None:
                    done = True
                    return
                yield batch
    finally:
        if not done:
            end_processes(loader)  # what they still have under way would be waited for


def _gone(loader: DataLoader, watch: Watch) -> LoaderError:
    killed = f"one of {loader.num_workers} loader processes has ended, as where memory runs out"
    return LoaderError(
        f"{f'loader {watch.sentence}' if watch.still else killed}: continue with --resume, where it comes again with lower "
        "train.workers or augment.mosaic_cache"
    )


def _begin(loader: DataLoader) -> Iterator[Batch]:
    """Returns the loader's iterator with its processes begun."""
    before = signal.getsignal(signal.SIGCHLD)
    try:
        iterator = iter(loader)
        # When nobody uses them any more, or the program ends, they are asked and waited for; a stopped one never answers.
        Finalize(iterator, _kill, (_processes(loader),), exitpriority=10)
        return iterator
    except OSError as error:
        raise LoaderError(
            f"cannot start {loader.num_workers} loader processes ({error.strerror}): lower train.workers"
        ) from error
    finally:
        # PyTorch's handler raises, wherever the code is, when a loader process ends. Whoever waits for a batch notices, too.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)


def _init_worker(_: int) -> None:
    begin_child()
    cv2.setNumThreads(0)  # one worker is one thread: more would fight over the cores


def _processes(loader: DataLoader) -> list[Any]:
    return list(getattr(getattr(loader, "_iterator", None), "_workers", ()))


def end_processes(loader: DataLoader) -> None:
    """Kills the processes of a loader that is not used any more, or begins again with others."""
    _kill(_processes(loader))
    if loader.num_workers:
        loader._iterator = None


def _kill(processes: Sequence[Any]) -> None:
    for process in processes:
        process.kill()
