"""A setting that was not taken, or changed nothing, is found before a run trains."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rtmdet_lab import effective
from rtmdet_lab.config import ExperimentConfig, with_overrides
from rtmdet_lab.effective import EXPECTED, READERS, build, check_effective, read_back
from rtmdet_lab.errors import SettingError
from rtmdet_lab.paper_items import experiment_names, load_experiment
from rtmdet_lab.presets import resolve

sys.path.insert(0, str(Path(__file__).parent / "training"))
from sources import Squares

SMALL = {"model.size": "tiny", "model.width": 0.125, "augment.input_size": 64, "train.epochs": 4, "train.weak_epochs": 2}


def config(**changes):
    return resolve(with_overrides(ExperimentConfig(), {**SMALL, **changes}))


# A setting, another value than the default, and what is read from the objects then.
CASES = [
    ("model.kernel_size", 7, 7),
    ("model.block", "darknet", "darknet"),
    ("model.block", "rep_large_kernel", "rep_large_kernel"),
    ("model.backbone.stage_blocks", [9, 6, 6, 9], [2, 1, 1, 2]),  # times 0.167
    ("model.backbone.channel_attention", False, False),
    ("model.backbone.expand_ratio", 0.75, 0.75),
    ("model.neck.expand_ratio", 0.25, 0.25),
    ("model.head.sharing", "none", "none"),
    ("model.head.sharing", "all", "all"),
    ("model.width", 0.25, [32, 64, 128, 256]),
    ("model.depth", 0.5, [2, 3, 3, 2]),
    ("assigner.kind", "atss", "atss"),
    ("assigner.kind", "simota", "simota"),
    ("assigner.kind", "task_aligned", "task_aligned"),
    ("assigner.cls_cost", "hard", "hard"),
    ("assigner.iou_cost", "giou", "giou"),
    ("assigner.center_cost", "fixed", "fixed"),
    ("augment.mosaic", False, False),
    ("augment.mixup", False, False),
    ("augment.partners", "uncached", "uncached"),
    ("augment.mosaic_cache", 11, 11),
    ("augment.mixup_cache", 5, 5),
    ("augment.pop", "random", "random"),
    ("train.epochs", 5, 5),
    ("train.weak_epochs", 0, 0),
    ("train.optimizer", "sgd", "sgd"),
    ("train.lr", 0.125, 0.125),
    ("train.schedule", "cosine", "cosine"),
    ("train.schedule", "constant", "constant"),
    ("train.lr_floor", 0.01, 0.01),
    ("train.decay_norm_and_bias", True, True),
    ("loss.cls_beta", 1.5, 1.5),  # without an object of its own
]


@pytest.mark.parametrize(("name", "value", "expected"), CASES, ids=[f"{name}={value}" for name, value, _ in CASES])
def test_settings_are_read_from_what_was_built(name, value, expected):
    base, changed = config(), config(**{name: value})
    found = check_effective(changed, {name: value}, base, Squares(8))
    assert found[name] == pytest.approx(expected) if isinstance(expected, float) else found[name] == expected
    assert read_back(build(base, Squares(8)), [name])[name] != found[name]


def test_every_setting_that_a_table_varies_has_a_reader():
    varied = {name for item in map(load_experiment, experiment_names()) for row in item.rows.values() for name in row}
    without = {"model.pretrained_backbone"}  # loading stops by itself where a key of the backbone is missing
    without |= {"loss.cls", "loss.bbox", "data.repeat"} & varied  # the losses and the sampler read the config themselves
    assert varied - set(READERS) == without
    assert {name for name, _, _ in CASES} | {"model.size", "model.head.shared_tower"} >= varied - without
    assert set(EXPECTED) <= set(READERS)


def test_shared_tower_is_read_in_the_instance_head_alone():
    instance = config(**{"task": "instance", "model.head.shared_tower": False})
    found = check_effective(instance, {"model.head.shared_tower": False}, config(task="instance"), Squares(8))
    assert found == {"model.head.shared_tower": False}


@pytest.mark.parametrize("kernel", [3, 7, 11])
def test_kernel_is_read_in_re_parameterized_blocks_too(kernel):
    varied = {"model.block": "rep_large_kernel", "model.kernel_size": kernel}
    assert check_effective(config(**varied), varied, config(), Squares(8)) == varied


def test_a_group_of_settings_is_checked_one_by_one():
    changed = config(**{"model.backbone": {"channel_attention": False, "expand_ratio": 0.25}})
    found = check_effective(changed, {"model.backbone": {}}, config(), Squares(8))
    assert found["model.backbone.channel_attention"] is False
    assert found["model.backbone.expand_ratio"] == 0.25


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model.backbone.stage_blocks": [3, 6, 6, 4]}, "model.backbone.stage_blocks"),  # 4 and 3 times 0.167 are 1
        ({"model.block": "darknet", "model.kernel_size": 7}, "model.kernel_size"),
        ({"train.weak_epochs": 4, "augment.mosaic": False}, "augment.mosaic"),
        ({"train.weak_epochs": 4, "augment.mixup_cache": 3}, "augment.mixup_cache"),
        ({"train.schedule": "constant", "train.lr_floor": 0.5}, "train.lr_floor"),
    ],
)
def test_setting_that_changes_nothing_is_named(changes, name):
    base = config(**{key: value for key, value in changes.items() if key != name})
    with pytest.raises(SettingError, match=f"setting '{name}' changes nothing"):
        check_effective(config(**changes), {name: changes[name]}, base, Squares(8))


def test_setting_that_a_builder_drops_is_named(monkeypatch):
    """The planted fault: whatever is asked for, a network with another kernel is built."""
    whole = effective.build_task

    def forgetful(asked):
        model = dataclasses.replace(asked.model, kernel_size=5)
        return whole(dataclasses.replace(asked, model=model))

    monkeypatch.setattr(effective, "build_task", forgetful)
    with pytest.raises(SettingError, match=r"'model.kernel_size' was not taken: 7 was asked for, but .* have 5"):
        check_effective(config(**{"model.kernel_size": 7}), {"model.kernel_size": 7}, config(), Squares(8))


def test_network_whose_parts_differ_is_named():
    built = build(config(), Squares(8))
    built.task.model.backbone.stage1[-1].blocks = nn.Sequential(nn.Identity())
    with pytest.raises(KeyError):
        read_back(built, ["model.block"])
    built = build(config(), Squares(8))
    with torch.device("meta"):
        other = build(config(**{"model.kernel_size": 9}), Squares(8)).task.model.backbone.stage2
    built.task.model.backbone.stage2 = other
    with pytest.raises(SettingError, match="differ in their kernels"):
        read_back(built, ["model.kernel_size"])
