"""What a task is: a network and the functions that teach it, read it and score it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from rtmdet_lab.assigners.base import Assigner
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.models.network import Network


class Evaluator(Protocol):
    """Collects a validation set batch by batch, then scores it."""

    def add(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None: ...
    def state(self) -> object:
        """Returns what was collected, to be gathered from several processes."""

    def merge(self, states: Sequence[Any]) -> None:
        """Takes the union of several processes' states; an image that two processes saw counts once."""

    def __len__(self) -> int:
        """Returns the number of images."""

    def summary(self) -> dict[str, float]:
        """Returns the numbers of the task's benchmark, one of them the task's main metric."""

    def metrics(self) -> dict[str, float]:
        """Returns what a record keeps: the summary, and numbers of other benchmarks that the set may be reported in."""

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns the numbers by what was scored."""

    def per_class(self) -> list[dict[str, Any]]:
        """Returns a row per class, its name as "class"."""

    def precision_recall(self, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Returns recall (101,) and precision (101, C); NaN for classes without objects."""

    def recall_by_image(self, iou: float = 0.5) -> list[tuple[int, float]]:
        """Returns (number of the image in the order it was added, share of its objects found), worst first."""

    def file_results(self, category_ids: Sequence[int | None]) -> list[dict[str, Any]]:
        """Returns the detections as they go into a file; ``category_ids`` are those of the set's annotation file."""


Criterion = Callable[[Any, Sequence[Targets]], dict[str, Tensor]]
Decode = Callable[[Any, Sequence[ImageMeta]], list[Detections]]


@dataclass
class Task:
    """A network and everything around it that depends on what is detected. No base class: three functions and parts."""

    name: str
    config: ResolvedConfig
    model: Network  # normalised images (B, 3, H, W) -> predictions
    assigner: Assigner | None  # None: a task without points to assign
    criterion: Criterion  # weighted losses by name; their sum is what is minimised
    decode: Decode  # detections in original pixels, best first
    new_evaluator: Callable[[], Evaluator]
    main_metric: str = "AP"  # of the evaluator's summary: decides which weights are the best

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order, "class 0" and so on where nothing names them."""
        return tuple(self.config.data.classes or (f"class {label}" for label in range(self.config.model.num_classes)))
