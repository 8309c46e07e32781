"""The names that settings had in earlier versions lead to the same settings."""

from __future__ import annotations

import pytest

from rtmdet_lab.cli.common import parse_overrides
from rtmdet_lab.config.aliases import RENAMED, current_names, first_name
from rtmdet_lab.config.overrides import from_dict, iter_settings, to_dict, with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingTypeError
from rtmdet_lab.experiment.batch_size import asks_for_batch
from rtmdet_lab.models.knowledge import own_config

OLD = {"augment.pop": "oldest", "train.accumulate": 4, "train.freeze_norm": True}


def nested(settings):
    parts = {}
    for name, value in settings.items():
        part, _, last = name.partition(".")
        parts.setdefault(part, {})[last] = value
    return parts


def test_every_renamed_setting_has_an_example_and_exists_under_its_name_of_today_alone():
    names = {name for name, _ in iter_settings(ExperimentConfig())}
    assert set(RENAMED) == set(OLD)
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names
    assert {first_name(name) for name in RENAMED.values()} == set(RENAMED)


@pytest.mark.parametrize("old", OLD)
def test_old_name_sets_what_the_new_one_sets(old):
    config = with_overrides(ExperimentConfig(), {RENAMED[old]: OLD[old]})
    assert config != ExperimentConfig()
    assert with_overrides(ExperimentConfig(), {old: OLD[old]}) == config
    assert with_overrides(ExperimentConfig(), nested({old: OLD[old]})) == config
    assert with_overrides(ExperimentConfig(), parse_overrides([f"{old}={str(OLD[old]).lower()}"])) == config
    # What runs, states and weights carry.
    assert from_dict(nested({old: OLD[old]})) == own_config("weights", nested({old: OLD[old]})) == config
    part, _, last = RENAMED[old].partition(".")
    plain = to_dict(config)
    plain[part][old.partition(".")[2]] = plain[part].pop(last)
    assert from_dict(plain) == config


def test_values_under_an_old_name_are_checked_under_the_new_one():
    with pytest.raises(SettingTypeError, match=r"'train\.norm_eval': expected bool"):
        with_overrides(ExperimentConfig(), {"train.freeze_norm": "no"})


def test_other_names_stay_as_they_are():
    settings = {"accumulate": 1, "train": {"lr": 0.1}, "test.pop": 2}
    assert current_names(settings) == settings


def test_old_name_asks_for_a_batch():
    assert asks_for_batch({"train.accumulate": 2})
    assert asks_for_batch({"train": {"accumulate": 2}})
    assert not asks_for_batch({"train": {"freeze_norm": True}})
