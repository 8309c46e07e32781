"""The effective receptive field: worked by hand for stacks of convolutions, and wider for wider kernels."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from rtmdet_lab import create_model
from rtmdet_lab.analysis.receptive_field import PLACES, ReceptiveField, features_at, receptive_field, settle_norms
from rtmdet_lab.core.errors import SettingError, UnknownNameError

torch.set_num_threads(1)


def ones_conv(kernel: int, stride: int = 1, dilation: int = 1, inputs: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, 1, kernel, stride, dilation * (kernel // 2), dilation, bias=False)
    nn.init.ones_(conv.weight)
    return conv


def test_two_convolutions_of_ones_give_a_triangle():
    found = receptive_field(nn.Sequential(ones_conv(3), ones_conv(3, inputs=1)), input_size=9, samples=2)
    # [1 1 1] * [1 1 1] = [1 2 3 2 1] in both directions, 81 in all.
    triangle = torch.tensor([0, 0, 1, 2, 3, 2, 1, 0, 0], dtype=torch.float64)
    assert_close(found.map, triangle[:, None] * triangle / 81)
    assert found.center == (4, 4)
    # The center holds 9 of 81, the square of three around it (2 + 3 + 2)^2 = 49, that of five all.
    assert_close(found.inside(), torch.tensor([9, 49, 81, 81, 81], dtype=torch.float64) / 81)
    assert [found.side(share) for share in (9 / 81, 0.12, 49 / 81, 0.61, 1.0)] == [1, 3, 3, 5, 5]


def test_stride_doubles_the_steps_of_what_follows():
    found = receptive_field(nn.Sequential(ones_conv(3, stride=2), ones_conv(3, inputs=1)), input_size=16, samples=1)
    # Windows of three, two pixels apart, share their borders: 1 1 2 1 2 1 1, around pixel 2 * 4.
    row = torch.zeros(16, dtype=torch.float64)
    row[5:12] = torch.tensor([1, 1, 2, 1, 2, 1, 1])
    assert found.center == (8, 8)
    assert_close(found.map, row[:, None] * row / 81)
    assert found.side(1.0) == 7


def test_dilated_taps_are_seen_where_they_are():
    found = receptive_field(ones_conv(3, dilation=2), input_size=7, samples=1)
    assert found.map.nonzero().tolist() == [[y, x] for y in (1, 3, 5) for x in (1, 3, 5)]


def test_gradients_of_either_sign_count_and_inputs_are_averaged():
    class Squared(nn.Module):
        def forward(self, x):
            return x.square().sum(dim=1, keepdim=True)  # gradient 2x: another one for each input

    one = receptive_field(Squared(), input_size=3, samples=1, seed=5)
    assert float(one.map[1, 1]) == 1.0
    assert one.side(1.0) == 1
    mixed = receptive_field(nn.Conv2d(3, 4, 3, padding=1), input_size=5, samples=1)
    assert bool((mixed.map >= 0).all())
    assert float(mixed.map.sum()) == pytest.approx(1)


def test_blind_network_has_no_field_and_no_nan():
    conv = nn.Conv2d(3, 2, 3, padding=1)
    nn.init.zeros_(conv.weight)
    found = receptive_field(conv, input_size=5, samples=1)
    assert float(found.map.abs().sum()) == 0


def test_square_is_capped_at_the_input():
    found = ReceptiveField(torch.full((4, 4), 1 / 16, dtype=torch.float64), (2, 2))
    assert found.side(1.0) == 4  # the row and column 0 are two away: a square of 5
    assert found.side(9 / 16) == 3


@pytest.mark.parametrize("seed", range(3))
def test_wider_kernels_see_further(seed):
    sides, shares = [], []
    for kernel in (3, 7, 11):
        torch.manual_seed(seed)
        model = create_model("rtmdet-tiny", 3, kernel_size=kernel, width=0.25)
        features = features_at(model, "backbone, stride 8")
        settle_norms(model, features, 128, seed)
        found = receptive_field(features, 128, samples=2, seed=seed)
        sides.append(found.side(0.5))
        y, x = found.center
        shares.append(float(found.map[y - 16 : y + 17, x - 16 : x + 17].sum()))
    assert sides[0] < sides[1] < sides[2]
    assert shares[0] > shares[1] > shares[2]


def test_norms_are_settled_where_the_features_run_and_momenta_kept():
    torch.manual_seed(0)
    model = create_model("rtmdet-tiny", 3, width=0.25).train()
    features = features_at(model, "backbone, stride 8")
    settle_norms(model, features, 64)
    stem, last = model.backbone.stem[0].bn, model.backbone.stage4[0].bn
    assert not model.training
    assert float(stem.running_var.sub(1).abs().max()) > 0.1
    assert_close(last.running_var, torch.ones_like(last.running_var))
    fresh = create_model("rtmdet-tiny", 3, width=0.25).backbone.stem[0].bn
    assert stem.momentum == fresh.momentum


def test_every_place_has_the_stride_it_says():
    model = create_model("rtmdet-tiny", 3, width=0.125).eval()
    for place in PLACES:
        found = features_at(model, place)(torch.zeros(1, 3, 64, 64))
        assert 64 // found.shape[-1] == int(place.rpartition(" ")[2])


def test_impossible_requests_are_named():
    model = create_model("rtmdet-tiny", 3, width=0.125)
    with pytest.raises(UnknownNameError, match="did you mean 'neck, stride 8'"):
        features_at(model, "nek, stride 8")
    for options in ({"input_size": 0}, {"samples": 0}):
        with pytest.raises(SettingError, match="must be at least 1"):
            receptive_field(ones_conv(3), **options)
    with pytest.raises(SettingError, match="share"):
        receptive_field(ones_conv(3), 5, 1).side(0.0)
