"""Where mosaic and mixup take their other images from: a cache of recent ones, or fresh reads (paper 3.4).

A cache lives in one loader worker and is emptied at the start of every epoch, so that an epoch is a function of its number
alone and a resumed run repeats it exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rtmdet_lab.transforms.base import Sample, integer


class PartnerSource(Protocol):
    def remember(self, sample: Sample) -> None:
        """Is shown every sample that passes, before any partner is drawn for it."""
        ...

    def draw(self, count: int) -> list[Sample]:
        """Returns ``count`` partners, or none at all if there are not enough yet."""
        ...

    def will_draw(self) -> bool:
        """Whether there will be partners once the next sample is remembered."""
        ...

    def start_epoch(self) -> None: ...


# How many samples there are -> which one leaves.
_LEAVING: dict[str, Callable[[int], int]] = {"random": integer, "oldest": lambda count: 0}


class CachedPartners:
    """Keeps the last samples it was shown and draws from them, with replacement.

    Args:
        max_size: samples kept; one leaves when it is exceeded.
        cache_eviction: which one leaves: "random" or "oldest".
        min_size: no partners are drawn while fewer are kept (published: 5 for mosaic, 2 for mixup).
    """

    def __init__(self, max_size: int, cache_eviction: str = "random", min_size: int = 2) -> None:
        self.max_size = max_size
        self.cache_eviction = cache_eviction
        self.min_size = min_size
        self.samples: list[Sample] = []

    def remember(self, sample: Sample) -> None:
        # No copy is kept: transforms never change their input.
        self.samples.append(sample)
        if len(self.samples) > self.max_size:
            # The newest may leave again at once, as published: the index is drawn over the whole list.
            self.samples.pop(_LEAVING[self.cache_eviction](len(self.samples)))

    def draw(self, count: int) -> list[Sample]:
        if len(self.samples) < self.min_size:
            return []
        return [self.samples[integer(len(self.samples))] for _ in range(count)]

    def will_draw(self) -> bool:
        return min(len(self.samples) + 1, self.max_size) >= self.min_size

    def start_epoch(self) -> None:
        self.samples.clear()


class DatasetPartners:
    """Reads fresh samples: the uncached baseline. ``load`` maps an index below ``length`` to a sample."""

    def __init__(self, load: Callable[[int], Sample], length: int) -> None:
        self.load = load
        self.length = length

    def remember(self, sample: Sample) -> None:
        pass

    def draw(self, count: int) -> list[Sample]:
        return [self.load(integer(self.length)) for _ in range(count)]

    def will_draw(self) -> bool:
        return True

    def start_epoch(self) -> None:
        pass
