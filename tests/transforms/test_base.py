"""Samples, and what keeps their parts together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_samples import boxes_of, make_sample, make_target, snapshot
from torchvision import tv_tensors
from torchvision.transforms import v2

from rtmdet_lab.transforms.base import (
    Transform,
    as_boxes,
    clip_objects,
    image_size,
    integer,
    join_objects,
    move_objects,
    note,
    noted,
    select_objects,
    to_array,
    to_image,
    uniform,
)


def test_array_and_image_share_memory_both_ways():
    array = np.zeros((4, 6, 3), dtype=np.uint8)
    image = to_image(array)
    assert isinstance(image, tv_tensors.Image)
    assert image_size(image) == (4, 6)
    array[1, 2, 0] = 9
    assert image[0, 1, 2] == 9
    assert np.shares_memory(to_array(image), array)


def test_array_of_an_image_with_separate_channels_has_the_same_pixels():
    planes = torch.arange(3 * 2 * 4, dtype=torch.uint8).reshape(3, 2, 4)  # as other v2 transforms leave it
    array = to_array(tv_tensors.Image(planes))
    assert array.flags["C_CONTIGUOUS"]
    assert array[1, 3].tolist() == [7, 15, 23]  # row 1, column 3: offset 7 in planes of 8


def test_selection_keeps_every_field_of_an_object_together():
    _, target = make_sample(50, 50, [[k, k, k + 10, k + 10] for k in range(4)], [5, 6, 7, 8], scored=True)
    chosen = select_objects(target, torch.tensor([True, False, False, True]))
    assert boxes_of(chosen) == [[0, 0, 10, 10], [3, 3, 13, 13]]
    assert chosen["labels"].tolist() == [5, 8]
    assert chosen["ignore"].tolist() == [False, True]
    assert chosen["areas"].tolist() == [100, 103]
    assert chosen["meta"] is target["meta"]
    assert chosen["boxes"].canvas_size == (50, 50)
    assert len(target["labels"]) == 4  # the input keeps its objects


def test_selection_of_all_and_of_none():
    _, target = make_sample(50, 50, [[0, 0, 5, 5]], scored=True)
    assert select_objects(target, torch.tensor([True])) is target
    nothing = select_objects(target, torch.tensor([False]))
    assert nothing["boxes"].shape == (0, 4)
    assert len(nothing["labels"]) == len(nothing["ignore"]) == len(nothing["areas"]) == 0


def test_clipping_by_hand_drops_what_lies_outside():
    # Canvas 40 high, 30 wide.
    boxes = [
        [-10, 5, 20, 50],  # left and bottom stick out: 0 5 20 40
        [30, 0, 35, 10],  # begins where the canvas ends
        [-8, 3, 0, 9],  # ends where the canvas begins
        [29, 39, 31, 41],  # one pixel is left
        [3, 7, 3, 20],  # no width from the start
    ]
    clipped = clip_objects(make_target(40, 30, boxes, scored=True), (40, 30))
    assert boxes_of(clipped) == [[0, 5, 20, 40], [29, 39, 30, 40]]
    assert clipped["labels"].tolist() == [0, 3]
    assert clipped["ignore"].tolist() == [False, True]
    assert clipped["areas"].tolist() == [100, 103]


def test_clipping_changes_neither_input_nor_type():
    sample = make_sample(10, 10, [[-5, -5, 5, 5]], scored=True)
    before = snapshot(sample)
    clipped = clip_objects(sample[1], (10, 10))
    assert snapshot(sample) == before
    assert isinstance(clipped["boxes"], tv_tensors.BoundingBoxes)


def test_moving_by_hand_clips_nothing():
    moved = move_objects(make_target(100, 100, [[10, 20, 30, 40]]), (2.0, 0.5), (-50.0, 7.0), (60, 80))
    # x: 10 * 2 - 50 = -30, 30 * 2 - 50 = 10; y: 20 / 2 + 7 = 17, 40 / 2 + 7 = 27
    assert boxes_of(moved) == [[-30, 17, 10, 27]]
    assert moved["boxes"].canvas_size == (60, 80)


def test_joined_objects_keep_their_order_and_the_first_meta():
    first = make_target(20, 20, [[0, 0, 1, 1], [1, 1, 2, 2]], [4, 5], image_id=1, scored=True)
    second = make_target(20, 20, [[2, 2, 3, 3]], [6], image_id=2, scored=True)
    joined = join_objects([first, second], (20, 20))
    assert joined["labels"].tolist() == [4, 5, 6]
    assert boxes_of(joined)[2] == [2, 2, 3, 3]
    assert joined["areas"].tolist() == [100, 101, 100]
    assert joined["meta"].image_id == 1


def test_field_that_only_one_side_has_is_left_out_of_a_join():
    joined = join_objects([make_target(9, 9, [[0, 0, 1, 1]], scored=True), make_target(9, 9, [[0, 0, 1, 1]])], (9, 9))
    assert "areas" not in joined
    assert "ignore" not in joined
    assert len(joined["boxes"]) == len(joined["labels"]) == 2


def test_joining_images_without_objects_gives_none():
    joined = join_objects([make_target(9, 9, []), make_target(9, 9, [])], (9, 9))
    assert joined["boxes"].shape == (0, 4)
    assert joined["labels"].dtype == torch.int64


def test_draws_cover_their_range_evenly_and_follow_torch_seed():
    torch.manual_seed(0)
    values = [uniform(-2.0, 6.0) for _ in range(4000)]
    assert min(values) >= -2
    assert max(values) < 6
    assert np.mean(values) == pytest.approx(2.0, abs=0.2)  # deviation of the mean: 8 / sqrt(12 * 4000) = 0.04
    numbers = [integer(4) for _ in range(4000)]
    assert np.bincount(numbers).tolist() == pytest.approx([1000] * 4, abs=140)  # 5 deviations of 27
    torch.manual_seed(0)
    assert [uniform(-2.0, 6.0) for _ in range(5)] == values[:5]


def test_our_transforms_are_torchvision_transforms():
    assert issubclass(Transform, v2.Transform)


def test_boxes_know_their_canvas_and_format():
    boxes = as_boxes(torch.zeros(2, 4), (7, 9))
    assert boxes.canvas_size == (7, 9)
    assert boxes.format is tv_tensors.BoundingBoxFormat.XYXY


def test_what_is_drawn_is_told_to_listeners_only():
    note(side=1)  # nobody listens
    with noted() as outer:
        note(side=2)
        with noted() as inner:
            note(top=3)
        note(side=4)
    note(side=5)
    assert outer == {"side": 4, "top": 3}
    assert inner == {"top": 3}


def test_listening_ends_with_an_error_and_with_the_right_listener():
    with noted() as outer:
        with pytest.raises(KeyError), noted():  # both hold the same content here: nothing
            raise KeyError
        note(side=1)
    assert outer == {"side": 1}
