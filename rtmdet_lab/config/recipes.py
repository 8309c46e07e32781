"""The published training recipes by task and size: how long, in which batches, at which rate and size (paper.md 3.1 to 3.7).

A setting that is left alone (``None``) is the value of this table; :mod:`rtmdet_lab.config.presets` fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.resolved import ResolvedConfig, ResolvedTrain, filled
from rtmdet_lab.config.settings import ExperimentConfig, Size, TaskName, TrainConfig
from rtmdet_lab.config.tasks import TASKS, Recipe
from rtmdet_lab.core.errors import SettingError

# YOLOX's, which RTMDet starts from (experiments/step_by_step.py): of stochastic gradient descent, for any task.
SGD_LR = (0.01, 64)

# Test settings of the paper's ablation tables: those published for the sizes score about 0.3 AP more (paper.md 1.1, 3.2).
# Overlap and candidates of that NMS are not known, so they stay those of today.
ABLATION_TEST = {"test.score_threshold": 0.05, "test.max_per_image": 100}


def published_recipe(task: TaskName, size: Size, rotated_recipe: str = "plain") -> Recipe:
    """Returns the recipe of a published model; sizes that were not published have that of their task.

    Args:
        rotated_recipe: of the task "rotated": "plain", or "mixing", which takes longer and ends with a weak stage.

    >>> published_recipe("instance", "x").lr, published_recipe("rotated", "s").epochs
    (0.002, 36)
    """
    return TASKS[task].recipe(size, rotated_recipe)


def recipe_of(config: ExperimentConfig) -> Recipe:
    """Returns the published recipe behind a config."""
    return published_recipe(config.task, config.model.size, config.augment.rotated_recipe)


def starts_from_imagenet(config: ExperimentConfig) -> bool:
    """Returns whether the published training of the config's task and size starts from an ImageNet backbone."""
    return config.model.size in recipe_of(config).imagenet


def shared_weak_epochs(epochs: int, weak_of: int, of: int) -> int:
    """Returns the weak epochs of a run that keep the share ``weak_of`` of ``of``: at least one if there were any.

    >>> shared_weak_epochs(12, 20, 300), shared_weak_epochs(150, 20, 300), shared_weak_epochs(12, 0, 36)
    (1, 10, 0)
    """
    return 0 if weak_of == 0 else max(round(min(weak_of / of, 1.0) * epochs), 1)


def with_scaled_weak_epochs(config: ExperimentConfig, overrides: Mapping[str, Any]) -> ExperimentConfig:
    """Returns ``with_overrides(config, overrides)``; weak epochs keep their share where epochs alone are given."""
    changed = with_overrides(config, overrides)
    before, after = config.train, changed.train
    train = overrides.get("train", {})
    named = "train.weak_epochs" in overrides or (isinstance(train, Mapping) and "weak_epochs" in train)
    if named or after.epochs is None or before.weak_epochs is None:
        return changed
    full = recipe_of(config).epochs if before.epochs is None else before.epochs
    if after.epochs == full:
        return changed
    return with_overrides(changed, {"train.weak_epochs": shared_weak_epochs(after.epochs, before.weak_epochs, full)})


def resolve_train(config: TrainConfig, recipe: Recipe) -> ResolvedTrain:
    """Returns ``config`` with every ``None`` of its recipe filled in.

    Weak epochs left alone keep their published share of the epochs that are given; a learning rate left alone follows the
    number of images per optimizer step.

    Raises:
        SettingError: more weak epochs than epochs, or some where the recipe has a single stage.
    """
    epochs = recipe.epochs if config.epochs is None else config.epochs
    weak = config.weak_epochs
    if weak is None:
        weak = shared_weak_epochs(epochs, recipe.weak_epochs, recipe.epochs)
    if weak and recipe.single_stage:
        raise SettingError(
            f"train.weak_epochs is {weak}, but {recipe.title} has a single stage: leave it alone"
            + (f", or set {recipe.other[0]}" if recipe.other else "")
        )
    if weak > epochs:
        raise SettingError(
            f"train.weak_epochs is {weak}, but must be at most train.epochs, which is {epochs}: lower it, or leave it alone "
            "to keep its published share"
        )
    batch = recipe.batch_size if config.batch_size is None else config.batch_size
    rate, images = SGD_LR if config.optimizer == "sgd" else (recipe.lr, recipe.batch_size)
    lr = rate * batch * config.gradient_accumulation_steps / images
    interval = max(epochs * recipe.val_interval // recipe.epochs, 1)
    values = {"epochs": epochs, "weak_epochs": weak, "batch_size": batch, "lr": lr, "val_interval": interval}
    return filled(ResolvedTrain, config, **values)


def describe_stages(config: ResolvedConfig) -> str:
    """Returns in words how a run's epochs are spent.

    >>> from rtmdet_lab.config.presets import resolve
    >>> describe_stages(resolve(ExperimentConfig(train=TrainConfig(epochs=12))))
    '12 epochs: 11 with strong augmentation, then 1 with weak (train.weak_epochs)'
    """
    train = config.train
    strong, weak = train.epochs - train.weak_epochs, train.weak_epochs
    total = f"{train.epochs} epoch{'s' * (train.epochs != 1)}"
    recipe = recipe_of(config)
    if recipe.single_stage:
        return f"{total} of {recipe.title}"
    if not weak:
        return f"{total}, all with strong augmentation (train.weak_epochs is 0)"
    if not strong:
        return f"{total}, all with weak augmentation: mosaic and mixup have no part in them (train.weak_epochs is {weak})"
    return f"{total}: {strong} with strong augmentation, then {weak} with weak (train.weak_epochs)"
