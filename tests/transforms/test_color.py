"""Colour jitter against a loop over pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from made_samples import make_sample, snapshot

from rtmdet_lab.transforms import color
from rtmdet_lab.transforms.base import to_array
from rtmdet_lab.transforms.color import RandomHSV, shift_hsv


def slow_shift(hsv: np.ndarray, hue: int, saturation: int, value: int) -> np.ndarray:
    shifted = hsv.copy()
    for y in range(hsv.shape[0]):
        for x in range(hsv.shape[1]):
            h, s, v = (int(one) for one in hsv[y, x])
            shifted[y, x] = (h + hue) % 180, min(max(s + saturation, 0), 255), min(max(v + value, 0), 255)
    return shifted


@pytest.mark.parametrize(
    "shifts", [(0, 0, 0), (4, 0, 0), (-4, 0, 0), (0, 29, -29), (0, -29, 29), (179, 255, -255), (3, -7, 11), (-5, -30, -30)]
)
def test_hue_wraps_around_and_the_others_saturate(shifts):
    rng = np.random.default_rng(0)
    hsv = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    hsv[..., 0] %= 180
    hsv[0, :4] = [[0, 0, 0], [179, 255, 255], [1, 1, 254], [178, 254, 1]]
    expected = slow_shift(hsv, *shifts)
    shift_hsv(hsv, *shifts)
    np.testing.assert_array_equal(hsv, expected)


def test_jittered_image_is_that_of_the_drawn_shifts(monkeypatch):
    drawn = []
    monkeypatch.setattr(color, "shift_hsv", lambda hsv, *shifts: (drawn.append(shifts), shift_hsv(hsv, *shifts)))
    image, target = make_sample(12, 9, [[1, 1, 5, 5]])
    changed = 0
    for seed in range(40):
        torch.manual_seed(seed)
        drawn.clear()
        jittered, same = RandomHSV()(image, target)
        assert same is target
        if not drawn:
            assert jittered is image
            continue
        changed += 1
        expected = slow_shift(cv2.cvtColor(to_array(image), cv2.COLOR_RGB2HSV), *drawn[0])
        np.testing.assert_array_equal(to_array(jittered), cv2.cvtColor(expected, cv2.COLOR_HSV2RGB))
    assert changed > 20


def test_shifts_are_drawn_as_published(monkeypatch):
    drawn = []
    monkeypatch.setattr(color, "shift_hsv", lambda hsv, *shifts: drawn.append(shifts))
    image, target = make_sample(1, 1, [])
    torch.manual_seed(0)
    count = 4000
    jitter = RandomHSV(5, 30, 30)
    for _ in range(count):
        jitter(image, target)
    shifts = np.array(drawn + [(0, 0, 0)] * (count - len(drawn)))
    for channel, limit in enumerate((5, 30, 30)):
        values = shifts[:, channel]
        assert set(values) == set(range(-limit + 1, limit))  # cut towards zero: the limits themselves are not reached
        # Off half the time, and a fifth (hue) or a thirtieth of the draws are cut to zero: 1/2 + 1/2 * 1/limit.
        assert (values == 0).mean() == pytest.approx(0.5 + 0.5 / limit, abs=0.04)
        assert values.mean() == pytest.approx(0, abs=0.06 * limit)
        # Uniform: every other value equally often.
        others = np.bincount(values[values != 0] + limit, minlength=2 * limit)
        others = np.delete(others, [0, limit])
        assert others.std() < 4 * np.sqrt(others.mean())
    # The three are switched on independently.
    on = shifts != 0
    assert (on[:, 1] & on[:, 2]).mean() == pytest.approx(on[:, 1].mean() * on[:, 2].mean(), abs=0.03)


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_zero_limit_leaves_a_channel_alone(channel, monkeypatch):
    drawn = []
    monkeypatch.setattr(color, "shift_hsv", lambda hsv, *shifts: drawn.append(shifts))
    limits = [9, 9, 9]
    limits[channel] = 0
    torch.manual_seed(0)
    for _ in range(50):
        RandomHSV(*limits)(*make_sample(1, 1, []))
    assert drawn
    assert {shifts[channel] for shifts in drawn} == {0}


def test_input_is_never_changed_and_objects_stay():
    sample = make_sample(10, 10, [[1, 2, 3, 4]], scored=True)
    before = snapshot(sample)
    for seed in range(12):
        torch.manual_seed(seed)
        image, target = RandomHSV()(*sample)
        assert target is sample[1]
        if image is not sample[0]:
            image.fill_(0)
    assert snapshot(sample) == before


def test_image_with_separate_channels_gives_the_same_result():
    image, target = make_sample(10, 14, [])
    planes = type(image)(image.clone(memory_format=torch.contiguous_format))
    assert planes.is_contiguous()
    for seed in range(5):
        torch.manual_seed(seed)
        first, _ = RandomHSV()(image, target)
        torch.manual_seed(seed)
        second, _ = RandomHSV()(planes, target)
        assert torch.equal(first, second)
