"""One training sample on its way through a pipeline: what each step draws, makes, keeps in its cache and costs.

Samples are those a training without loader processes would draw: the same order, seeds, caches and redrawn images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torchvision.transforms import v2

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.data.loaders import MAX_REDRAWS, Source, TrainSampler, load_for, mixing_steps, sample_seed
from rtmdet_lab.transforms.base import EmptyCrop, Sample, noted
from rtmdet_lab.transforms.mixing import Mixing
from rtmdet_lab.transforms.partners import CachedPartners

LOAD = "Load"  # name of the step that reads the image


@dataclass(frozen=True)
class Step:
    """What one step did to one sample."""

    name: str  # of the transform's class, or LOAD
    drawn: dict[str, Any]  # random choices by name; a step that tells none has none
    sample: Sample | None  # after it; None where the crop was rejected, and another image is loaded next
    milliseconds: float
    cache: tuple[Sample, ...] | None = None  # partners it keeps, the newest last; None where it keeps none
    capacity: int = 0  # of that cache


@dataclass
class Tracer:
    """Plays the samples of one epoch and shows the steps of any of them.

    Caches depend on all earlier samples, so those are played first; what the caches held is remembered.
    """

    pipeline: v2.Transform
    source: Source
    seed: int = 0
    epoch: int = 0
    _before: list[list[list[Sample]]] = field(default_factory=list, init=False)  # caches before each position
    _traces: dict[int, list[Step]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        sampler = TrainSampler(len(self.source), 1, self.seed)
        sampler.epoch = self.epoch
        self._order = [key.index for keys in sampler for key in keys]
        for step in mixing_steps(self.pipeline):
            step.start_epoch()
        self._remember()

    def steps(self, position: int) -> list[Step]:
        """Returns the steps of the epoch's sample number ``position``.

        Raises:
            SettingError: a position that is not in the epoch.
            DataError: an image that cannot be read, or no crop with an object in a thousand images.
        """
        if not 0 <= position < len(self._order):
            raise SettingError(f"sample is {position}, but must be from 0 to {len(self._order) - 1}")
        while position not in self._traces:
            self._play(min(len(self._before) - 1, position))
        return self._traces[position]

    def _remember(self) -> None:
        self._before.append([list(one.samples) for one in self._caches()])

    def _caches(self) -> list[CachedPartners]:
        partners = (step.partners for step in mixing_steps(self.pipeline))
        return [one for one in partners if isinstance(one, CachedPartners)]

    def _play(self, position: int) -> None:
        for cache, samples in zip(self._caches(), self._before[position], strict=True):
            cache.samples = list(samples)
        state = torch.get_rng_state()
        torch.default_generator.manual_seed(sample_seed(self.seed, self.epoch, position))
        try:
            self._traces[position] = list(self._run(self._order[position]))
        finally:
            torch.set_rng_state(state)
        if position == len(self._before) - 1:
            self._remember()

    def _run(self, index: int) -> Iterator[Step]:
        for _ in range(MAX_REDRAWS):
            begin = time.perf_counter()
            sample = load_for(self.pipeline, self.source, index)
            yield Step(LOAD, {"image": index}, sample, _since(begin))
            for transform in flat(self.pipeline):
                with noted() as drawn:
                    begin = time.perf_counter()
                    try:
                        sample = transform(*sample)
                    except EmptyCrop:
                        sample = None
                    spent = _since(begin)
                yield Step(type(transform).__name__, drawn, sample, spent, *_cache_of(transform))
                if sample is None:
                    break
            if sample is not None:
                return
            index = int(torch.randint(len(self.source), ()))
        raise DataError(f"no crop of {MAX_REDRAWS} images of {self.source.title} has an object")


def flat(pipeline: v2.Transform) -> list[v2.Transform]:
    """Returns the steps of a pipeline in order, those of compositions inside it one by one."""
    if not isinstance(pipeline, v2.Compose):
        return [pipeline]
    return [step for part in pipeline.transforms for step in flat(part)]


def _since(begin: float) -> float:
    return 1000 * (time.perf_counter() - begin)


def _cache_of(transform: v2.Transform) -> tuple[tuple[Sample, ...] | None, int]:
    if isinstance(transform, Mixing) and isinstance(transform.partners, CachedPartners):
        return tuple(transform.partners.samples), transform.partners.max_size
    return None, 0
