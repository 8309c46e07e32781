"""How long networks take, image by image, in turns: what a noisy machine does to one it does to all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtmdet_lab.core.errors import SettingError


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each image, in order; ``ratio``: median of the ratios to the first candidate, image by image."""

    name: str
    milliseconds: tuple[float, ...]
    ratio: float

    def percentile(self, percent: float) -> float:
        """Returns the time below which ``percent`` of the images stay, in milliseconds."""
        return float(np.percentile(self.milliseconds, percent))


def time_in_turns(
    candidates: Mapping[str, Callable[[np.ndarray], object]],
    canvases: Sequence[np.ndarray],
    rounds: int = 1,
    warmup: int = 3,
) -> list[Timing]:
    """Returns the timings of ``candidates``, each given every canvas (B, 3, H, W) uint8 RGB right after the others.

    Args:
        rounds: how often all canvases are shown.
        warmup: canvases shown to each before, uncounted.

    Raises:
        SettingError: nothing to time.
    """
    if not candidates or not canvases or rounds < 1:
        raise SettingError("timing needs at least one network, one image and one round")
    for run in candidates.values():
        for number in range(warmup):
            run(canvases[number % len(canvases)])
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for canvas in [*canvases] * rounds:
        for name, run in candidates.items():
            start = time.perf_counter()
            run(canvas)
            times[name].append(1000 * (time.perf_counter() - start))
    first = np.array(next(iter(times.values())))
    return [Timing(name, tuple(own), float(np.median(np.array(own) / first))) for name, own in times.items()]
