"""Strong augmentation first, weak last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rtmdet_lab.errors import SettingError
from rtmdet_lab.presets import resolve
from rtmdet_lab.training.stages import plan_stages
from rtmdet_lab.transforms.direct import JitterCrop, MosaicCrop

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_runs import Squares, make_config


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
