"""The detection head: what its levels share, and how its numbers become boxes."""

from __future__ import annotations

import math

import pytest
import torch
from made_networks import noise, parameters_of, randomise_norms, weights_without_gradient

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve_model
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.layers.conv import ConvBNAct
from rtmdet_lab.models.head import RTMDetHead

CLASSES, CHANNELS = 5, 12
SIZES = ((8, 10), (4, 5), (2, 3))


def made(sharing: str = "convs", seed: int = 0, **settings) -> RTMDetHead:
    torch.manual_seed(seed)
    config = with_overrides(ModelConfig(num_classes=CLASSES), {"head.sharing": sharing} | settings)
    return RTMDetHead(resolve_model(config), CHANNELS).eval()


def maps(seed: int = 0) -> list[torch.Tensor]:
    return [noise(2, CHANNELS, *size, seed=seed) for size in SIZES]


@pytest.mark.parametrize("stacked", [1, 2, 3])
def test_parameter_counts_of_the_sharing_modes_by_hand(stacked):
    weights, norms = 2 * stacked * 9 * CHANNELS**2, 2 * stacked * 2 * CHANNELS
    predictors = (CHANNELS + 1) * (CLASSES + 4)
    counts = {mode: parameters_of(made(mode, **{"head.stacked_convs": stacked})) for mode in ("convs", "all", "none")}
    assert counts == {
        "convs": weights + 3 * (norms + predictors),
        "all": weights + norms + predictors,
        "none": 3 * (weights + norms + predictors),
    }


@pytest.mark.parametrize(
    ("sharing", "convolutions", "norms", "predictors"),
    [("convs", True, False, False), ("all", True, True, True), ("none", False, False, False)],
)
@pytest.mark.parametrize("depthwise", [False, True])
def test_levels_share_what_the_mode_says_and_nothing_else(sharing, convolutions, norms, predictors, depthwise):
    head = made(sharing, depthwise=depthwise)
    for towers in (head.cls_convs, head.reg_convs):
        layers = [[one for one in tower.modules() if isinstance(one, ConvBNAct)] for tower in towers]
        for first, other in zip(layers[0], layers[2], strict=True):
            assert (first.conv.weight is other.conv.weight) == convolutions
            assert (first.bn is other.bn) == norms
    for one in (head.rtm_cls, head.rtm_reg):
        assert (one[0] is one[2]) == predictors
    assert head.cls_convs[0][0] is not head.reg_convs[0][0]


def test_sharing_does_not_change_the_keys_of_a_file():
    keys = {mode: list(made(mode).state_dict()) for mode in ("convs", "all", "none")}
    assert keys["convs"] == keys["none"]
    assert set(keys["all"]) == set(keys["none"])


@pytest.mark.parametrize("sharing", ["convs", "all", "none"])
def test_every_weight_gets_a_gradient(sharing):
    head = randomise_norms(made(sharing), seed=1)
    found = head(maps())
    (found.logits.square().sum() + (found.boxes * noise(*found.boxes.shape)).sum()).backward()
    assert not weights_without_gradient(head)


@pytest.mark.parametrize("classes", [1, 80])
def test_untrained_head_gives_every_class_a_probability_of_one_percent(classes):
    found = made(num_classes=classes)(maps())
    assert found.logits.sigmoid().sub(0.01).abs().max() < 1e-3


@pytest.mark.parametrize("exp_on_reg", [False, True])
@torch.no_grad()
def test_distances_are_outputs_times_the_stride(exp_on_reg):
    head = made(exp_on_reg=exp_on_reg)
    raw = torch.tensor([0.5, 1.0, 1.5, 2.0])
    for predictor in head.rtm_reg:
        predictor.weight.zero_()
        predictor.bias.copy_(raw)
    found = head(maps())
    left, top, right, bottom = (math.exp(one) if exp_on_reg else one for one in raw.tolist())
    points, strides = found.priors.points, found.priors.strides[:, None]
    x, y = points[:, :1], points[:, 1:]
    expected = torch.cat([x - left * strides, y - top * strides, x + right * strides, y + bottom * strides], dim=1)
    torch.testing.assert_close(found.boxes, expected.expand(2, -1, -1))


@torch.no_grad()
def test_points_are_level_by_level_and_row_by_row():
    head = randomise_norms(made(), seed=2)
    features = maps()
    logits, _ = head.predict_levels(features)
    found = head(features)
    assert found.level_sizes() == [height * width for height, width in SIZES]
    start = 0
    for level, (height, width) in zip(logits, SIZES, strict=True):
        for row, column in ((0, 0), (1, 2), (height - 1, width - 1)):
            assert torch.equal(found.logits[:, start + row * width + column], level[:, :, row, column])
        start += height * width


@pytest.mark.parametrize("exp_on_reg", [False, True])
@torch.no_grad()
def test_half_precision_does_not_reach_the_distances(exp_on_reg):
    head = made(exp_on_reg=exp_on_reg)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, distances = head.predict_levels(maps())
    assert {one.dtype for one in logits} == {torch.bfloat16}
    assert {one.dtype for one in distances} == {torch.float32}
