"""Figures of errors: every number that is given is drawn, and nothing to draw is no fault."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from rtmdet_lab.viz.errors import ERROR_COLORS, plot_confusion, plot_error_costs, plot_error_counts


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_costs_are_bars_in_points():
    gains = {"all": dict.fromkeys(ERROR_COLORS, 0.05), "small": {**dict.fromkeys(ERROR_COLORS, 0.0), "missed": float("nan")}}
    figure = plot_error_costs(gains, "run")
    first, second = figure.axes
    assert [bar.get_width() for bar in first.patches] == pytest.approx([5] * 6)
    assert [text.get_text() for text in second.texts] == ["0.0"] * 5, "what is not known has no number"
    assert [label.get_text() for label in first.get_yticklabels()] == list(ERROR_COLORS)
    assert (first.get_title(), second.get_title()) == ("all", "small")


def test_counts_are_stacked_with_the_worst_class_first():
    counts = {"true positive": [9, 9, 9], "class": [1, 0, 4], "missed": [0, 0, 2]}
    ax = plot_error_counts(counts, ("cat", "dog", "newt")).axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["newt", "cat"]
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 4), (0, 1), (4, 2), (1, 0)]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["class", "missed"]
    assert [text.get_text() for text in plot_error_counts({"class": [0]}, ("cat",)).axes[0].texts] == ["no errors"]


def test_many_classes_are_cut_and_said_to_be():
    ax = plot_error_counts({"class": list(range(40))}, [f"c{number}" for number in range(40)], "title").axes[0]
    assert len(ax.get_yticklabels()) == 25
    assert "14 more" in ax.get_title()


def test_confusion_has_background_and_missed():
    table = np.array([[5, 2, 0, 1], [0, 4, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0]])
    ax = plot_confusion(table, ("cat", "dog", "newt")).axes[0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["cat", "dog", "missed"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog", "background"]
    drawn = {text.get_position(): text.get_text() for text in ax.texts}
    assert drawn == {(0, 0): "5", (1, 0): "2", (2, 0): "1", (1, 1): "4", (0, 2): "3"}
    assert plot_confusion(np.zeros((1, 1), int), ()).axes
