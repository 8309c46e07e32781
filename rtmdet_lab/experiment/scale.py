"""How far a run is scaled down: seconds for tests, minutes for a laptop, or the full recipe.

A scale changes what all rows of a table share (network size, images, epochs) and never what they differ in. It is kept in
the record of a run and stands in the title of every table, so that no small run passes for a published number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtmdet_lab.config.presets import SIZES, resolve
from rtmdet_lab.config.recipes import starts_from_imagenet, with_scaled_weak_epochs
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.config.settings import ExperimentConfig, TaskName
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError

ScaleName = Literal["smoke", "laptop", "paper"]


@dataclass(frozen=True)
class Scale:
    """A scale-down of one task.

    Args:
        name: smoke, laptop or paper.
        settings: dotted settings all rows get.
        data: what is drawn to train on: arguments of ``generate_scenes`` or, for rotated boxes, ``generate_aerial``;
            None where data must be given.
        size_factor: depth and width of every model size times this, so that sizes stay apart; only where rows differ
            in their size, else depth and width are among ``settings``.
        skip: rows that cannot run at this scale, with the reason.
    """

    name: ScaleName
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    size_factor: float | None = None
    skip: Mapping[str, str] = field(default_factory=dict)

    def apply(
        self, config: ExperimentConfig, overrides: Mapping[str, Any] | None = None, pretrained: bool = True
    ) -> ResolvedConfig:
        """Returns the resolved config of a row at this scale.

        Weak epochs that are not named keep their share of the run, at least one if there were any. At the full scale the
        network starts from ImageNet where the published one does, unless the row says otherwise.

        Args:
            config: what the row asks for, not resolved.
            overrides: settings changed on top of the scale's.
            pretrained: False where the full scale, too, starts from nothing.
        """
        settings = dict(self.settings)
        if self.size_factor is not None:
            size = SIZES[config.model.size]
            settings["model.depth"] = round((config.model.depth or size.depth) * self.size_factor, 4)
            settings["model.width"] = round((config.model.width or size.width) * self.size_factor * 64) / 64
        config = with_scaled_weak_epochs(with_scaled_weak_epochs(config, settings), overrides or {})
        if config.model.pretrained_backbone is None and self.name == "paper":
            starts = pretrained and not config.train.init_weights and starts_from_imagenet(config)
            config = with_scaled_weak_epochs(config, {"model.pretrained_backbone": starts})
        return resolve(config)

    def leaving_alone(self, varied: Collection[str]) -> Scale:
        """Returns the scale without the settings that rows vary; rows of several sizes shrink by ``size_factor``."""
        sizes = {"model.depth", "model.width"} if "model.size" in varied else set()
        settings = {name: value for name, value in self.settings.items() if name not in sizes | set(varied)}
        return dataclasses.replace(self, settings=settings, size_factor=self.size_factor if sizes else None)

    def changed(self, changes: Mapping[str, Any], **fields: Any) -> Scale:
        """Returns a scale with other settings; None takes a setting out. ``fields`` replace those of the scale."""
        settings = {**self.settings, **changes}
        return dataclasses.replace(self, settings={k: v for k, v in settings.items() if v is not None}, **fields)


def quick_recipe(
    task: str, image_size: int, *, epochs: int, batch_size: int = 8, lr: float = 0.003, warmup_steps: int = 50
) -> dict[str, Any]:
    """Returns settings, by dotted name, with which generated images are learned in minutes.

    Mild augmentation from the first epoch on, boxes that are one cell large at first, few images a step, and a learning
    rate for steps that are few. The size of the network is the caller's.

    Args:
        task: of the table of tasks.
        image_size: side of the network's input in pixels, a multiple of 32.
    """
    settings: dict[str, Any] = {
        "augment.input_size": image_size,
        "train.epochs": epochs,
        "train.warmup_steps": warmup_steps,
        "train.batch_size": batch_size,
        "train.lr": lr,
    }
    facts = TASKS[task]
    if facts.exp_on_reg is None:  # no published head of the task says otherwise
        settings["model.exp_on_reg"] = True
    if not facts.recipe("s", "plain").single_stage:
        settings |= {"augment.resize_range": [0.8, 1.25], "train.weak_epochs": epochs}
    return settings


# Networks trained for minutes seldom score 0.05, the threshold of the paper's ablation tables.
_ALL_SCORES = {"test.score_threshold": 0.001, "test.max_per_image": 300}
_SMOKE = {
    "model.exp_on_reg": True,
    "model.depth": 0.167,
    "model.width": 0.125,
    "augment.input_size": 64,
    "train.workers": 0,
    "train.warmup_steps": 50,
    "train.epochs": 2,
    "train.batch_size": 8,
    "train.lr": 0.001,
}
_LAPTOP_NETWORK = {"model.depth": 0.167, "model.width": 0.25, "train.workers": 0}
# In minutes, steps count for more than pixels, and telling forms apart is what seeds decide: with six forms, runs that
# differ in their seed alone end up to 32 points of AP apart, at equal recall (docs/results/ablations.md).
_DETECTION_LAPTOP = quick_recipe("detection", 128, epochs=6, batch_size=4, lr=0.0015)
_FORMS = ["triangle", "rectangle", "cross", "ring", "crescent", "arrow"]
_SCENES = {"size": 160, "seed": 0, "difficulty": 0.0, "classes": _FORMS}
_AERIAL = {"size": 160, "seed": 0, "difficulty": 0.0}
_FEW = {"train": 24, "val": 8}
_TINIER, _SMALLER = 0.125, 0.3  # depth and width where rows differ in their size

SCALES: dict[TaskName, dict[ScaleName, Scale]] = {
    "detection": {
        "smoke": Scale("smoke", {**_SMOKE, **_ALL_SCORES}, {**_SCENES, **_FEW, "size": 64}, _TINIER),
        "laptop": Scale(
            "laptop",
            {**_LAPTOP_NETWORK, **_ALL_SCORES, **_DETECTION_LAPTOP},
            {**_SCENES, "size": 128, "train": 600, "val": 200, "classes": ["triangle", "cross", "ring"]},
            _SMALLER,
        ),
        "paper": Scale("paper"),
    },
    "instance": {
        "smoke": Scale("smoke", {**_SMOKE, "model.exp_on_reg": False}, {**_SCENES, **_FEW, "size": 64}, _TINIER),
        "laptop": Scale(
            "laptop",
            {**_LAPTOP_NETWORK, **quick_recipe("instance", 160, epochs=5, lr=0.002), "model.exp_on_reg": False},
            {**_SCENES, "train": 400, "val": 100},
            _SMALLER,
        ),
        "paper": Scale("paper"),
    },
    "rotated": {
        # Few of these scenes hold objects: no more images a step than an epoch has.
        "smoke": Scale("smoke", {**_SMOKE, "train.batch_size": 4}, {**_AERIAL, **_FEW, "size": 96}, _TINIER),
        "laptop": Scale(
            "laptop",
            {**_LAPTOP_NETWORK, **quick_recipe("rotated", 160, epochs=5), "augment.rotate_prob": 0.0},
            {**_AERIAL, "train": 400, "val": 100},
            _SMALLER,
        ),
        "paper": Scale("paper"),
    },
}


def check_scale(name: str) -> ScaleName:
    """Returns ``name`` if it is that of a scale.

    Raises:
        SettingError: it is not.
    """
    if name not in ("smoke", "laptop", "paper"):
        raise SettingError(f"scale is {name!r}, but must be smoke, laptop or paper")
    return name  # type: ignore[return-value]
