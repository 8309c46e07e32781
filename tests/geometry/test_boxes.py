"""Overlap measures against cases added up by hand, torchvision and a double loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close
from torchvision import ops

from rtmdet_lab.geometry.boxes import (
    aligned_overlap,
    box_area,
    box_centers,
    clip_boxes,
    flip_boxes,
    pairwise_iou,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

KINDS = ("iou", "giou", "diou", "ciou")


def random_boxes(count: int, seed: int, size: float = 100.0, dtype=torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=dtype) * size
    sides = torch.rand(count, 2, generator=generator, dtype=dtype) * size / 2 + 0.5
    return torch.cat([corner, corner + sides], dim=-1)


# ---- by hand

A = torch.tensor([0.0, 0.0, 4.0, 4.0])
B = torch.tensor([2.0, 2.0, 6.0, 6.0])
FAR = torch.tensor([6.0, 0.0, 8.0, 4.0])


def test_iou_by_hand():
    # intersection 2 * 2 = 4, union 16 + 16 - 4 = 28
    assert_close(aligned_overlap(A, B), torch.tensor(4 / 28), rtol=1e-6, atol=0.0)
    assert aligned_overlap(A, FAR) == 0


def test_giou_by_hand():
    # hull 6 * 6 = 36, so 4/28 - (36 - 28) / 36
    assert_close(aligned_overlap(A, B, "giou"), torch.tensor(4 / 28 - 8 / 36), rtol=1e-6, atol=0.0)
    # apart: hull 8 * 4 = 32, union 16 + 8 = 24, so 0 - (32 - 24) / 32
    assert_close(aligned_overlap(A, FAR, "giou"), torch.tensor(-0.25), rtol=1e-6, atol=0.0)


def test_diou_by_hand():
    # centers (2, 2) and (4, 4): 8; hull diagonal 6^2 + 6^2 = 72
    assert_close(aligned_overlap(A, B, "diou"), torch.tensor(4 / 28 - 8 / 72), rtol=1e-6, atol=0.0)
    # centers (2, 2) and (7, 2): 25; diagonal 8^2 + 4^2 = 80
    assert_close(aligned_overlap(A, FAR, "diou"), torch.tensor(-25 / 80), rtol=1e-6, atol=0.0)


def test_ciou_by_hand():
    # equal aspect ratios: the aspect term is 0
    assert_close(aligned_overlap(A, B, "ciou"), torch.tensor(4 / 28 - 8 / 72), rtol=1e-6, atol=0.0)
    # FAR is 2 x 4: v = 4 / pi^2 * (atan(1/2) - atan(1))^2, alpha = v / (1 - 0 + v)
    v = 4 / math.pi**2 * (math.atan(0.5) - math.atan(1.0)) ** 2
    assert_close(aligned_overlap(A, FAR, "ciou"), torch.tensor(-25 / 80 - v * v / (1 + v)), rtol=1e-5, atol=0.0)


def test_boxes_that_touch_do_not_overlap():
    touching = torch.tensor([4.0, 0.0, 8.0, 4.0])
    assert aligned_overlap(A, touching) == 0
    assert aligned_overlap(A, touching, "giou") == 0  # the hull is exactly the union


def test_box_inside_another_has_the_ratio_of_areas():
    inner = torch.tensor([1.0, 1.0, 3.0, 3.0])
    assert_close(aligned_overlap(inner, A), torch.tensor(4 / 16), rtol=1e-6, atol=0.0)
    assert_close(aligned_overlap(inner, A, "giou"), torch.tensor(4 / 16), rtol=1e-6, atol=0.0)


def test_area_by_hand():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 5.0], [1.0, 1.0, 1.0, 9.0], [5.0, 5.0, 2.0, 3.0]])
    assert box_area(boxes).tolist() == [20.0, 0.0, 0.0]  # no width; turned inside out


def test_centers_of_both_box_forms():
    assert box_centers(torch.tensor([[0.0, 2.0, 4.0, 8.0]])).tolist() == [[2.0, 5.0]]


# ---- against torchvision and a double loop


REFERENCES = {
    "iou": lambda a, b: ops.box_iou(a, b).diagonal(),
    "giou": lambda a, b: 1 - ops.generalized_box_iou_loss(a, b),
    "diou": lambda a, b: 1 - ops.distance_box_iou_loss(a, b),
    "ciou": lambda a, b: 1 - ops.complete_box_iou_loss(a, b),
}


@pytest.mark.parametrize("kind", KINDS)
def test_random_boxes_agree_with_torchvision(kind):
    a, b = random_boxes(500, seed=1, dtype=torch.float64), random_boxes(500, seed=2, dtype=torch.float64)
    assert (ops.box_iou(a, b).diagonal() > 0).sum() > 50  # the case is not trivially "all apart"
    assert_close(aligned_overlap(a, b, kind), REFERENCES[kind](a, b), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_agree_with_torchvision(kind):
    a, b = random_boxes(200, seed=3, dtype=torch.float64), random_boxes(200, seed=4, dtype=torch.float64)
    ours, theirs = a.clone().requires_grad_(), a.clone().requires_grad_()
    aligned_overlap(ours, b, kind).sum().backward()
    REFERENCES[kind](theirs, b).sum().backward()
    assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-8)


def iou_loop(a, b) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def test_pairwise_iou_equals_a_double_loop():
    a, b = random_boxes(13, seed=5), random_boxes(17, seed=6)
    expected = torch.tensor([[iou_loop(x, y) for y in b.double().tolist()] for x in a.double().tolist()])
    assert pairwise_iou(a, b).shape == (13, 17)
    assert_close(pairwise_iou(a, b), expected, rtol=1e-5, atol=1e-7)


def test_pairwise_iou_of_a_batch_equals_its_images():
    a = torch.stack([random_boxes(4, seed=7), random_boxes(4, seed=8)])
    b = torch.stack([random_boxes(6, seed=9), random_boxes(6, seed=10)])
    expected = torch.stack([pairwise_iou(a[0], b[0]), pairwise_iou(a[1], b[1])])
    assert_close(pairwise_iou(a, b), expected, rtol=0, atol=0)
    assert_close(pairwise_iou(a, b[:1]), torch.stack([pairwise_iou(a[0], b[0]), pairwise_iou(a[1], b[0])]), rtol=0, atol=0)


def test_pairwise_iou_is_symmetric():
    a, b = random_boxes(9, seed=11), random_boxes(5, seed=12)
    assert_close(pairwise_iou(a, b), pairwise_iou(b, a).T, rtol=0, atol=0)


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_pairwise_iou_of_no_boxes_is_empty(rows, columns):
    assert pairwise_iou(torch.zeros(rows, 4), torch.zeros(columns, 4)).shape == (rows, columns)


# ---- ranges and special boxes


@pytest.mark.parametrize("kind", KINDS)
def test_overlap_stays_in_its_range(kind):
    # far apart, thin, huge and tiny boxes
    a = torch.cat([random_boxes(300, 13), random_boxes(300, 14) * 1000, random_boxes(300, 15) / 1000])
    b = torch.cat([random_boxes(300, 16, 10_000), random_boxes(300, 17), random_boxes(300, 18)])
    values = aligned_overlap(a, b, kind)
    low = 0 if kind == "iou" else -1
    if kind == "ciou":
        low = -2  # the aspect term may take off up to another 1
    assert values.min() >= low - 1e-6
    assert values.max() <= 1 + 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_identical_boxes_overlap_by_one(kind):
    boxes = random_boxes(100, seed=19, size=500)
    assert_close(aligned_overlap(boxes, boxes, kind), torch.ones(100), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_overlap_does_not_depend_on_the_order_of_the_pair(kind):
    # ciou's aspect weight is symmetric in value, too
    a, b = random_boxes(100, seed=20), random_boxes(100, seed=21)
    assert_close(aligned_overlap(a, b, kind), aligned_overlap(b, a, kind), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_overlap_does_not_depend_on_scale_and_place(kind):
    a, b = random_boxes(100, 22, dtype=torch.float64), random_boxes(100, 23, dtype=torch.float64)
    moved = aligned_overlap(a * 8 + 100, b * 8 + 100, kind)
    assert_close(moved, aligned_overlap(a, b, kind), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_boxes_are_computed_in_float32(kind, dtype):
    # 640 * 640 = 409600 is past the half-precision maximum of 65504
    large = torch.tensor([[0.0, 0.0, 640.0, 640.0]], dtype=dtype)
    other = torch.tensor([[0.0, 0.0, 640.0, 320.0]], dtype=dtype)
    value = aligned_overlap(large, other, kind)
    assert value.dtype == torch.float32
    assert_close(value, aligned_overlap(large.float(), other.float(), kind), rtol=0, atol=0)
    assert_close(aligned_overlap(large, other), torch.tensor([0.5]), rtol=1e-6, atol=0)


def test_double_precision_stays_double():
    boxes = random_boxes(3, seed=24, dtype=torch.float64)
    assert aligned_overlap(boxes, boxes.float()).dtype == torch.float64


EMPTY = {
    "both empty, same place": ([5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0]),
    "both empty, apart": ([5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 9.0, 9.0]),
    "empty inside a box": ([5.0, 5.0, 5.0, 5.0], [0.0, 0.0, 10.0, 10.0]),
    "no width": ([5.0, 0.0, 5.0, 10.0], [0.0, 0.0, 10.0, 10.0]),
    "no height": ([0.0, 5.0, 10.0, 5.0], [0.0, 0.0, 10.0, 10.0]),
    "inside out": ([7.0, 8.0, 3.0, 2.0], [0.0, 0.0, 10.0, 10.0]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", EMPTY)
def test_empty_boxes_give_finite_values_and_gradients(kind, case):
    box, other = (torch.tensor(values, requires_grad=True) for values in EMPTY[case])
    value = aligned_overlap(box, other, kind)
    value.backward()
    assert value.isfinite()
    assert box.grad.isfinite().all()
    assert other.grad.isfinite().all()


@pytest.mark.parametrize("case", EMPTY)
def test_empty_box_has_no_iou(case):
    box, other = (torch.tensor(values) for values in EMPTY[case])
    assert aligned_overlap(box, other) == 0


@pytest.mark.parametrize("kind", ["iou", "giou", "diou"])
def test_gradient_is_that_of_finite_differences(kind):
    # not ciou: its aspect weight is held constant on purpose, so its gradient is not that of its value
    a = random_boxes(20, seed=25, dtype=torch.float64).requires_grad_()
    b = random_boxes(20, seed=26, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: aligned_overlap(x, y, kind), (a, b), eps=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_boxes_keep_the_gradient_alive(kind):
    boxes = torch.zeros(0, 4, requires_grad=True)
    aligned_overlap(boxes, torch.zeros(0, 4), kind).sum().backward()
    assert boxes.grad.shape == (0, 4)


# ---- converting, clipping, flipping


def test_clipping_by_hand_takes_height_then_width():
    boxes = torch.tensor([[-3.0, -2.0, 50.0, 60.0], [5.0, 6.0, 7.0, 8.0]])
    assert clip_boxes(boxes, (30, 40)).tolist() == [[0.0, 0.0, 40.0, 30.0], [5.0, 6.0, 7.0, 8.0]]


def test_clipping_does_not_touch_its_input():
    boxes = torch.tensor([[-3.0, -2.0, 50.0, 60.0]])
    clip_boxes(boxes, (30, 40))
    assert boxes.tolist() == [[-3.0, -2.0, 50.0, 60.0]]


def test_conversion_goes_there_and_back():
    boxes = random_boxes(50, seed=27)
    assert xyxy_to_xywh(torch.tensor([1.0, 2.0, 4.0, 8.0])).tolist() == [1.0, 2.0, 3.0, 6.0]
    assert_close(xywh_to_xyxy(xyxy_to_xywh(boxes)), boxes, rtol=1e-6, atol=1e-5)
    assert_close(xyxy_to_xywh(boxes), ops.box_convert(boxes, "xyxy", "xywh"), rtol=0, atol=0)


def test_flipping_by_hand_and_twice():
    assert flip_boxes(torch.tensor([1.0, 2.0, 4.0, 8.0]), 10).tolist() == [6.0, 2.0, 9.0, 8.0]
    boxes = torch.randint(0, 50, (20, 4), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(flip_boxes(flip_boxes(boxes, 64), 64), boxes)


def test_flipping_keeps_areas_and_overlaps():
    a, b = random_boxes(30, seed=28), random_boxes(30, seed=29)
    assert_close(aligned_overlap(flip_boxes(a, 200), flip_boxes(b, 200)), aligned_overlap(a, b), rtol=1e-4, atol=1e-5)
