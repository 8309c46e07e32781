"""Instance segmentation: published sizes, recipe and test settings (paper.md 3.6)."""

from __future__ import annotations

import dataclasses

from rtmdet_lab.config.tasks import detection
from rtmdet_lab.config.tasks.base import Recipe, TaskFacts

_RECIPE = dataclasses.replace(detection.RECIPE, title="the recipe of the task instance")
# Half as many images fit, at half the rate (paper.md 3.2, 3.6).
_LARGEST = dataclasses.replace(_RECIPE, batch_size=128, lr=0.002)


def _recipe(size: str, rotated_recipe: str) -> Recipe:
    return _LARGEST if size == "x" else _RECIPE


FACTS = TaskFacts(
    name="instance",
    prefix="rtmdet-ins-",
    sizes=("tiny", "s", "m", "l", "x"),
    recipe=_recipe,
    generated="scenes",
    head_key="bbox_head.rtm_kernel.0.weight",
    published_head="Ins",
    losses=(*detection.FACTS.losses, "mask_weight", "mask_positives"),
    test={"score_threshold": 0.05, "nms_iou": 0.6, "max_per_level": 1000, "max_per_image": 100},
    tta=None,
    tta_refused="joins boxes and cannot join masks",
    exp_on_reg=False,  # the published heads take stride * relu(output) at every size (paper.md 3.6)
    shared_tower=True,
    # The published tiny model alone was trained without empty crops, which its authors call a mistake; it gets them.
    empty_crops=True,
)
