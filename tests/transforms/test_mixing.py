"""Mosaic and mixup: what lands where, by hand and by looking at the pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_samples import Given, boxes_of, extent_of, make_sample, painted_sample, snapshot
from torch.testing import assert_close

from rtmdet_lab.transforms.base import PAD_VALUE, image_size, to_array
from rtmdet_lab.transforms.mixing import MixUp, Mosaic, average, paste, place_corners
from rtmdet_lab.transforms.partners import CachedPartners

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def test_corners_around_a_fixed_center_by_hand():
    # size 100, center (100, 100). 50 x 80 (h x w) fits with 1.25: 62.5 is cut to 62, so 62 x 100.
    first, second, third, fourth = place_corners([(50, 80), (100, 50), (200, 200), (10, 10)], 100, (1.0, 1.0))
    assert (first.ratio, first.height, first.width, first.left, first.top) == (1.25, 62, 100, 0, 38)  # 100-100, 100-62
    assert (second.ratio, second.height, second.width, second.left, second.top) == (1.0, 100, 50, 100, 0)
    assert (third.ratio, third.height, third.width, third.left, third.top) == (0.5, 100, 100, 0, 100)
    assert (fourth.ratio, fourth.height, fourth.width, fourth.left, fourth.top) == (10.0, 100, 100, 100, 100)


def test_center_lies_between_half_and_one_and_a_half_sizes():
    centers = []
    for seed in range(600):
        torch.manual_seed(seed)
        corners = place_corners([(64, 64)] * 4, 64)
        centers.append((corners[3].left, corners[3].top))
        # All four touch the center.
        assert (corners[0].left + corners[0].width, corners[0].top + corners[0].height) == centers[-1]
        assert (corners[1].left, corners[1].top + corners[1].height) == centers[-1]
        assert (corners[2].left + corners[2].width, corners[2].top) == centers[-1]
    x, y = np.array(centers).T
    for values in (x, y):
        assert values.min() >= 32
        assert values.max() < 96
        assert values.min() <= 34
        assert values.max() >= 93
        assert values.mean() == pytest.approx(63.5, abs=4)  # five deviations of 18.5 / sqrt(600)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.2


def test_mosaic_by_hand():
    # size 40, center (40, 40), images of 20 x 20: ratio 2, each fills its quarter.
    samples = [painted_sample(20, 20, [[2, 3, 12, 9]], [color]) for color in (RED, GREEN, BLUE, WHITE)]
    image, target = Mosaic(Given(samples[1:]), 40, (1.0, 1.0))(*samples[0])
    assert image_size(image) == (80, 80)
    # 2 3 12 9 doubled is 4 6 24 18; then + 40 to the right and below.
    assert boxes_of(target) == [[4, 6, 24, 18], [44, 6, 64, 18], [4, 46, 24, 58], [44, 46, 64, 58]]
    assert target["boxes"].canvas_size == (80, 80)
    for color, box in zip((RED, GREEN, BLUE, WHITE), boxes_of(target), strict=True):
        assert_close(torch.tensor(extent_of(image, color, 120)), torch.tensor(box).long(), rtol=0, atol=1)


@pytest.mark.parametrize("seed", range(12))
def test_every_rectangle_of_a_mosaic_is_found_at_its_box(seed):
    rng = np.random.default_rng(seed)
    samples = []
    for color in (RED, GREEN, BLUE, WHITE):
        height, width = (int(one) for one in rng.integers(20, 90, 2))
        x, y = int(rng.integers(0, width - 12)), int(rng.integers(0, height - 12))
        box = [x, y, int(rng.integers(x + 10, width)), int(rng.integers(y + 10, height))]
        samples.append(painted_sample(height, width, [box], [color]))
        samples[-1][1]["labels"][0] = len(samples) - 1
    torch.manual_seed(seed)
    image, target = Mosaic(Given(samples[1:]), 64)(*samples[0])
    assert len(target["labels"]) >= 1
    found = {label: box for label, box in zip(target["labels"].tolist(), boxes_of(target), strict=True)}
    for label, color in enumerate((RED, GREEN, BLUE, WHITE)):
        seen = extent_of(image, color, 120)
        if label in found:
            x1, y1, x2, y2 = found[label]
            if min(x2 - x1, y2 - y1) < 3:
                continue  # a sliver at the border may blend into the background
            assert_close(torch.tensor(seen).float(), torch.tensor(found[label]), rtol=0, atol=1.5)
        else:
            assert seen is None or min(seen[2] - seen[0], seen[3] - seen[1]) <= 1


def test_mosaic_is_grey_where_no_image_lies():
    samples = [painted_sample(10, 20, [], [], background=200) for _ in range(4)]
    image, _ = Mosaic(Given(samples[1:]), 40, (1.0, 1.0))(*samples[0])
    array = to_array(image)  # wide images: 20 high, 40 wide, two on each side of the center line
    assert (array[20:60] == 200).all()
    assert (array[:20] == PAD_VALUE).all()
    assert (array[60:] == PAD_VALUE).all()


def test_object_that_falls_off_the_canvas_is_dropped():
    # Center (20, 20) of a 80 canvas: of the 40 x 40 image at the top left only its lower right quarter is seen.
    first = painted_sample(40, 40, [[0, 0, 10, 10], [15, 15, 30, 30], [25, 25, 35, 35]], [RED, GREEN, BLUE])
    empty = painted_sample(40, 40, [], [])
    _, target = Mosaic(Given([empty]), 40, (0.5, 0.5))(*first)
    assert boxes_of(target) == [[0, 0, 10, 10], [5, 5, 15, 15]]  # 15..30 moved by -20 and clipped; 25..35 by -20
    assert target["labels"].tolist() == [1, 2]


def test_mosaic_waits_until_the_cache_has_five():
    mosaic = Mosaic(CachedPartners(10, "random", min_size=5), 32)
    for number in range(4):
        sample = make_sample(20, 20, [[1, 1, 9, 9]], seed=number)
        image, target = mosaic(*sample)
        assert image is sample[0]
        assert target is sample[1]
    image, _ = mosaic(*make_sample(20, 20, [[1, 1, 9, 9]], seed=4))
    assert image_size(image) == (64, 64)


def test_mosaic_remembers_each_image_before_drawing_and_asks_for_three():
    source = Given([make_sample(8, 8, [])])
    sample = make_sample(8, 8, [[0, 0, 4, 4]])
    Mosaic(source, 16)(*sample)
    assert source.asked == 3
    assert source.remembered[0][0] is sample[0]


def test_average_is_exact_for_every_pair_of_bytes():
    first, second = np.meshgrid(np.arange(256), np.arange(256))
    expected = (first + second) // 2
    np.testing.assert_array_equal(average(first.astype(np.uint8), second.astype(np.uint8)), expected.astype(np.uint8))


def test_mixup_by_hand():
    # The partner of 20 x 40 (h x w) is doubled to 40 x 80 on an 80 x 80 canvas, so its box doubles too.
    first = painted_sample(80, 80, [[10, 10, 30, 30]], [(200, 200, 200)])
    second = painted_sample(20, 40, [[20, 5, 35, 15]], [(101, 101, 101)], background=50)
    image, target = MixUp(Given([second]), 80, flip_prob=0.0)(*first)
    assert boxes_of(target) == [[10, 10, 30, 30], [40, 10, 70, 30]]
    assert target["meta"] == first[1]["meta"]
    array = to_array(image)[..., 0]
    assert array[20, 20] == 125  # (200 + 50) // 2
    assert array[20, 55] == 50  # (0 + 101) // 2, rounded down
    assert array[35, 75] == 25  # (0 + 50) // 2
    assert array[60, 60] == 57  # (0 + 114) // 2: under the partner is grey


def test_partner_is_mirrored_with_its_canvas():
    first = painted_sample(80, 80, [[10, 10, 30, 30]], [WHITE])
    second = painted_sample(40, 20, [[2, 5, 12, 15]], [WHITE])  # doubled: 80 x 40 at the left; box 4 10 24 30
    image, target = MixUp(Given([second]), 80, flip_prob=1.0)(*first)
    assert boxes_of(target)[1] == [80 - 24, 10, 80 - 4, 30]
    array = to_array(image)[..., 0]
    assert array[50, 20] == 57  # the grey is at the left now
    assert array[50, 78] == 0
    assert array[20, 65] == 127


def test_partner_is_cut_to_an_image_that_is_not_square():
    first = painted_sample(30, 50, [[0, 0, 5, 5]], [WHITE])
    second = painted_sample(60, 60, [[1, 1, 10, 10], [40, 40, 50, 50]], [WHITE, WHITE])
    image, target = MixUp(Given([second]), 60, flip_prob=0.0)(*first)
    assert image_size(image) == (30, 50)
    assert boxes_of(target) == [[0, 0, 5, 5], [1, 1, 10, 10]]  # the other lies below the image
    assert target["boxes"].canvas_size == (30, 50)


def test_mixup_waits_until_the_cache_has_two():
    mixup = MixUp(CachedPartners(10, "random", min_size=2), 20)
    first = make_sample(20, 20, [[1, 1, 9, 9]])
    assert mixup(*first)[0] is first[0]
    image, target = mixup(*make_sample(20, 20, [[1, 1, 9, 9]], seed=1))
    assert len(target["labels"]) == 2
    assert image is not first[0]


def test_fifteen_partners_are_tried_until_one_has_objects():
    empty, full = make_sample(8, 8, []), make_sample(8, 8, [[0, 0, 4, 4]], seed=1)
    sample = make_sample(8, 8, [[1, 1, 3, 3]], seed=2)
    source = Given([empty] * 14 + [full])
    assert len(MixUp(source, 8)(*sample)[1]["labels"]) == 2
    assert source.asked == 15
    source = Given([empty] * 15 + [full])
    assert MixUp(source, 8)(*sample)[0] is sample[0]
    assert source.asked == 15


def test_mixup_probability_and_memory_of_unmixed_images():
    source = Given([make_sample(8, 8, [[0, 0, 4, 4]])])
    sample = make_sample(8, 8, [[1, 1, 3, 3]], seed=2)
    torch.manual_seed(0)
    never = [MixUp(source, 8, prob=0.0)(*sample)[0] is sample[0] for _ in range(50)]
    assert all(never)
    assert len(source.remembered) == 50  # they may be partners of later images
    half = sum(MixUp(source, 8, prob=0.5)(*sample)[0] is sample[0] for _ in range(400))
    assert half == pytest.approx(200, abs=50)
    assert not any(MixUp(source, 8, prob=1.0)(*sample)[0] is sample[0] for _ in range(50))


@pytest.mark.parametrize("kind", ["mosaic", "mixup"])
def test_neither_the_image_nor_its_partners_are_changed(kind):
    samples = [make_sample(30, 40, [[1, 2, 20, 20]], seed=number, scored=True) for number in range(4)]
    before = [snapshot(sample) for sample in samples]
    for seed in range(8):
        torch.manual_seed(seed)
        mix = Mosaic(Given(samples[1:]), 32) if kind == "mosaic" else MixUp(Given(samples[1:]), 32)
        image, _ = mix(*samples[0])
        image.fill_(0)
    assert [snapshot(sample) for sample in samples] == before


@pytest.mark.parametrize("kind", ["mosaic", "mixup"])
def test_new_epoch_empties_the_cache(kind):
    mix = (Mosaic if kind == "mosaic" else MixUp)(CachedPartners(10, "oldest", min_size=1), 16)
    mix(*make_sample(8, 8, [[0, 0, 4, 4]]))
    assert mix.partners.samples
    mix.start_epoch()
    assert not mix.partners.samples


def test_images_without_objects_pass_both():
    empty = make_sample(9, 7, [], scored=True)
    image, target = Mosaic(Given([empty]), 16)(*empty)
    assert image_size(image) == (32, 32)
    assert target["boxes"].shape == (0, 4)
    assert MixUp(Given([empty]), 16)(*empty)[1]["boxes"].shape == (0, 4)
    full = make_sample(16, 16, [[0, 0, 4, 4]], scored=True)
    assert len(MixUp(Given([full]), 16)(*make_sample(16, 16, [], scored=True))[1]["labels"]) == 1


def test_images_of_one_pixel_pass_both():
    dot = painted_sample(1, 1, [[0, 0, 1, 1]], [WHITE])
    image, target = Mosaic(Given([dot]), 16, (1.0, 1.0))(*dot)
    assert (to_array(image) == 255).all()
    assert len(target["labels"]) == 4
    assert boxes_of(MixUp(Given([dot]), 16, flip_prob=0.0)(*painted_sample(16, 16, [], []))[1]) == [[0, 0, 16, 16]]


@pytest.mark.parametrize(("left", "top"), [(-3, -2), (5, 6), (2, 1), (-20, 0), (0, 20), (9, 7)])
def test_pasting_past_the_border_cuts_off(left, top):
    canvas = np.zeros((8, 10, 3), dtype=np.uint8)
    array = np.random.default_rng(0).integers(1, 255, (5, 6, 3), dtype=np.uint8)
    expected = canvas.copy()
    for y in range(5):
        for x in range(6):
            if 0 <= y + top < 8 and 0 <= x + left < 10:
                expected[y + top, x + left] = array[y, x]
    paste(canvas, array, left, top)
    np.testing.assert_array_equal(canvas, expected)
