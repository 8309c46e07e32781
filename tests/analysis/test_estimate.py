"""Arithmetic alone against what is counted on the built model."""

from __future__ import annotations

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.analysis.estimate import Cost, block, conv, estimate
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.models.detector import RTMDet

CHANGES = [
    {"num_classes": 3},
    {"kernel_size": 3},
    {"kernel_size": 9, "width": 0.25},
    {"depth": 0.5, "width": 0.25},
    {"backbone.stage_blocks": (3, 9, 9, 3), "depth": 1.0},
    {"backbone.channel_attention": False},
    {"backbone.expand_ratio": 0.3},
    {"backbone.spp": False, "neck.expand_ratio": 0.7},
    {"neck.blocks": 9},
    {"head.sharing": "all"},
    {"head.sharing": "none", "num_classes": 1},
    {"head.stacked_convs": 3},
    {"head.stacked_convs": 1, "head.sharing": "all"},
    {"exp_on_reg": True},
]


def assert_exact(config: ModelConfig, size: int) -> None:
    with torch.device("meta"):
        counted = measure_complexity(RTMDet(config), size)
    found = estimate(config, size)
    assert {name: cost.params for name, cost in found.items()} == counted.params_by_part | {"total": counted.params}
    assert {name: cost.macs for name, cost in found.items()} == counted.macs_by_part | {"total": counted.macs}


@pytest.mark.parametrize("size", ["tiny", "s", "m", "l", "x"])
def test_estimate_of_a_published_size_is_exact(size):
    assert_exact(ModelConfig(size=size), 640)


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_estimate_of_a_changed_network_is_exact(change):
    config = with_overrides(ModelConfig(size="tiny"), change)
    assert estimate(config, 96) != estimate(ModelConfig(size="tiny"), 96) or "exp_on_reg" in change
    assert_exact(config, 96)


def test_layers_by_hand():
    assert conv(3, 8, 3, cells=100) == Cost(3 * 8 * 9 + 16, 3 * 8 * 9 * 100)
    assert conv(8, 8, 5, cells=10, groups=8) == Cost(8 * 25 + 16, 8 * 25 * 10)
    assert block(4, 5, cells=7) == Cost(9 * 16 + 25 * 4 + 16 + 6 * 4, (9 * 16 + 25 * 4 + 16) * 7)
    assert Cost(1, 2) + Cost(3, 4).times(2) == Cost(7, 10)


@pytest.mark.parametrize(
    ("settings", "size", "words"),
    [
        ({"size": "nano"}, 320, ["depthwise"]),
        ({"depthwise": True}, 320, ["depthwise"]),
        ({"block": "darknet"}, 320, ["model.block"]),
        ({}, 330, ["330", "multiple of 32"]),
    ],
)
def test_what_the_formulas_do_not_describe_is_refused(settings, size, words):
    with pytest.raises(SettingError) as error:
        estimate(with_overrides(ModelConfig(), settings), size)
    assert_one_sentence(error.value, *words)
