"""Rotated boxes: angles, corners, overlaps against a slow clipping in double precision, suppression against a loop."""

from __future__ import annotations

import math

import pytest
import torch

from rtmdet_lab.geometry import rotated
from rtmdet_lab.geometry.boxes import pairwise_iou
from rtmdet_lab.geometry.rotated import (
    flip_rboxes,
    normalise_angle,
    points_in_rboxes,
    quads_to_rboxes,
    rboxes_to_boxes,
    rboxes_to_quads,
    resize_rboxes,
    rotated_iou,
    rotated_nms,
    to_le90,
)


def random_boxes(seed: int, count: int, spread: float = 20, largest: float = 30, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, 5, generator=generator, dtype=torch.float64)
    boxes = unit * torch.tensor([spread, spread, largest, largest, math.pi]) + torch.tensor([0, 0, 0.5, 0.5, -math.pi / 2])
    return boxes.to(dtype)


def slow_overlap(a, b) -> float:
    """IoU by Sutherland and Hodgman's clipping, corner by corner, in Python's own floats."""

    def corners(box):
        x, y, w, h, angle = box
        c, s = math.cos(angle), math.sin(angle)
        around = [(-w, -h), (w, -h), (w, h), (-w, h)]
        return [(x + (u * c - v * s) / 2, y + (u * s + v * c) / 2) for u, v in around]

    def side(p, q, r):
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    def area(points):
        following = points[1:] + points[:1]
        return sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(points, following, strict=True)) / 2

    polygon, window = corners(a), corners(b)
    for p, q in zip(window, window[1:] + window[:1], strict=True):
        cut = []
        for one, other in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            d1, d2 = side(p, q, one), side(p, q, other)
            if d1 >= 0:
                cut.append(one)
            if (d1 >= 0) != (d2 >= 0):
                t = d1 / (d1 - d2)
                cut.append((one[0] + t * (other[0] - one[0]), one[1] + t * (other[1] - one[1])))
        polygon = cut
        if not polygon:
            return 0.0
    shared = area(polygon)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


@pytest.mark.parametrize("seed", range(6))
def test_overlaps_equal_slow_clipping(seed):
    a, b = random_boxes(seed, 150), random_boxes(seed + 100, 150)
    if seed % 2:  # nearly the same boxes, as a trained model predicts them
        b = a + 1e-4 * torch.randn(a.shape, generator=torch.Generator().manual_seed(seed)) * torch.tensor([1, 1, 1, 1, 0.01])
    expected = torch.tensor([slow_overlap(*pair) for pair in zip(a.double().tolist(), b.double().tolist(), strict=True)])
    assert (rotated_iou(a, b, aligned=True) - expected).abs().max() < 1e-4
    matrix = rotated_iou(a, b)
    assert (matrix.diagonal() - expected).abs().max() < 1e-4
    assert matrix.shape == (150, 150)
    torch.testing.assert_close(matrix[3:4, 7:9], rotated_iou(a[3:4], b[7:9]))


@pytest.mark.parametrize("seed", range(3))
def test_overlap_does_not_depend_on_order_turn_or_naming_of_sides(seed):
    a, b = random_boxes(seed, 100), random_boxes(seed + 50, 100)
    found = rotated_iou(a, b, aligned=True)
    assert ((found >= 0) & (found <= 1)).all()
    close = {"rtol": 0, "atol": 2e-5}
    torch.testing.assert_close(rotated_iou(b, a, aligned=True), found, **close)
    torch.testing.assert_close(rotated_iou(to_le90(a), b, aligned=True), found, **close)
    quarter = torch.stack([-a[:, 1], a[:, 0], a[:, 2], a[:, 3], a[:, 4] + math.pi / 2], dim=1)
    other = torch.stack([-b[:, 1], b[:, 0], b[:, 2], b[:, 3], b[:, 4] + math.pi / 2], dim=1)
    torch.testing.assert_close(rotated_iou(quarter, other, aligned=True), found, **close)


@pytest.mark.parametrize("seed", range(3))
def test_sides_of_every_size_and_angles_of_every_turn_equal_slow_clipping(seed):
    generator = torch.Generator().manual_seed(seed)
    sides = 10 ** (torch.rand(2, 400, 2, generator=generator, dtype=torch.float64) * 5 - 2)  # 0.01 to 1000 pixels
    angles = (torch.rand(2, 400, 1, generator=generator, dtype=torch.float64) - 0.5) * 20
    reach = sides.amax((0, 2))[:, None] * (torch.rand(400, 2, generator=generator, dtype=torch.float64) - 0.5)
    centers = torch.stack([torch.full_like(reach, 700), 700 + reach])
    a, b = torch.cat([centers, sides, angles], dim=-1).float()
    expected = torch.tensor([slow_overlap(*pair) for pair in zip(a.double().tolist(), b.double().tolist(), strict=True)])
    assert (expected > 1e-3).sum() > 30
    assert (rotated_iou(a, b, aligned=True) - expected).abs().max() < 1e-4
    assert (rotated_iou(a.double(), b.double(), aligned=True) - expected).abs().max() < 1e-7


def test_upright_boxes_overlap_as_boxes_do():
    a, b = random_boxes(1, 60), random_boxes(2, 60)
    a[:, 4], b[:, 4] = 0, 0
    torch.testing.assert_close(rotated_iou(a, b), pairwise_iou(rboxes_to_boxes(a), rboxes_to_boxes(b)), rtol=0, atol=1e-5)


SPECIAL = {
    "identical": ([10, 10, 5, 3, 0.3], [10, 10, 5, 3, 0.3], 1),
    "identical but for rounding": ([10, 10, 5, 3, 0.3], [10 + 1e-6, 10, 5, 3 + 1e-6, 0.3 - 1e-7], 1),
    "a square and its quarter turn": ([3, 4, 6, 6, 0.2], [3, 4, 6, 6, 0.2 - math.pi / 2], 1),
    "contained": ([0, 0, 8, 4, 0.5], [0, 0, 4, 2, 0.5], 0.25),
    "touching": ([0, 0, 4, 4, 0], [4, 0, 4, 4, 0], 0),
    "far apart": ([0, 0, 4, 4, 0.1], [500, 0, 4, 4, 0.7], 0),
    "tiny": ([5, 5, 1e-3, 1e-3, 0.4], [5, 5, 1e-3, 1e-3, 0.4], 1),
    "very thin": ([50, 50, 1e-3, 100, 0.2], [50, 50, 1e-3, 100, 0.2], 1),
    "thin cross": ([50, 50, 1e-3, 100, 0], [50, 50, 1e-3, 100, math.pi / 2], 1e-6 / 0.2),
    "no width": ([5, 5, 0, 4, 0.1], [5, 5, 3, 4, 0.1], 0),
    "no width, both": ([5, 5, 0, 0, 0.1], [5, 5, 0, 0, 0.1], None),
    "huge and tiny": ([0, 0, 1e4, 1e4, 0.1], [0, 0, 1, 1, 0.7], 1e-8),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_pairs_have_their_overlap_and_finite_gradients(name):
    a, b, expected = SPECIAL[name]
    a, b = (torch.tensor([box], dtype=torch.float32, requires_grad=True) for box in (a, b))
    found = rotated_iou(a, b, aligned=True)
    if expected is not None:
        assert found.item() == pytest.approx(expected, abs=2e-5)
    found.sum().backward()
    assert a.grad.isfinite().all()
    assert b.grad.isfinite().all()
    assert max(a.grad.abs().max(), b.grad.abs().max()) < 2e6


@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_of_finite_differences(seed):
    a, b = (random_boxes(seed + start, 40, dtype=torch.float64).requires_grad_() for start in (0, 60))
    assert torch.autograd.gradcheck(lambda x, y: rotated_iou(x, y, aligned=True), (a, b), eps=1e-7, atol=1e-4)
    assert torch.autograd.gradcheck(lambda x, y: rotated_iou(x, y), (a[:5], b[:4]), eps=1e-7, atol=1e-4)


def test_gradients_are_finite_and_small_where_edges_and_corners_coincide():
    offsets = torch.tensor([-4.0, -2, 0, 2, 4])
    lengths, angles = torch.tensor([0.0, 2, 4]), torch.tensor([0, math.pi / 4, math.pi / 2, math.pi])
    b = torch.cartesian_prod(offsets, offsets, lengths, lengths, angles).requires_grad_()
    a = torch.tensor([0.0, 0, 4, 2, 0]).repeat(len(b), 1).requires_grad_()
    found = rotated_iou(a, b, aligned=True)
    found.sum().backward()
    assert ((found >= 0) & (found <= 1)).all()
    for grad in (a.grad, b.grad):
        assert grad.isfinite().all()
        assert grad.abs().max() < 10  # an IoU of boxes a few pixels large changes by less than 1 per pixel or radian


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    a, b = random_boxes(0, 30).to(dtype), random_boxes(9, 30).to(dtype)
    found = rotated_iou(a, b, aligned=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rotated_iou(a.float(), b.float(), aligned=True))


def test_batches_and_nothing_at_all():
    a, b = random_boxes(0, 12).reshape(2, 6, 5), random_boxes(5, 8).reshape(2, 4, 5)
    found = rotated_iou(a, b)
    assert found.shape == (2, 6, 4)
    torch.testing.assert_close(found[1], rotated_iou(a[1], b[1]))
    assert rotated_iou(a[:, :0], b).shape == (2, 0, 4)
    assert rotated_iou(a[0, :0], a[0, :0], aligned=True).shape == (0,)
    assert rotated_nms(a[0, :0], torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.1).shape == (0,)
    assert quads_to_rboxes(torch.zeros(0, 8)).shape == (0, 5)


def test_images_share_boxes_by_broadcasting():
    a, b = random_boxes(0, 12).reshape(2, 1, 6, 5), random_boxes(5, 12).reshape(3, 4, 5)
    found = rotated_iou(a, b)
    assert found.shape == (2, 3, 6, 4)
    torch.testing.assert_close(found[1, 2], rotated_iou(a[1, 0], b[2]))


def test_pieces_of_the_work_do_not_show(monkeypatch):
    a, b = random_boxes(0, 60, spread=60).reshape(2, 30, 5), random_boxes(1, 80, spread=60).reshape(2, 40, 5)
    scores, labels = torch.rand(80, generator=torch.Generator().manual_seed(0)), torch.arange(80) % 2
    whole, kept = rotated_iou(a, b), rotated_nms(b.flatten(0, 1), scores, labels, 0.2)
    assert 0 < (whole > 0).float().mean() < 0.5
    monkeypatch.setattr(rotated, "COMPARED_AT_ONCE", 300)
    monkeypatch.setattr(rotated, "PAIRS_AT_ONCE", 7)
    torch.testing.assert_close(rotated_iou(a, b), whole, rtol=0, atol=1e-6)
    assert torch.equal(rotated_nms(b.flatten(0, 1), scores, labels, 0.2), kept)


def test_distant_boxes_overlap_by_nothing_and_keep_the_gradient_alive():
    a = torch.tensor([[0.0, 0, 4, 2, 0.3]], requires_grad=True)
    found = rotated_iou(a, torch.tensor([[900.0, 0, 4, 2, 0.3], [0, 900, 4, 2, 0.3]]))
    found.sum().backward()
    assert found.tolist() == [[0, 0]]
    assert not a.grad.any()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.05, 0.4])
def test_suppression_equals_a_loop(seed, threshold):
    boxes, generator = random_boxes(seed, 120, spread=60), torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 40, (120,), generator=generator) / 40  # with ties
    labels = torch.randint(0, 3, (120,), generator=generator)
    overlaps = rotated_iou(boxes, boxes)
    kept: list[int] = []
    for one in scores.argsort(descending=True, stable=True).tolist():
        if not any(labels[one] == labels[other] and overlaps[other, one] > threshold for other in kept):
            kept.append(one)
    assert rotated_nms(boxes, scores, labels, threshold).tolist() == kept


def test_angles_lie_in_range_and_the_longer_side_comes_first():
    angles = torch.tensor([0.0, math.pi / 2, -math.pi / 2, 3 * math.pi / 2, 100.0])
    found = normalise_angle(angles)
    assert ((found >= -math.pi / 2) & (found < math.pi / 2)).all()
    assert found[:2].tolist() == [0, pytest.approx(-math.pi / 2)]
    boxes = to_le90(random_boxes(4, 50))
    assert (boxes[:, 2] >= boxes[:, 3]).all()


def test_corners_by_hand_and_hulls_around_them():
    box = torch.tensor([[10.0, 20.0, 8.0, 2.0, math.pi / 2]])
    expected = torch.tensor([[11.0, 16.0, 11.0, 24.0, 9.0, 24.0, 9.0, 16.0]])
    torch.testing.assert_close(rboxes_to_quads(box), expected)
    torch.testing.assert_close(rboxes_to_boxes(box), torch.tensor([[9.0, 16.0, 11.0, 24.0]]))
    boxes = random_boxes(6, 40)
    corners = rboxes_to_quads(boxes).reshape(-1, 4, 2)
    hulls = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    torch.testing.assert_close(rboxes_to_boxes(boxes), hulls, rtol=1e-4, atol=1e-4)
    assert rotated_iou(quads_to_rboxes(rboxes_to_quads(boxes)), boxes, aligned=True).min() > 0.999


@pytest.mark.parametrize(
    "quad",
    [[0, 0, 4, 4, 8, 8, 2, 2], [0, 0, 8, 6, 8, 0, 0, 6], [0, 0, 8, 0, 2, 2, 0, 8], [3, 3, 3, 3, 3, 3, 3, 3]],
    ids=["on a line", "crossing", "not convex", "a point"],
)
def test_odd_corners_give_a_finite_box_around_them(quad):
    box = quads_to_rboxes(torch.tensor([quad], dtype=torch.float32))
    assert box.isfinite().all()
    grown = box + torch.tensor([0, 0, 1e-2, 1e-2, 0])
    assert points_in_rboxes(torch.tensor(quad, dtype=torch.float32).reshape(4, 2), grown).all()


def test_points_on_the_border_are_outside():
    boxes = torch.tensor([[4.0, 4, 4, 2, 0], [4, 4, 4, 2, math.pi / 4]])
    points = torch.tensor([[4.0, 4], [5.9, 4], [6, 4], [4, 5], [4.0, 4.9], [5, 5]])
    assert points_in_rboxes(points, boxes).tolist() == [
        [True, True, False, False, True, False],
        [True, False, False, True, True, True],
    ]


@pytest.mark.parametrize("scale", [(0.5, 0.5), (2.0, 1.0), (0.7, 1.3)])
def test_resizing_moves_the_sides_with_the_image(scale):
    boxes = random_boxes(3, 30)
    found = resize_rboxes(boxes, scale)
    corners = rboxes_to_quads(boxes).reshape(-1, 4, 2) * torch.tensor(scale)
    along = (corners[:, 1] - corners[:, 0]).norm(dim=1)
    across = (corners[:, 3] - corners[:, 0]).norm(dim=1)
    torch.testing.assert_close(found[:, 2:4], torch.stack([along, across], 1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, :2], corners.mean(1), rtol=1e-4, atol=1e-4)


def test_mirrored_boxes_are_the_boxes_of_mirrored_corners():
    boxes, size = random_boxes(7, 50, spread=100), (80, 120)
    for horizontal, vertical in ((True, False), (False, True), (True, True)):
        found = flip_rboxes(boxes, size, horizontal, vertical)
        quads = rboxes_to_quads(boxes).reshape(-1, 4, 2)
        quads = torch.stack(
            [
                size[1] - quads[..., 0] if horizontal else quads[..., 0],
                size[0] - quads[..., 1] if vertical else quads[..., 1],
            ],
            dim=-1,
        )
        overlap = rotated_iou(found, quads_to_rboxes(quads.reshape(-1, 8)), aligned=True)
        assert overlap.min() > 0.999
        assert ((found[:, 4] >= -math.pi / 2) & (found[:, 4] < math.pi / 2)).all()
        torch.testing.assert_close(flip_rboxes(found, size, horizontal, vertical), boxes)
    assert torch.equal(flip_rboxes(boxes, size, False, False), boxes)
    torch.testing.assert_close(flip_rboxes(torch.tensor([10.0, 20, 8, 4, 0.5]), size), torch.tensor([110.0, 20, 8, 4, -0.5]))
