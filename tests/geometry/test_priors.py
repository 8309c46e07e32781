"""Where points are and what their distances mean (paper.md 3.5)."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from rtmdet_lab.geometry.priors import decode_distances, encode_distances, point_grid, points_inside


def test_points_sit_at_the_corner_of_their_cell():
    assert point_grid([(1, 1)], [32]).points.tolist() == [[0.0, 0.0]]  # not (16, 16)


def test_points_are_level_major_and_row_major():
    priors = point_grid([(2, 3), (1, 2), (1, 1)], [8, 16, 32])
    # x runs fastest, then y, then the level
    assert priors.points.tolist() == [
        [0.0, 0.0],
        [8.0, 0.0],
        [16.0, 0.0],
        [0.0, 8.0],
        [8.0, 8.0],
        [16.0, 8.0],
        [0.0, 0.0],
        [16.0, 0.0],
        [0.0, 0.0],
    ]
    assert priors.strides.tolist() == [8.0] * 6 + [16.0] * 2 + [32.0]


def test_published_canvas_has_8400_points():
    # 80 * 80 + 40 * 40 + 20 * 20
    assert len(point_grid([(80, 80), (40, 40), (20, 20)], [8, 16, 32])) == 8400


def test_maps_and_strides_must_match_in_number():
    with pytest.raises(ValueError):
        point_grid([(2, 2)], [8, 16])


def test_type_and_device_are_as_asked():
    priors = point_grid([(2, 2)], [8], device="meta", dtype=torch.float64)
    assert (priors.points.device.type, priors.points.dtype, priors.strides.dtype) == ("meta", torch.float64, torch.float64)


def test_decoding_by_hand():
    # left 1, top 2, right 3, bottom 4 of the point (10, 20)
    boxes = decode_distances(torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert boxes.tolist() == [[9.0, 18.0, 13.0, 24.0]]


def test_negative_distances_are_kept():
    boxes = decode_distances(torch.tensor([[10.0, 20.0]]), torch.tensor([[-1.0, 2.0, -3.0, 4.0]]))
    assert boxes.tolist() == [[11.0, 18.0, 7.0, 24.0]]


def test_decoding_undoes_encoding_for_a_batch():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(30, 2, generator=generator, dtype=torch.float64) * 640
    boxes = torch.rand(4, 30, 4, generator=generator, dtype=torch.float64) * 640
    distances = encode_distances(points, boxes)
    assert distances.shape == (4, 30, 4)
    assert_close(decode_distances(points, distances), boxes, rtol=1e-12, atol=1e-10)
    assert_close(encode_distances(points, decode_distances(points, distances)), distances, rtol=1e-12, atol=1e-10)


def test_decoding_has_a_gradient_of_one_towards_each_side():
    distances = torch.zeros(1, 4, requires_grad=True)
    decode_distances(torch.zeros(1, 2), distances).sum().backward()
    assert distances.grad.tolist() == [[-1.0, -1.0, 1.0, 1.0]]


def test_inside_is_strict_on_all_four_sides():
    box = torch.tensor([[8.0, 16.0, 24.0, 32.0]])
    points = torch.tensor([[8.0, 24.0], [24.0, 24.0], [16.0, 16.0], [16.0, 32.0], [16.0, 24.0], [0.0, 0.0], [8.001, 31.999]])
    assert points_inside(points, box).tolist() == [[False, False, False, False, True, False, True]]


def test_inside_has_objects_first_and_points_last():
    points = torch.tensor([[1.0, 1.0], [5.0, 5.0], [9.0, 9.0]])
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 10.0, 10.0]], [[4.0, 4.0, 6.0, 6.0], [0.0, 0.0, 0.0, 0.0]]])
    assert points_inside(points, boxes).tolist() == [
        [[True, False, False], [True, True, True]],
        [[False, True, False], [False, False, False]],
    ]


def test_nothing_is_inside_an_empty_box():
    points = point_grid([(4, 4)], [8]).points
    assert not points_inside(points, torch.tensor([[8.0, 8.0, 8.0, 8.0], [24.0, 24.0, 0.0, 0.0]])).any()


def test_no_boxes_and_no_points_are_fine():
    assert points_inside(torch.zeros(3, 2), torch.zeros(2, 0, 4)).shape == (2, 0, 3)
    assert points_inside(torch.zeros(0, 2), torch.zeros(5, 4)).shape == (5, 0)
