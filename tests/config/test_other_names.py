"""A name from another program leads to the setting that means it, never to one that only looks like it."""

from __future__ import annotations

import pytest

from rtmdet_lab.config import other_names
from rtmdet_lab.config.overrides import iter_settings, with_overrides
from rtmdet_lab.config.presets import parse_model_name
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import UnknownNameError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train.ema_decay", "did you mean 'train.ema_momentum' (which is 1 - decay)?"),
        ("train.grad_accum", "did you mean 'train.gradient_accumulation_steps'?"),
        ("grad_accum", "did you mean 'train.gradient_accumulation_steps'?"),
        ("model.freeze_backbone", "weights cannot be frozen here"),
        ("freeze_backbone", "weights cannot be frozen here"),
        ("imgsz", "did you mean 'augment.input_size'?"),
        ("train.close_mosaic", "did you mean 'train.weak_epochs'?"),
        ("conf_thres", "did you mean 'test.score_threshold'?"),
        ("train.epoch", "did you mean 'train.epochs'?"),  # a slip of the finger still gets the nearest
        ("kernal_size", "did you mean 'model.kernel_size'?"),
    ],
)
def test_unknown_setting_suggests_what_is_near_in_meaning(given, words):
    with pytest.raises(UnknownNameError) as error:
        with_overrides(ExperimentConfig(), {given: 1})
    assert words in str(error.value)


def test_every_suggested_setting_exists_and_no_setting_is_taken_for_another():
    names = {name for name, _ in iter_settings(ExperimentConfig())}
    assert {setting for setting, _ in other_names._SETTINGS.values()} <= names


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("rtmdet-n", "rtmdet-nano"),
        ("rtmdet_tiny", "rtmdet-tiny"),
        ("RTMDet-L", "rtmdet-l"),
        ("rtmdet-ins-medium", "rtmdet-ins-m"),
    ],
)
def test_unknown_model_suggests_the_size_that_is_meant(given, meant):
    with pytest.raises(UnknownNameError, match=f"did you mean '{meant}'"):
        parse_model_name(given)
