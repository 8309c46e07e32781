"""Pictures of images with boxes on them."""

from __future__ import annotations

import colorsys

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.patches import Rectangle

mpl.use("Agg")
import matplotlib.pyplot as plt
from made_samples import make_sample

from rtmdet_lab.core.structures import Detections, Targets
from rtmdet_lab.viz import draw
from rtmdet_lab.viz.draw import (
    add_box,
    class_color,
    comparison_gallery,
    draw_detections,
    draw_positive_points,
    draw_targets,
    gallery,
    sample_gallery,
    show_image,
    to_rgb_array,
)

CLASSES = [f"class number {label}" for label in range(80)]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def detections(count: int, size: int = 100) -> Detections:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, size - 20, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(2, 20, (count, 2))], axis=1)
    scores = np.sort(rng.uniform(0.3, 1, count))[::-1].copy()
    return Detections(torch.tensor(boxes).float(), torch.tensor(scores).float(), torch.arange(count) % 80)


def rectangles(ax) -> list[Rectangle]:
    return [one for one in ax.patches if isinstance(one, Rectangle)]


def picture(height: int = 100, width: int = 100) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def render(figure) -> np.ndarray:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("count", [0, 1, 300])
def test_any_number_of_objects_is_drawn(count):
    figure = draw_detections(picture(), detections(count), CLASSES)
    (ax,) = figure.axes
    assert len(rectangles(ax)) == 2 * count  # a dark line under each coloured one
    assert min(count, 1) <= len(ax.texts) <= count
    assert render(figure).size


def test_labels_name_class_and_score():
    found = Detections(torch.tensor([[10.0, 20, 50, 60]]), torch.tensor([0.876]), torch.tensor([3]))
    (ax,) = draw_detections(picture(), found, CLASSES).axes
    assert ax.texts[0].get_text() == "class number 3 0.88"
    assert rectangles(ax)[-1].get_bbox().bounds == (10, 20, 40, 40)
    assert rectangles(ax)[-1].get_edgecolor()[:3] == pytest.approx(class_color(3))


def test_detections_below_the_threshold_are_left_out():
    found = detections(20)
    (ax,) = draw_detections(picture(), found, CLASSES, score_threshold=0.6).axes
    assert len(rectangles(ax)) == 2 * int((found.scores >= 0.6).sum())
    (ax,) = draw_detections(picture(), found, CLASSES, score_threshold=1.1).axes
    assert len(rectangles(ax)) == len(ax.texts) == 0


def test_ignored_objects_are_dashed():
    boxes = torch.tensor([[10.0, 20, 50, 60], [1, 2, 9, 8]])
    targets = Targets(boxes, torch.tensor([0, 1]), ignore=torch.tensor([False, True]))
    (ax,) = draw_targets(picture(), targets, CLASSES).axes
    styles = {tuple(one.get_bbox().bounds): one.get_linestyle() for one in rectangles(ax)}
    assert styles[10, 20, 40, 40] in ("-", "solid")
    assert styles[1, 2, 8, 6] in ("--", "dashed")


EDGES = {
    "middle": [40, 40, 60, 60],
    "top left": [0, 0, 20, 20],
    "top right": [85, 0, 100, 20],
    "bottom right": [90, 90, 100, 100],
    "bottom left": [0, 97, 5, 100],
    "right": [98, 50, 100, 60],
    "all": [0, 0, 100, 100],
    "past the left and top": [-30, -30, 20, 20],
    "past the right and bottom": [95, 95, 140, 140],
}


@pytest.mark.parametrize("place", EDGES)
@pytest.mark.parametrize("size", [(100, 100), (60, 200), (400, 150)], ids=str)
def test_label_stays_inside_the_picture(place, size):
    height, width = size
    box = torch.tensor([EDGES[place]], dtype=torch.float32) / 100 * torch.tensor([width, height, width, height])
    found = Detections(box, torch.tensor([0.9]), torch.tensor([10]))
    figure = draw_detections(picture(height, width), found, CLASSES)
    render(figure)
    (ax,) = figure.axes
    label, frame = ax.texts[0].get_window_extent(), ax.get_window_extent()
    slack = 3  # pixels: the padding around the text
    assert label.x0 >= frame.x0 - slack
    assert label.x1 <= frame.x1 + slack
    assert label.y0 >= frame.y0 - slack
    assert label.y1 <= frame.y1 + slack


def test_picture_fills_the_axes_whatever_lies_outside():
    figure = draw_detections(picture(50, 80), detections(5, size=400), CLASSES)
    (ax,) = figure.axes
    assert ax.get_xlim() == (-0.5, 79.5)
    assert ax.get_ylim() == (49.5, -0.5)


def test_drawn_pixels_show_image_and_box():
    image = picture(50, 50)
    image[:] = (0, 0, 200)
    figure = draw_detections(
        image, Detections(torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([0.9]), torch.tensor([0])), CLASSES
    )
    shown = render(figure)[..., :3].reshape(-1, 3).astype(int)
    blue = (np.abs(shown - [0, 0, 200]).max(axis=1) < 12).mean()
    box = (np.abs(shown - 255 * np.array(class_color(0))).max(axis=1) < 12).sum()
    assert blue > 0.5
    assert box > 100


@pytest.mark.parametrize("size", [(300, 400), (400, 40), (400, 1)])
def test_large_picture_is_shrunk_and_keeps_its_coordinates(monkeypatch, size):
    monkeypatch.setattr(draw, "LARGEST_SHOWN", 100)
    pixels = np.zeros((*size, 3), dtype=np.uint8)
    pixels[: size[0] // 2] = 255
    _, ax = plt.subplots()
    show_image(ax, pixels)
    (shown,) = ax.images
    assert max(shown.get_array().shape) == 100
    assert shown.get_extent() == [-0.5, size[1] - 0.5, size[0] - 0.5, -0.5]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, size[1] - 0.5), (size[0] - 0.5, -0.5))
    assert shown.get_array().mean() == pytest.approx(127.5, abs=2)


def test_image_may_be_a_tensor_an_array_or_a_sample():
    image, _ = make_sample(20, 30, [])
    array = image.permute(1, 2, 0).numpy()
    assert np.array_equal(to_rgb_array(image), array)
    assert np.array_equal(to_rgb_array(image.as_subclass(torch.Tensor)), array)
    assert np.array_equal(to_rgb_array(array), array)
    for odd in (np.zeros((5, 5)), np.zeros((5, 5, 4)), torch.zeros(1, 5, 5)):
        with pytest.raises(ValueError, match="RGB"):
            to_rgb_array(odd)


def test_inputs_are_not_changed():
    image, found = picture(), detections(5)
    before = image.copy(), found.boxes.clone()
    render(draw_detections(image, found, CLASSES))
    assert np.array_equal(image, before[0])
    assert torch.equal(found.boxes, before[1])


def test_eighty_classes_have_eighty_colours_and_neighbours_differ_clearly():
    colors = [class_color(label) for label in range(80)]
    assert len({tuple(round(one, 2) for one in color) for color in colors}) == 80
    assert all(0 <= one <= 1 for color in colors for one in color)
    hues = [colorsys.rgb_to_hls(*color)[0] for color in colors]
    for label in range(78):
        for other in (label + 1, label + 2):
            apart = abs(hues[label] - hues[other])
            assert min(apart, 1 - apart) > 0.2
    assert class_color(7) == class_color(7)


def test_nothing_opens_a_figure_when_axes_are_given():
    figure, ax = plt.subplots()
    opened = plt.get_fignums()
    targets = Targets(torch.tensor([[1.0, 2, 9, 8]]), torch.tensor([0]))
    assert draw_detections(picture(), detections(3), CLASSES, ax=ax) is figure
    assert draw_targets(picture(), targets, CLASSES, ax=ax) is figure
    points, strides = torch.tensor([[4.0, 4], [8, 8]]), torch.tensor([8.0, 16])
    assert draw_positive_points(picture(), points, strides, torch.tensor([0, -1]), targets, CLASSES, ax=ax) is figure
    show_image(ax, picture(), "title")
    add_box(ax, torch.tensor([1.0, 2, 3, 4]), (1, 0, 0))
    assert plt.get_fignums() == opened


@pytest.mark.parametrize("make", ["detections", "gallery", "samples", "comparison"])
def test_one_picture_is_one_figure(make):
    sample = make_sample(30, 40, [[1, 2, 20, 20]])
    figure = {
        "detections": lambda: draw_detections(picture(), detections(2), CLASSES),
        "gallery": lambda: gallery(5)[0],
        "samples": lambda: sample_gallery([sample] * 3, CLASSES),
        "comparison": lambda: comparison_gallery([sample] * 2, [detections(2)] * 2, CLASSES),
    }[make]()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(("count", "columns", "grid"), [(0, 4, 1), (1, 4, 1), (4, 4, 4), (5, 4, 8), (3, 1, 3)])
def test_gallery_has_an_axes_per_picture(count, columns, grid):
    figure, axes = gallery(count, columns, title="a title")
    assert len(axes) == count
    assert len(figure.axes) == grid
    assert not any(ax.axison for ax in figure.axes)
    render(figure)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_galleries_of_samples_and_comparisons(count):
    samples = [make_sample(30, 40, [[1, 2, 20, 20]] * number, [0] * number, scored=True) for number in range(count)]
    figure = sample_gallery(samples, CLASSES, title="samples")
    assert sum(len(rectangles(ax)) for ax in figure.axes) == 2 * sum(range(count))
    found = [detections(2)] * count
    figure = comparison_gallery(samples, found, CLASSES, title="both")
    assert sum(len(rectangles(ax)) for ax in figure.axes) == 2 * (sum(range(count)) + 2 * count)
    render(figure)


@pytest.mark.parametrize("size", [(30, 40), (40, 40), (20, 60), (60, 45)], ids=str)
def test_rows_are_as_high_as_their_pictures(size):
    samples = [make_sample(*size, [[1, 2, 20, 20]])] * 4
    figure = comparison_gallery(samples, [detections(0)] * 4, CLASSES, title="both")
    empty = (render(figure)[..., :3] == 255).all(axis=(1, 2))
    bands = "".join("#" if one else " " for one in empty).split()
    assert max(map(len, bands)) < 0.06 * len(empty), "no broad white bands"


def test_points_are_drawn_by_level_in_the_colour_of_their_object():
    targets = Targets(torch.tensor([[1.0, 2, 9, 8], [20, 20, 60, 60]]), torch.tensor([0, 5]))
    points = torch.tensor([[4.0, 4], [24, 24], [32, 32], [70, 70]])
    strides = torch.tensor([8.0, 8, 16, 16])
    (ax,) = draw_positive_points(picture(), points, strides, torch.tensor([0, 1, 1, -1]), targets, CLASSES).axes
    small, large = ax.collections
    assert small.get_offsets().tolist() == [[4, 4], [24, 24]]
    assert large.get_offsets().tolist() == [[32, 32]]
    assert large.get_facecolors()[0][:3] == pytest.approx(class_color(5))
    assert large.get_sizes()[0] > small.get_sizes()[0]


def test_no_positive_point_is_no_error():
    empty = Targets.empty()
    figure = draw_positive_points(
        picture(), torch.zeros(3, 2), torch.tensor([8.0, 8, 16]), torch.full((3,), -1), empty, CLASSES
    )
    render(figure)
