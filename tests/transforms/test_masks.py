"""Filling outlines at the end of a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_samples import make_sample

from rtmdet_lab.config.presets import resolve_augment
from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.geometry.masks import fill_polygons, mask_centers
from rtmdet_lab.geometry.polygons import Outlines
from rtmdet_lab.transforms.base import EmptyCrop, plain_boxes
from rtmdet_lab.transforms.geometric import flip_sample
from rtmdet_lab.transforms.masks import FillPolygons
from rtmdet_lab.transforms.pipelines import strong_pipeline


def with_outlines(seed: int, height: int = 60, width: int = 80, count: int = 4):
    """A sample whose objects are octagons, boxes around them."""
    rng = np.random.default_rng(seed)
    angles = np.arange(8) * np.pi / 4 + 0.3
    parts = []
    for _ in range(count):
        radius = rng.uniform(3, 14)
        center = rng.uniform([radius, radius], [width - radius, height - radius])
        parts.append([np.stack([np.cos(angles), np.sin(angles)], 1) * radius + center])
    outlines = Outlines(parts)
    image, target = make_sample(height, width, outlines.boxes().tolist(), seed=seed)
    return image, dict(target, outlines=outlines)


@pytest.mark.parametrize("seed", range(6))
def test_masks_are_every_fourth_pixel_of_the_filled_canvas(seed):
    image, target = with_outlines(seed)
    _, found = FillPolygons()(image, target)
    whole = [fill_polygons([part.ravel().tolist() for part in parts], (60, 80)) for parts in target["outlines"]]
    whole = torch.from_numpy(np.stack(whole))
    assert torch.equal(found["masks"], whole[:, 2::4, 2::4])
    torch.testing.assert_close(found["centers"], mask_centers(whole), rtol=1e-5, atol=1e-4)
    assert "outlines" not in found


def test_objects_under_a_pixel_are_dropped_and_empty_ones_have_no_center():
    image, target = make_sample(16, 16, [[2, 2, 2.5, 9], [4, 4, 9, 9], [1, 1, 3, 3]])
    target["outlines"] = Outlines([[np.array([[2.0, 2], [2.5, 2], [2.5, 9]])], [], [np.array([[1.0, 1], [3, 1], [3, 3]])]])
    _, found = FillPolygons()(image, target)
    assert len(found["labels"]) == len(found["masks"]) == 2
    assert found["centers"][0].isnan().all()
    assert not found["masks"][0].any()
    assert found["centers"][1].isfinite().all()


@pytest.mark.parametrize(("side", "kept"), [(0.5, False), (1.0, False), (1.01, True), (9.0, True)])
def test_objects_are_learned_above_one_pixel_and_images_without_any_are_drawn_anew(side, kept):
    image, target = make_sample(16, 16, [[2, 2, 2 + side, 9]])
    target["outlines"] = Outlines([[np.array([[2.0, 2], [2 + side, 2], [2 + side, 9]])]])
    if kept:
        assert len(FillPolygons()(image, target)[1]["labels"]) == 1
        return
    with pytest.raises(EmptyCrop):
        FillPolygons()(image, target)
    assert len(FillPolygons(allow_empty=True)(image, target)[1]["labels"]) == 0


def test_crops_that_are_empty_before_stay():
    image, target = make_sample(16, 16, np.zeros((0, 4)).tolist())
    target["outlines"] = Outlines([])
    assert len(FillPolygons()(image, target)[1]["labels"]) == 0


def test_nothing_happens_without_outlines():
    sample = make_sample(16, 16, [[2, 2, 9, 9]])
    assert FillPolygons()(*sample)[1] is sample[1]


def test_flipping_flips_the_masks():
    image, target = with_outlines(3)
    _, plain = FillPolygons()(image, target)
    _, flipped = FillPolygons()(*flip_sample(*flip_sample(image, target)))
    assert torch.equal(plain["masks"], flipped["masks"])
    _, once = FillPolygons()(*flip_sample(image, target))
    torch.testing.assert_close(once["centers"][:, 0], 79 - plain["centers"][:, 0], rtol=0, atol=0.5)


@pytest.mark.parametrize("one_resize", [True, False])
def test_boxes_follow_the_masks_through_the_strong_pipeline(one_resize):
    config = resolve_augment(AugmentConfig(input_size=96, one_resize=one_resize), "s", "instance")
    pipeline = strong_pipeline(config, lambda index: with_outlines(index), 20)
    seen = 0
    for number in range(40):
        torch.manual_seed(number)
        try:
            image, target = pipeline(*with_outlines(number % 20))
        except EmptyCrop:
            pytest.fail("instance pipelines keep crops without objects")
        boxes, around = plain_boxes(target), torch.from_numpy(target["outlines"].boxes()).float()
        assert len(target["outlines"]) == len(boxes) == len(target["labels"])
        torch.testing.assert_close(boxes, around, rtol=0, atol=1e-2)
        _, filled = FillPolygons()(image, target)
        assert filled["masks"].shape[1:] == (24, 24)
        seen += len(filled["masks"])
    assert seen > 100
