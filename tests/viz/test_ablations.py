"""Figures of tables: every point is named once, nothing covers a name, and empty tables draw."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from rtmdet_lab.viz.ablations import (
    Point,
    color_of,
    label_points,
    plot_learning,
    plot_rows,
    plot_scores,
    plot_speed,
    plot_tradeoff,
)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_measured_and_published_have_axes_of_their_own():
    measured = [Point("3x3", 2.0, 20.0, 15.0, 25.0), Point("5x5", 2.1, 22.0)]
    published = [Point("5x5", 50.9, 50.9)]
    figure = plot_scores(measured, published, "parameters, million", "title")
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("measured AP", "published AP")
    assert left.get_xlabel() == right.get_xlabel() == "parameters, million"
    assert texts(left) == ["3x3", "5x5"]
    assert texts(right) == ["5x5"]
    colors = {line.get_color() for line in right.get_lines()}
    assert colors == {color_of(1)}, "a row has one color in both"
    assert len(plot_scores([], published, "x", "title").axes) == 1
    assert plot_scores([], [], "x", "nothing").axes


def test_names_of_points_that_lie_close_do_not_cover_each_other():
    figure, ax = plt.subplots(figsize=(5, 4), layout="constrained")
    points = [(1.0 + 0.01 * number, 2.0 + 0.01 * number, f"row {number}") for number in range(4)]
    for x, y, _ in points:
        ax.plot(x, y, "o")
    ax.margins(0.4)
    label_points(ax, points)
    renderer = figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts]
    assert len(boxes) == 4
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])


def test_rows_that_cost_the_same_stand_below_each_other():
    measured = [Point("b", 1.0, 20.0, 15.0, 25.0), Point("a", 1.0, 22.0)]
    left, right = plot_rows(["a", "b", "c"], measured, [Point("c", 1.0, 44.5)], "title").axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b", "c"]
    assert left.get_ylim()[0] > left.get_ylim()[1], "the first row is on top"
    assert texts(left) == ["20.0", "22.0"]
    assert texts(right) == ["44.5"]
    spots = {line.get_xdata()[0]: line for line in left.get_lines() if len(line.get_xdata()) == 1}
    assert spots[20.0].get_ydata()[0] == 1
    assert spots[22.0].get_color() == color_of(0)
    assert [15.0, 25.0] in [list(line.get_xdata()) for line in left.get_lines()]
    assert len(plot_rows(["a"], [], [Point("a", 1.0, 44.5)], "title").axes) == 1


def test_learning_curves_have_a_line_per_run_and_a_name_per_row():
    def history(score):
        return [
            {"epoch": number, "losses": {"a": 1.0, "b": 0.5}, "metrics": {"AP": score * number}} for number in range(3)
        ] + [{"epoch": 3, "losses": {"a": 0.5, "b": 0.5}}]

    loss, score = plot_learning({"x": [history(0.1), history(0.2)], "y": [history(0.3)]}, "title").axes
    assert len(loss.get_lines()) == len(score.get_lines()) == 3
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["x", "y"]
    assert loss.get_lines()[0].get_ydata().tolist() == [1.5, 1.5, 1.5, 1.0]
    assert score.get_lines()[1].get_ydata().tolist() == pytest.approx([0, 20, 40])
    assert plot_learning({}, "nothing").axes


def test_speeds_show_the_median():
    (ax,) = plot_speed({"x": [10.0, 20.0, 90.0], "y": []}, "images", "title").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["x", "y"]
    assert texts(ax) == ["20.0"]


def test_tradeoff_draws_a_line_per_series():
    series = {"peer": [Point("s", 10, 40), Point("m", 30, 45)], "single": [Point("base", 50, 51)]}
    (ax,) = plot_tradeoff(series, [Point("tiny", 8, 41), Point("s", 15, 44)], "multiply-adds, G", "title").axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["peer", "single", "RTMDet"]
    assert ax.get_xscale() == "log"
    assert texts(ax) == ["tiny", "s"]
