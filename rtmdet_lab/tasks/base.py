"""What a task is: a network and the functions that teach it, read it and score it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from rtmdet_lab.assigners.base import Assigner
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.core.structures import DensePredictions, Detections, ImageMeta, Targets


class Evaluator(Protocol):
    """Collects a validation set batch by batch, then scores it."""

    def add(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None: ...
    def state(self) -> object: ...
    def merge(self, states: Sequence[object]) -> None: ...
    def summary(self) -> dict[str, float]: ...


Criterion = Callable[[DensePredictions, Sequence[Targets]], dict[str, Tensor]]
Decode = Callable[[DensePredictions, Sequence[ImageMeta]], list[Detections]]


@dataclass
class Task:
    """A network and everything around it that depends on what is detected. No base class: three functions and parts."""

    name: str
    config: ResolvedConfig
    model: nn.Module  # normalised images (B, 3, H, W) -> DensePredictions
    assigner: Assigner
    criterion: Criterion  # weighted losses by name; their sum is what is minimised
    decode: Decode  # detections in original pixels, best first
    new_evaluator: Callable[[], Evaluator]
    main_metric: str = "AP"  # of the evaluator's summary: decides which weights are the best
