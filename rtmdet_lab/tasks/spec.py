"""What a task is: one object that holds all that makes it different, carried by the file of the task's name.

Other parts ask the object and know no task by name. Its plain data, which the settings need, are its
:class:`~rtmdet_lab.config.tasks.base.TaskFacts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torchvision.transforms import v2

from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTest
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.config.tasks import TaskFacts
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.data.formats import DataFormat
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.evaluation.matching import Matches
from rtmdet_lab.geometry.box_kind import BoxKind
from rtmdet_lab.models.network import Network
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.common import detection_rows, require_finite
from rtmdet_lab.tasks.phases import Phase
from rtmdet_lab.transforms.pipelines import test_pipeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mirror = tuple[bool, bool]  # left to right, top to bottom
PLAIN: Mirror = (False, False)


def draw_boxes(image: Any, detections: Detections, classes: Sequence[str], **options: Any) -> Figure:
    """Returns :func:`rtmdet_lab.viz.draw.draw_detections`; matplotlib is imported by who draws."""
    from rtmdet_lab.viz.draw import draw_detections

    return draw_detections(image, detections, classes, **options)


@dataclass(frozen=True)
class TaskSpec:
    """All that makes a task different."""

    facts: TaskFacts
    # What is learned.
    network: Callable[[ModelConfig], Network]  # normalised images -> predictions; ``model.raw``: those that are exported
    build: Callable[[ResolvedConfig], Task]  # network, targets, losses, decoding and evaluator of a run
    # What it is learned from.
    data: DataFormat  # in which its sets usually come
    boxes: BoxKind  # of objects; its ``suppress`` is the task's
    masks: bool  # objects have polygons, and what is learned are pixels
    phases: Callable[[ResolvedConfig, Source], Sequence[Phase]]  # in order; those of no epochs are left out
    reading_side: Callable[[ResolvedConfig], int]  # pixels: longest side that the pipelines scale an image to
    generator: Callable[..., dict[str, Path]]  # folder, settings of a generated set -> where everything is
    generate: Callable[..., Mapping[str, Any]]  # folder, settings of a generated set -> its ``data.*`` settings
    shown_stages: Mapping[str, Mapping[str, Any]]  # stages by name, with settings that give each a run of two epochs
    short_settings: Callable[[int], list[str]]  # epochs -> settings beside them with which a small set is learned soon
    # How the result is read and shown.
    decode: Callable[[Any, Sequence[ImageMeta], ResolvedTest], list[Detections]]  # in original pixels, best first
    raw_outputs: tuple[str, ...]  # what an exported network gives
    from_raw: Callable[[dict[str, np.ndarray], Tensor], Any]  # outputs, images (B, 3, H, W) -> what the network gives
    found_outputs: tuple[str, ...] | None  # what it gives with post-processing; None: no runtime has that
    matches: Callable[[Mapping[str, Any], Path], Matches] | None  # of a run's ``data`` and predictions, for the bootstrap
    mirrors: tuple[Mirror, ...] = (PLAIN,)  # of test-time augmentation, as training mirrors
    test_pipeline: Callable[[int], v2.Transform] = test_pipeline  # side of the canvas, pixels
    require_finite: Callable[[Any, Sequence[Detections], Sequence[ImageMeta]], None] = require_finite
    draw: Callable[..., Figure] = draw_boxes  # image, detections, classes, score_threshold
    # An image's result as it goes into a file: plain values, "class" and "score" among them.
    rows: Callable[[Detections, Sequence[str]], list[dict[str, Any]]] = detection_rows
    coco_results: bool = True  # detections can be written as COCO results
    submission: Callable[[Sequence[Detections], Sequence[str], Path], Path] | None = None  # the file of a test server

    @property
    def name(self) -> str:
        return self.facts.name
