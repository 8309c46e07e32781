"""Parts of a network: the published layout, and the same numbers as PyTorch's counter at the full size."""

from __future__ import annotations

import pytest
import torch

from rtmdet_lab import create_model
from rtmdet_lab.analysis.complexity import count_params, measure_complexity
from rtmdet_lab.analysis.model_summary import PARTS, anatomy, draw_weights, hollow_model, parts_of
from rtmdet_lab.core.errors import SettingError, UnknownNameError

torch.set_num_threads(1)


def test_shapes_are_those_of_the_published_layout():
    shapes = anatomy(hollow_model("rtmdet-tiny"), 640).shapes
    assert shapes["stem"] == [(24, 320, 320)]
    assert [shapes[f"stage{number}"] for number in (1, 2, 3, 4)] == [
        [(48, 160, 160)],
        [(96, 80, 80)],
        [(192, 40, 40)],
        [(384, 20, 20)],
    ]
    assert shapes["neck"] == [(96, 80, 80), (96, 40, 40), (96, 20, 20)]
    assert shapes["head"] == [(8400, 80), (8400, 4)]  # 80 * 80 + 40 * 40 + 20 * 20 points
    assert tuple(shapes) == PARTS


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rtmdet-ins-tiny", [(84, 3), (84, 4), (84, 169), (8, 8, 8)]), ("rtmdet-r-tiny", [(84, 3), (84, 5)])],
)
def test_shapes_of_other_tasks(name, expected):
    assert anatomy(hollow_model(name, 3), 64).shapes["head"] == expected


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("rtmdet-nano", {}),
        ("rtmdet-tiny", {"kernel_size": 9, "head.sharing": "none"}),
        ("rtmdet-s", {"block": "ppyoloe_rep", "head.sharing": "all"}),
        ("rtmdet-ins-tiny", {"block": "yolov6_rep", "head.shared_tower": False}),
        ("rtmdet-r-tiny", {"block": "darknet", "backbone.channel_attention": False}),
    ],
)
@pytest.mark.parametrize("size", [32, 416])
def test_numbers_equal_those_of_the_counter(name, overrides, size):
    found = anatomy(hollow_model(name, 7, overrides), size)
    counted = measure_complexity(create_model(name, 7, **overrides), size)
    assert sum(found.macs.values()) == counted.macs
    assert sum(found.params.values()) == counted.params
    assert found.macs["neck"] == counted.macs_by_part["neck"]
    assert sum(found.params[part] for part in PARTS[:5]) == counted.params_by_part["backbone"]


def test_hollow_model_is_the_same_network_without_its_weights():
    hollow, real = hollow_model("rtmdet-tiny", 4), create_model("rtmdet-tiny", 4)
    assert count_params(hollow) == count_params(real)  # shared convolutions stay shared
    assert not hollow.training
    assert not any(bool(value.detach().any()) for value in hollow.parameters())


def test_model_is_left_as_it_was():
    torch.manual_seed(0)
    model = create_model("rtmdet-tiny", 3, width=0.125).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    anatomy(model, 64)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(len(part._forward_hooks) == 0 for part in parts_of(model).values())


@pytest.mark.parametrize("size", [0, 16, 100])
def test_size_that_leaves_a_remainder_is_refused(size):
    with pytest.raises(SettingError, match="multiple of 32"):
        anatomy(hollow_model("rtmdet-tiny"), size)


def test_unknown_model_is_named():
    with pytest.raises(UnknownNameError, match="did you mean 'rtmdet-tiny'"):
        hollow_model("rtmdet-tinny")


def test_hollow_model_is_filled_as_a_new_one_is():
    torch.manual_seed(3)
    filled = draw_weights(hollow_model("rtmdet-tiny", 4, {"width": 0.25}))
    real = create_model("rtmdet-tiny", 4, width=0.25)
    for (name, ours), theirs in zip(filled.backbone.state_dict().items(), real.backbone.state_dict().values(), strict=True):
        assert ours.shape == theirs.shape
        if name.endswith("conv.weight"):  # drawn, from the same range
            assert float(ours.std()) == pytest.approx(float(theirs.std()), rel=0.3)
        elif ".bn." in name:
            assert torch.equal(ours, theirs)
