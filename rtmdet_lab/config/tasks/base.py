"""What the settings need to know of a task: names, published sizes and recipe, and which settings have a part in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdet_lab.config.settings import Size

# Settings of ``augment`` that the two mixing stages have in common, mirroring aside.
MIXING = (
    "mosaic",
    "mixup",
    "partners",
    "mosaic_cache",
    "mixup_cache",
    "cache_eviction",
    "mixup_prob",
    "resize_range",
    "crop",
    "empty_crops",
    "one_resize",
    "hsv",
    "hue",
    "saturation",
    "value",
)
# Settings of ``loss`` that all detectors have in common.
DENSE_LOSSES = ("cls", "cls_weight", "cls_beta", "bbox_weight", "quality_weighting")


@dataclass(frozen=True)
class Recipe:
    """How a published model was trained, and on what it starts."""

    title: str  # in sentences: "the recipe of the task ..."
    epochs: int
    weak_epochs: int  # the last ones, without mosaic and mixup; 0 where the recipe has a single stage
    batch_size: int  # images per optimizer step, over all GPUs
    lr: float  # at that batch
    input_size: int  # pixels
    val_interval: int  # epochs
    imagenet: tuple[Size, ...]  # sizes that start from an ImageNet backbone
    augment: tuple[str, ...]  # settings of ``augment`` that have a part in it, ``input_size`` aside
    other: tuple[str, Recipe] | None = None  # what gives a recipe with other settings, "augment.NAME to VALUE", and that one

    @property
    def single_stage(self) -> bool:
        return not self.weak_epochs


@dataclass(frozen=True)
class TaskFacts:
    """The plain data of a task; what it does is in :mod:`rtmdet_lab.tasks`, in the file of the same name."""

    name: str
    prefix: str  # of its models' names
    sizes: tuple[Size, ...]  # published, or built from published parts
    recipe: Callable[[Size, str], Recipe]  # of a size and of ``augment.rotated_recipe``
    generated: str  # what its drawn sets are called (``rtmdet-lab data generate --kind``)
    losses: tuple[str, ...]  # settings of ``loss`` that have a part in it
    # Behind the published score (paper.md 3.2, 3.6, 3.7, "test").
    test: Mapping[str, Any]
    # Test-time augmentation as published; None: results of several views of an image cannot be joined, for this reason.
    tta: Mapping[str, Any] | None
    tta_refused: str = ""
    exp_on_reg: bool | None = None  # None: that of the size
    shared_tower: bool | None = None  # default of ``model.head.shared_tower``; None: a head without that choice
    dense: bool = True  # a detector: neck and head predict at points, and an assigner says which learns which object
    predictor: str = "bbox_head.rtm_cls.0.weight"  # key of a weight with a row for each class
    head_key: str = ""  # key that weights of this task alone have; empty: those of no other task
    published_head: str = ""  # word in the name of the head in configurations of the published code
    empty_crops: bool = False  # crops without objects are learned from
    refused: Mapping[str, tuple[Any, str]] = field(default_factory=dict)  # setting: a value it cannot have, and why
