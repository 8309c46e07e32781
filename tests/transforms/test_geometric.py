"""Resize, crop, flip and pad, by hand and against OpenCV."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest
import torch
from made_samples import assert_same_sample, boxes_of, make_sample, snapshot
from torch.testing import assert_close

from rtmdet_lab.transforms.base import PAD_VALUE, EmptyCrop, image_size, to_array
from rtmdet_lab.transforms.geometric import (
    Pad,
    RandomCrop,
    RandomFlip,
    RandomResize,
    Resize,
    fit_size,
    flip_sample,
    resize_sample,
)

TRANSFORMS = {
    "resize": Resize(24),
    "random resize": RandomResize(24, (0.5, 2.0)),
    "crop": RandomCrop(16),
    "flip": RandomFlip(1.0),
    "pad": Pad(64),
}


@pytest.mark.parametrize(
    ("size", "limit", "expected"),
    [
        ((426, 640), (640, 640), (426, 640)),
        ((480, 640), (320, 320), (240, 320)),
        ((425, 640), (320, 320), (213, 320)),  # 212.5 is rounded up (half to even would give 212)
        ((427, 640), (320, 320), (214, 320)),  # 213.5
        ((640, 425), (320, 320), (320, 213)),
        ((333, 500), (640, 640), (426, 640)),  # 333 * 1.28 = 426.24
        ((1, 1000), (100, 100), (1, 100)),  # 0.1 would round to nothing: one pixel stays
        ((1, 1), (640, 640), (640, 640)),
        ((500, 375), (1, 1), (1, 1)),
        ((100, 200), (400, 300), (200, 400)),  # long against long: 400 / 200 = 2, short 300 / 100 = 3
    ],
)
def test_fitted_size(size, limit, expected):
    assert fit_size(size, limit) == expected


def test_resize_moves_boxes_by_hand():
    # 50 x 100 (h x w) into 40: factor 0.4, 20 x 40. Box 10 5 60 45 -> 4 2 24 18.
    image, target = Resize(40)(*make_sample(50, 100, [[10, 5, 60, 45]]))
    assert image_size(image) == (20, 40)
    assert_close(boxes_of(target), [[4.0, 2.0, 24.0, 18.0]], rtol=0, atol=1e-5)
    assert target["boxes"].canvas_size == (20, 40)
    assert target["meta"].scale == (0.4, 0.4)


def test_boxes_follow_the_whole_pixels_and_not_the_exact_ratio():
    # 425 x 640 into 320: 213 x 320, so y scales by 213 / 425 = 0.501176 and x by 0.5.
    _, target = Resize(320)(*make_sample(425, 640, [[0, 0, 640, 425]]))
    assert_close(boxes_of(target), [[0.0, 0.0, 320.0, 213.0]], rtol=0, atol=1e-4)
    assert target["meta"].scale == (0.5, 213 / 425)


@pytest.mark.parametrize("size", [(7, 13), (37, 53), (64, 64), (90, 21), (1, 40)])
@pytest.mark.parametrize("side", [5, 32, 101])
def test_resized_pixels_are_those_of_opencv(size, side):
    sample = make_sample(*size, [[0, 0, 5, 1]])
    image, _ = Resize(side)(*sample)
    height, width = fit_size(size, (side, side))
    expected = cv2.resize(to_array(sample[0]), (width, height), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(to_array(image), expected)


def test_two_resizes_remember_the_product_of_their_scales():
    sample = make_sample(60, 120, [[12, 6, 60, 30]])
    image, target = resize_sample(*resize_sample(*sample, (30, 90)), (15, 45))
    assert image_size(image) == (15, 45)
    assert target["meta"].scale == (45 / 120, 15 / 60)
    x_scale, y_scale = target["meta"].scale
    back = torch.tensor(boxes_of(target)) / torch.tensor([x_scale, y_scale, x_scale, y_scale])
    assert_close(back, torch.tensor(boxes_of(sample)), rtol=0, atol=1e-4)


def test_random_resize_by_hand():
    # base 100 times 0.5 = 50: 80 x 40 becomes 50 x 25, factor 0.625. Box 4 8 20 40 -> 2.5 5 12.5 25.
    image, target = RandomResize(100, (0.5, 0.5))(*make_sample(80, 40, [[4, 8, 20, 40]]))
    assert image_size(image) == (50, 25)
    assert_close(boxes_of(target), [[2.5, 5.0, 12.5, 25.0]], rtol=0, atol=1e-5)


def test_random_resize_draws_its_ratio_evenly_from_the_range():
    sample = make_sample(10, 10, [[1, 1, 5, 5]])
    sides = []
    for seed in range(400):
        torch.manual_seed(seed)
        sides.append(image_size(RandomResize(100, (0.5, 2.0))(*sample)[0])[0])
    assert min(sides) >= 50
    assert max(sides) < 200
    assert np.mean(sides) == pytest.approx(125, abs=12)  # deviation of the mean: 150 / sqrt(12 * 400) = 2.2


def test_random_resize_drops_what_lies_outside_the_image():
    _, target = RandomResize(20, (1.0, 1.0))(*make_sample(20, 20, [[25, 2, 30, 6], [2, 2, 40, 6]], scored=True))
    assert boxes_of(target) == [[2, 2, 20, 6]]
    assert target["labels"].tolist() == [1]
    assert target["areas"].tolist() == [101]


def test_crop_is_a_window_of_the_image_with_boxes_moved_along():
    image, target = make_sample(40, 50, [[10, 12, 30, 28]])
    for seed in range(20):
        torch.manual_seed(seed)
        window, moved = RandomCrop(30)(image, target)
        assert image_size(window) == (30, 30)
        torch.manual_seed(seed)
        top, left = torch.randint(40 - 30 + 1, ()).item(), torch.randint(50 - 30 + 1, ()).item()
        assert torch.equal(window, image[:, top : top + 30, left : left + 30])
        x1, y1, x2, y2 = 10 - left, 12 - top, 30 - left, 28 - top
        assert boxes_of(moved) == [[max(x1, 0), max(y1, 0), min(x2, 30), min(y2, 30)]]


def test_crop_reaches_every_corner_and_leaves_small_sides_whole():
    image, target = make_sample(8, 40, [[0, 0, 40, 8]])
    starts = set()
    for seed in range(300):
        torch.manual_seed(seed)
        window, _ = RandomCrop(30)(image, target)
        assert image_size(window) == (8, 30)
        starts.add(next(left for left in range(11) if torch.equal(window, image[:, :, left : left + 30])))
    assert starts == set(range(11))


def test_crop_that_loses_its_last_object_is_rejected():
    sample = make_sample(40, 40, [[0, 0, 3, 3]])
    outcomes = set()
    for seed in range(60):
        torch.manual_seed(seed)
        try:
            _, target = RandomCrop(20)(*sample)
            assert len(target["labels"]) == 1
            outcomes.add("kept")
        except EmptyCrop:
            outcomes.add("rejected")
    assert outcomes == {"kept", "rejected"}


def test_crop_of_an_image_without_objects_is_not_rejected():
    image, target = RandomCrop(20)(*make_sample(40, 40, []))
    assert image_size(image) == (20, 20)
    assert target["boxes"].shape == (0, 4)


def test_flip_by_hand():
    # Width 50: 10 5 30 20 -> 50 - 30 = 20, 50 - 10 = 40.
    sample = make_sample(40, 50, [[10, 5, 30, 20]], scored=True)
    image, target = RandomFlip(1.0)(*sample)
    assert boxes_of(target) == [[20, 5, 40, 20]]
    assert torch.equal(image, sample[0].flip(-1))
    assert target["areas"].tolist() == [100]


@pytest.mark.parametrize("size", [(7, 9), (8, 1), (5, 64)])
def test_flip_twice_changes_nothing(size):
    sample = make_sample(*size, [[0, 1, 1, 3]])
    assert_same_sample(flip_sample(*flip_sample(*sample)), sample)


def test_flip_probability():
    sample = make_sample(4, 4, [[0, 0, 1, 1]])
    counts = {}
    for prob in (0.0, 0.25, 1.0):
        torch.manual_seed(0)
        counts[prob] = sum(boxes_of(RandomFlip(prob)(*sample))[0][0] == 3 for _ in range(400))
    assert counts[0.0] == 0
    assert counts[0.25] == pytest.approx(100, abs=44)  # 5 deviations of 8.7
    assert counts[1.0] == 400


def test_padding_is_grey_at_the_right_and_bottom_and_moves_no_box():
    sample = make_sample(20, 30, [[3, 4, 9, 8]], scored=True)
    image, target = Pad(40)(*sample)
    array = to_array(image)
    assert array.shape == (40, 40, 3)
    np.testing.assert_array_equal(array[:20, :30], to_array(sample[0]))
    assert (array[20:] == PAD_VALUE).all()
    assert (array[:, 30:] == PAD_VALUE).all()
    assert PAD_VALUE == 114
    assert boxes_of(target) == [[3, 4, 9, 8]]
    assert target["boxes"].canvas_size == target["meta"].canvas_size == (40, 40)
    assert target["meta"].original_size == (20, 30)


def test_padding_leaves_larger_images_and_pads_only_the_short_side():
    assert image_size(Pad(16)(*make_sample(20, 30, []))[0]) == (20, 30)
    assert image_size(Pad(25)(*make_sample(20, 30, []))[0]) == (25, 30)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_input_is_never_changed(name):
    for seed in range(6):
        sample = make_sample(30, 44, [[2, 3, 20, 25], [30, 1, 44, 9]], seed=seed, scored=True)
        before = snapshot(sample)
        torch.manual_seed(seed)
        with contextlib.suppress(EmptyCrop):
            image, _ = TRANSFORMS[name](*sample)
            if image is not sample[0]:
                image.fill_(1)  # what a later transform does to the result must not reach the input either
        assert snapshot(sample) == before


@pytest.mark.parametrize("name", TRANSFORMS)
def test_images_without_objects_and_of_one_pixel_pass(name):
    for size in ((1, 1), (1, 50), (33, 20)):
        image, target = TRANSFORMS[name](*make_sample(*size, [], scored=True))
        assert image.dtype == torch.uint8
        assert target["boxes"].shape == (0, 4)
        assert target["boxes"].canvas_size == image_size(image)
        assert {"labels", "ignore", "areas", "meta"} <= target.keys()
