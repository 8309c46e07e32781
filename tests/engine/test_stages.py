"""Strong augmentation first, weak last."""

from __future__ import annotations

import pytest
from made_runs import Squares, make_config

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.transforms.fused import JitterCrop, MosaicCrop


def plan(epochs: int, weak: int):
    config = resolve(make_config(**{"train.epochs": epochs, "train.weak_epochs": weak}))
    return plan_stages(config, Squares(4))


@pytest.mark.parametrize(
    ("epochs", "weak", "expected"),
    [
        (300, 20, [("strong", 0, 280), ("weak", 280, 20)]),
        (5, 0, [("strong", 0, 5)]),
        (5, 5, [("weak", 0, 5)]),
        (1, 1, [("weak", 0, 1)]),
    ],
)
def test_stages_without_epochs_are_left_out(epochs, weak, expected):
    assert [(stage.name, stage.first_epoch, stage.epochs) for stage in plan(epochs, weak)] == expected


def test_every_epoch_belongs_to_exactly_one_stage():
    stages = plan(10, 3)
    assert [[stage.name for stage in stages if epoch in stage] for epoch in range(10)] == [["strong"]] * 7 + [["weak"]] * 3
    assert not any(10 in stage for stage in stages)


def test_stages_have_their_own_pipelines():
    strong, weak = plan(2, 1)
    assert isinstance(strong.pipeline.transforms[0], MosaicCrop)
    assert isinstance(weak.pipeline.transforms[0], JitterCrop)


def test_more_weak_epochs_than_epochs_are_refused():
    with pytest.raises(SettingError, match=r"train\.weak_epochs is 6, but must be at most train\.epochs, which is 5"):
        plan(5, 6)


class Turned(Squares):
    rotated = True
    classes = ("ship", "roundabout", "plane", "storage-tank")


def test_recipes_of_rotated_boxes_have_one_stage_or_two():
    def stages(**changes):
        config = with_overrides(ExperimentConfig(task="rotated"), {"train.epochs": 5, **changes})
        return plan_stages(resolve(config), Turned(4))

    (plain,) = stages()
    assert (plain.name, plain.epochs) == ("plain", 5)
    assert plain.pipeline.transforms[2].quarter_turn_classes == (3, 1)
    mixing = stages(**{"train.weak_epochs": 2, "augment.rotated_recipe": "mixing"})
    assert [(one.name, one.epochs) for one in mixing] == [("strong", 3), ("weak", 2)]
    assert [type(one).__name__ for one in mixing[0].pipeline.transforms[:2]] == ["Mosaic", "JitterRotateCrop"]
    with pytest.raises(SettingError, match=r"train\.weak_epochs is 20, but must be at most"):
        stages(**{"train.weak_epochs": 20, "augment.rotated_recipe": "mixing"})
