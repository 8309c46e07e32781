"""Learning curves and precision-recall."""

from __future__ import annotations

import warnings

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")
import matplotlib.pyplot as plt

from rtmdet_lab.viz.curves import plot_history, plot_precision_recall


@pytest.fixture(autouse=True)
def closed():
    """Closes figures, and turns matplotlib's complaints (empty legends, layouts without room) into errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield
    plt.close("all")


def history(epochs: int, weak: int = 0, every: int = 2) -> list[dict]:
    return [
        {
            "epoch": epoch,
            "stage": "weak" if epoch >= epochs - weak else "strong",
            "lr": 0.001 / (epoch + 1),
            "losses": {"loss_cls": 1 / (epoch + 1), "loss_bbox": 2 / (epoch + 1)},
            **({"metrics": {"AP": 0.01 * epoch, "AP50": 0.02 * epoch, "AP75": 0.0}} if (epoch + 1) % every == 0 else {}),
        }
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize(("epochs", "weak"), [(0, 0), (1, 0), (1, 1), (2, 2), (30, 6)])
def test_history_of_any_length_is_drawn(epochs, weak):
    figure = plot_history(history(epochs, weak), title="a run")
    figure.canvas.draw()
    assert len(figure.axes) == 3
    assert plt.get_fignums() == [figure.number]


def test_curves_have_the_numbers_of_the_records():
    losses, metrics, rates = plot_history(history(6)).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in losses.lines}
    assert lines["loss_cls"] == [[epoch, pytest.approx(1 / epoch)] for epoch in range(1, 7)]
    assert set(lines) == {"loss_cls", "loss_bbox"}
    lines = {line.get_label(): line.get_xydata().tolist() for line in metrics.lines}
    assert lines["AP"] == [[2, 0.01], [4, 0.03], [6, 0.05]]
    assert rates.lines[0].get_ydata().tolist() == pytest.approx([0.001 / epoch for epoch in range(1, 7)])


def test_axis_spans_the_whole_run_while_it_grows():
    assert plot_history(history(3), epochs=20).axes[0].get_xlim() == (0.5, 20.5)
    assert plot_history(history(3)).axes[0].get_xlim() == (0.5, 3.5)


def test_weak_stage_is_marked_only_where_it_begins_inside_the_run():
    for epochs, weak, marked in ((10, 3, True), (10, 0, False), (10, 10, False)):
        texts = [text.get_text() for text in plot_history(history(epochs, weak)).axes[0].texts]
        assert ("weak stage" in texts) == marked


def test_run_that_was_never_validated_has_an_empty_plot_and_no_complaint():
    figure = plot_history(history(3, every=99))
    figure.canvas.draw()
    assert not figure.axes[1].lines
    assert [text.get_text() for text in figure.axes[1].texts] == ["none so far"]
    assert not list(plot_history(history(3)).axes[1].texts)


@pytest.mark.parametrize("rates", [[1e-3, 1e-3], [1e-3, 9e-4, 1e-4], [0.0]])
def test_learning_rates_lie_inside_their_plot(rates):
    records = [record | {"lr": rate} for record, rate in zip(history(len(rates)), rates, strict=True)]
    bottom, top = plot_history(records).axes[2].get_ylim()
    assert bottom == 0
    assert max(rates) < 0.95 * top


@pytest.mark.parametrize("classes", [1, 6, 80])
def test_precision_recall_of_any_number_of_classes(classes):
    recall = np.linspace(0, 1, 101)
    precision = np.linspace(1, 0, 101)[:, None] * np.linspace(1, 0.2, classes)
    precision[:, classes // 2 :: 7] = np.nan
    figure = plot_precision_recall(recall, precision, [f"class {label}" for label in range(classes)], iou=0.5)
    figure.canvas.draw()
    drawn = int((~np.isnan(precision[0])).sum())
    assert len(figure.axes[0].lines) == drawn
    assert "0.5" in figure.axes[0].get_title()


def test_legend_begins_with_the_best_class():
    recall = np.linspace(0, 1, 101)
    precision = np.stack([np.full(101, 0.25), np.full(101, 0.75), np.full(101, np.nan)], axis=1)
    legend = plot_precision_recall(recall, precision, ["poor", "good", "absent"]).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["good 0.75", "poor 0.25"]


def test_set_without_objects_has_no_curves_and_no_complaint():
    figure = plot_precision_recall(np.linspace(0, 1, 101), np.full((101, 2), np.nan), ["a", "b"])
    figure.canvas.draw()
    assert not figure.axes[0].lines
