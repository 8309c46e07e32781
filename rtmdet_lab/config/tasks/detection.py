"""Object detection: published sizes, recipe and test settings (paper.md 3.1, 3.2)."""

from __future__ import annotations

from rtmdet_lab.config.tasks.base import DENSE_LOSSES, MIXING, Recipe, TaskFacts

RECIPE = Recipe(
    "the recipe of the task detection",
    epochs=300,
    weak_epochs=20,
    batch_size=256,
    lr=0.004,
    input_size=640,
    val_interval=10,
    imagenet=("tiny", "s"),
    augment=(*MIXING, "flip_prob"),
)

FACTS = TaskFacts(
    name="detection",
    prefix="rtmdet-",
    sizes=("nano", "tiny", "s", "m", "l", "x"),
    recipe=lambda size, rotated_recipe: RECIPE,
    generated="scenes",
    losses=(*DENSE_LOSSES, "bbox"),
    test={"score_threshold": 0.001, "nms_iou": 0.65, "max_per_level": 30000, "max_per_image": 300},
    tta={"tta_scales": (1.0, 0.5, 1.5), "tta_flip": True, "tta_nms_iou": 0.6, "tta_max_per_image": 100},
)
