"""Flips and rotation: the boxes stay on the things they were on."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from rtmdet_lab.config.presets import resolve_augment
from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.geometry.rotated import points_in_rboxes, rboxes_to_quads, rotated_iou
from rtmdet_lab.transforms.base import EmptyCrop, clip_objects, image_size, to_array, to_image
from rtmdet_lab.transforms.geometric import Pad, RandomCrop, RandomResize, Resize
from rtmdet_lab.transforms.pipelines import plain_pipeline, strong_pipeline, weak_pipeline
from rtmdet_lab.transforms.rotated import JitterRotateCrop, RandomFlip3, RandomRotate, flip_rotated, rotate_sample

BOX = [52.0, 44.0, 40.0, 14.0, 0.4]


def painted(boxes=(BOX,), height: int = 90, width: int = 110, labels=None):
    """White boxes on grey: what the boxes say can be read from the pixels."""
    array = np.full((height, width, 3), 60, np.uint8)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
    for corners in rboxes_to_quads(boxes).reshape(-1, 4, 2).numpy():
        cv2.fillPoly(array, [np.round((corners - 0.5) * 16).astype(np.int32)], (255, 255, 255), shift=4)
    size = (height, width)
    labels = torch.zeros(len(boxes), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return to_image(array), {"boxes": boxes, "labels": labels, "meta": ImageMeta(1, size, canvas_size=size)}


def agreement(image, target) -> float:
    """IoU of the white pixels with the pixels inside the boxes."""
    white = torch.from_numpy(to_array(image)[:, :, 0] > 150)
    height, width = image_size(image)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    inside = points_in_rboxes(torch.stack([x, y], -1).reshape(-1, 2), target["boxes"]).any(0).reshape(height, width)
    return ((white & inside).sum() / (white | inside).sum()).item()


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_boxes_follow_each_flip(horizontal, vertical):
    image, target = painted()
    assert agreement(image, target) > 0.85  # the drawing's border pixels count as inside
    flipped = flip_rotated(image, target, horizontal, vertical)
    assert agreement(*flipped) > 0.85
    again = flip_rotated(*flipped, horizontal, vertical)
    assert torch.equal(again[0], image)
    torch.testing.assert_close(again[1]["boxes"], target["boxes"])


@pytest.mark.parametrize("angle", [0.3, -1.2, math.pi / 2, math.pi, 2.9])
def test_boxes_follow_each_rotation(angle):
    sample = painted()
    turned = rotate_sample(*sample, angle)
    assert image_size(turned[0]) == (90, 110)
    assert agreement(*turned) > 0.8
    boxes = turned[1]["boxes"]
    assert -math.pi / 2 <= boxes[0, 4] < math.pi / 2
    assert torch.equal(boxes[:, 2:4], sample[1]["boxes"][:, 2:4])


def test_quarter_turn_of_a_square_moves_every_pixel_exactly():
    image, target = painted(height=90, width=90)
    turned, _ = rotate_sample(image, target, math.pi / 2)
    expected = np.rot90(to_array(image), -1)  # clockwise
    assert np.abs(to_array(turned).astype(int) - expected).max() <= 1


def test_what_leaves_the_canvas_is_dropped():
    boxes = [BOX, [4.0, 4.0, 6.0, 6.0, 0.0]]
    _, target = rotate_sample(*painted(boxes), math.pi / 4)
    assert len(target["boxes"]) == len(target["labels"]) == 1


def test_flips_and_turns_come_as_often_as_they_should():
    image, target = painted()
    flips, turns, angles = {"none": 0, "h": 0, "v": 0, "d": 0}, 0, []
    for seed in range(600):
        torch.manual_seed(seed)
        boxes = RandomFlip3()(image, target)[1]["boxes"][0]
        moved = (bool(boxes[0] != BOX[0]), bool(boxes[1] != BOX[1]))
        flips[{(False, False): "none", (True, False): "h", (False, True): "v", (True, True): "d"}[moved]] += 1
        found = RandomRotate()(image, target)[1]["boxes"]
        if not torch.equal(found, target["boxes"]):
            turns += 1
            angles += found[:, 4].tolist()
    assert all(110 < count < 190 for count in flips.values()), flips
    assert 250 < turns < 350
    assert min(angles) < -1.3
    assert max(angles) > 1.3


def test_things_without_direction_turn_by_quarters():
    image, target = painted(labels=[9])
    for seed in range(60):
        torch.manual_seed(seed)
        (box,) = RandomRotate(1.0, (9, 11))(image, target)[1]["boxes"].tolist() or [None]
        quarters = (box[4] - BOX[4]) / (math.pi / 2)
        assert quarters == pytest.approx(round(quarters), abs=1e-5)
    free = set()
    for seed in range(20):
        torch.manual_seed(seed)
        free.add(round(RandomRotate(1.0, (11,))(image, target)[1]["boxes"][0, 4].item(), 4))
    assert len(free) > 15


def test_plain_pipeline_fits_flips_turns_and_pads():
    pipeline = plain_pipeline(AugmentConfig(input_size=96), RandomRotate(0.5, (3,)))
    kinds = [type(step).__name__ for step in pipeline.transforms]
    assert kinds == ["Resize", "RandomFlip3", "RandomRotate", "Pad"]
    assert (pipeline.transforms[1].prob, pipeline.transforms[2].prob) == (0.75, 0.5)
    assert pipeline.transforms[2].quarter_turn_classes == (3,)
    for seed in range(10):
        torch.manual_seed(seed)
        image, target = pipeline(*painted())
        assert image_size(image) == (96, 96)
        assert type(target["boxes"]) is Tensor
        assert target["boxes"].shape[1] == 5
        assert agreement(image, target) > 0.8


def test_resizing_and_padding_keep_the_boxes_on_their_things():
    image, target = Pad(160)(*Resize(160)(*painted()))
    assert agreement(image, target) > 0.85
    assert target["meta"].canvas_size == (160, 160)
    scaled = torch.tensor([BOX]) * torch.tensor([160 / 110] * 4 + [1.0])
    assert rotated_iou(target["boxes"], scaled, aligned=True).item() > 0.98


def test_nothing_to_turn_is_no_problem():
    image, target = painted([])
    for step in (RandomFlip3(1.0), RandomRotate(1.0)):
        assert step(image, target)[1]["boxes"].shape == (0, 5)


def test_objects_stay_whole_while_their_center_is_on_the_canvas():
    boxes = [[0, 0, 9, 3, 0.5], [29.9, 39.9, 9, 3, 0.5], [-0.1, 5, 9, 3, 0.5], [5, 40, 9, 3, 0.5], [30, 5, 9, 3, 0.5]]
    _, target = painted(boxes, 40, 30, labels=range(5))
    kept = clip_objects(target, (40, 30))
    assert kept["labels"].tolist() == [0, 1]
    assert torch.equal(kept["boxes"], target["boxes"][:2])


MIXING = resolve_augment(AugmentConfig(input_size=96, rotated_recipe="mixing"), "tiny", "rotated")


def test_mixing_recipe_has_the_published_steps():
    config = dataclasses.replace(MIXING, one_resize=False)
    rotate = RandomRotate(0.5, (9, 11))
    kinds = [type(step).__name__ for step in strong_pipeline(config, None, 0, rotate).transforms]
    common = ["RandomResize", "RandomRotate", "RandomCrop", "RandomHSV", "RandomFlip3", "Pad"]
    assert kinds == ["Mosaic", *common, "MixUp"]
    weak = weak_pipeline(config, rotate).transforms
    assert [type(step).__name__ for step in weak] == common
    assert (weak[0].base, weak[0].ratio_range, weak[4].prob) == (96, (0.5, 2.0), 0.75)
    large = resolve_augment(AugmentConfig(rotated_recipe="mixing"), "l", "rotated")
    assert (large.resize_range, large.mosaic_cache, large.mixup_cache, large.mixup_prob) == ((0.1, 2.0), 40, 20, 1.0)
    fused = [type(step).__name__ for step in strong_pipeline(MIXING, None, 0, rotate).transforms]
    assert fused == ["Mosaic", "JitterRotateCrop", *common[3:], "MixUp"]


@pytest.mark.parametrize(("prob", "round_things"), [(1.0, ()), (1.0, (0,)), (0.0, ())])
def test_one_warp_gives_what_the_three_steps_give(prob, round_things):
    rotate = RandomRotate(prob, round_things)
    steps = [RandomResize(150, (0.4, 1.8)), rotate, RandomCrop(96, allow_empty=True)]
    fused = JitterRotateCrop(150, (0.4, 1.8), rotate, 96, allow_empty=True)
    compared = 0
    for seed in range(30):
        torch.manual_seed(seed)
        image, target = sample = painted([BOX, [20.0, 70.0, 25.0, 20.0, -0.9]])
        for step in steps:
            image, target = step(image, target)
        after = torch.rand(())
        torch.manual_seed(seed)
        one_image, one_target = fused(*sample)
        assert torch.equal(torch.rand(()), after)  # the same draws
        assert image_size(one_image) == image_size(image)
        torch.testing.assert_close(one_target["boxes"], target["boxes"], atol=1e-4, rtol=1e-5)
        difference = np.abs(to_array(one_image).astype(int) - to_array(image)).mean()
        assert difference < 6  # one interpolation instead of two; half a pixel apart it would be 15
        compared += len(target["boxes"])
    assert compared > 10


def test_mixed_samples_show_their_boxes():
    """Every box of a mixed sample lies on something bright, and its canvas is full."""
    generator = torch.Generator().manual_seed(3)

    def load(index):
        angle = torch.rand((), generator=generator).item() * 3 - 1.5
        return painted([[55.0, 45.0, 50.0, 20.0, angle]], labels=[index % 3])

    pipeline = strong_pipeline(dataclasses.replace(MIXING, hsv=False, mixup_prob=0.5), load, 8, RandomRotate(0.5, (2,)))
    found = bright = 0
    for seed in range(40):
        torch.manual_seed(seed)
        try:
            image, target = pipeline(*load(seed))
        except EmptyCrop:
            continue
        assert image_size(image) == (96, 96)
        assert target["boxes"].shape[1] == 5
        centers = target["boxes"][:, :2]
        assert ((centers >= 0) & (centers < 96)).all()
        for x, y in centers.long().tolist():
            found += 1
            bright += int(to_array(image)[y, x, 0] > 120)  # blended: half of white and half of grey
    assert found > 40
    assert bright / found > 0.95


def test_settings_of_another_recipe_are_refused():
    for changes, task, message in [
        ({"mosaic": False}, "rotated", "set augment.rotated_recipe to mixing, too"),
        ({"flip_prob": 0.2}, "rotated", "augment.flip_prob has no part in the plain recipe"),
        ({"flip_prob": 0.2, "rotated_recipe": "mixing"}, "rotated", "augment.flip_prob has no part in the recipe"),
        ({"rotate_prob": 0.2}, "detection", "augment.rotate_prob has no part in the recipe of the task detection"),
        ({"rotated_recipe": "mixing"}, "instance", "augment.rotated_recipe has no part"),
    ]:
        with pytest.raises(SettingError, match=message):
            resolve_augment(AugmentConfig(**changes), "s", task)
    resolve_augment(AugmentConfig(rotated_recipe="mixing", mosaic=False, rotate_prob=0.1), "s", "rotated")
