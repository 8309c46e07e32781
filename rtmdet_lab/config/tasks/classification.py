"""Image classification of CSPNeXt: the ImageNet pretraining that detectors start from (paper.md 1.6, 3.8).

The published runs take 600 epochs in batches of 2048. Optimizer and rate come from a schedule that is not part of the
release (there LAMB, 0.005: unverified); AdamW and its rate are choices of this project.
"""

from __future__ import annotations

from rtmdet_lab.config.tasks.base import Recipe, TaskFacts

RECIPE = Recipe(
    "the recipe of the task classification",
    epochs=600,
    weak_epochs=0,
    batch_size=2048,
    lr=0.004,
    input_size=224,
    val_interval=10,
    imagenet=(),
    augment=("crop", "flip_prob"),
)

FACTS = TaskFacts(
    name="classification",
    prefix="cspnext-",
    sizes=("tiny", "s", "m", "l", "x"),
    recipe=lambda size, rotated_recipe: RECIPE,
    generated="labelled",
    losses=("cls_weight",),
    # The five best labels of an image; the other settings are those of boxes.
    test={"score_threshold": 0.0, "nms_iou": 1.0, "max_per_level": 5, "max_per_image": 5},
    tta=None,
    tta_refused="joins boxes and has none to join",
    dense=False,
    predictor="head.fc.weight",
)
