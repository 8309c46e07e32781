"""Where the time of a forward pass goes: stem, stages, neck and head, on a CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.analysis.model_summary import PARTS, parts_of
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.models.detector import RTMDet


@dataclass(frozen=True)
class Latency:
    """Medians over ``runs`` passes, milliseconds. The parts of one pass add up to it, their medians nearly so."""

    parts_ms: dict[str, float]
    total_ms: float
    runs: int
    device: str
    threads: int  # of PyTorch, where the device is a CPU


def measure_latency(
    model: RTMDet, input_size: int = 640, runs: int = 10, warmup: int = 2, batch_size: int = 1, device: str | None = None
) -> Latency:
    """Returns the median time of a forward pass and of its parts, in eval mode, without post-processing.

    Published latencies are of fused networks: pass ``fuse(model)`` for those.

    Args:
        input_size: pixels, square.
        runs, warmup: passes that are counted, and passes before them that are not.
        device: where to run; None: where the model is. The model is brought back afterwards.

    Raises:
        SettingError: an input below 32 pixels, or fewer than one run or image.
    """
    if input_size < 32:
        raise SettingError(f"input size is {input_size}, but must be at least 32 pixels")
    for name, value in (("number of runs", runs), ("batch size", batch_size)):
        if value < 1:
            raise SettingError(f"{name} of the latency is {value}, but must be at least 1")
    home, training = next(model.parameters()).device, model.training
    place = torch.device(device) if device is not None else home
    model.to(place).eval()
    images = torch.randn(batch_size, 3, input_size, input_size, device=place)
    rows = []
    try:
        with _marks_after_parts(model, place) as run, torch.inference_mode():
            for _ in range(warmup):
                run(images)
            rows = [run(images) for _ in range(runs)]
    finally:
        model.to(home).train(training)
    parts = {name: median(row[number] for row in rows) for number, name in enumerate(PARTS)}
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "CPU"
    return Latency(parts, median(sum(row) for row in rows), runs, name, torch.get_num_threads())


@contextmanager
def _marks_after_parts(model: RTMDet, device: torch.device) -> Any:
    """Gives a function that runs the model once and returns the milliseconds of each part."""
    mark, between = _cuda_clock(device) if device.type == "cuda" else _clock()
    marks: list[Any] = []
    hooks = [part.register_forward_hook(lambda *_: marks.append(mark())) for part in parts_of(model).values()]

    def run(images: Tensor) -> list[float]:
        marks[:] = [mark()]
        model(images)
        return between(marks)

    try:
        yield run
    finally:
        for hook in hooks:
            hook.remove()


def _clock() -> tuple[Callable[[], float], Callable[[list[float]], list[float]]]:
    def between(marks: list[float]) -> list[float]:
        return [1000 * (end - begin) for begin, end in pairwise(marks)]

    return time.perf_counter, between


def _cuda_clock(device: torch.device) -> tuple[Callable[[], Any], Callable[[list[Any]], list[float]]]:
    """Marks are events in the stream: the device is waited for once per pass, not once per part."""

    def mark() -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(device))
        return event

    def between(marks: list[Any]) -> list[float]:
        marks[-1].synchronize()
        return [begin.elapsed_time(end) for begin, end in pairwise(marks)]

    return mark, between
