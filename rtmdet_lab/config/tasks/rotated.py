"""Rotated boxes: published sizes, recipes and test settings (paper.md 3.7)."""

from __future__ import annotations

from rtmdet_lab.config.tasks.base import DENSE_LOSSES, MIXING, Recipe, TaskFacts

# All recipes are validated three times: rows of a table get equally many chances at the best score.
_MIXING = Recipe(
    "the recipe of the task rotated",
    epochs=100,
    weak_epochs=10,
    batch_size=8,
    lr=0.00025,
    input_size=1024,
    val_interval=34,
    imagenet=("tiny", "s", "m", "l"),
    augment=(*MIXING, "rotated_recipe", "rotated_flip_prob", "rotate_prob"),
)
# The plain recipe has these steps and no others: resize, flip and rotation in one stage.
_PLAIN = Recipe(
    "the plain recipe of the task rotated",
    epochs=36,
    weak_epochs=0,
    batch_size=8,
    lr=0.00025,
    input_size=1024,
    val_interval=12,
    imagenet=("tiny", "s", "m", "l"),
    augment=("rotated_recipe", "rotated_flip_prob", "rotate_prob"),
    other=("augment.rotated_recipe to mixing", _MIXING),
)


def _recipe(size: str, rotated_recipe: str) -> Recipe:
    return _PLAIN if rotated_recipe == "plain" else _MIXING


FACTS = TaskFacts(
    name="rotated",
    prefix="rtmdet-r-",
    sizes=("tiny", "s", "m", "l"),
    recipe=_recipe,
    generated="aerial",
    head_key="bbox_head.rtm_ang.0.weight",
    published_head="Rotated",
    losses=(*DENSE_LOSSES, "rotated"),
    test={"score_threshold": 0.05, "nms_iou": 0.1, "max_per_level": 2000, "max_per_image": 2000},
    # The scales of DOTA's tiles (paper.md 3.7), which become one result as all tiles do.
    tta={"tta_scales": (0.5, 1.0, 1.5), "tta_flip": False, "tta_nms_iou": 0.1, "tta_max_per_image": 2000},
    refused={"assigner.iou_cost": ("giou", "is defined for upright boxes: use 'log' or 'linear' for the task rotated")},
)
