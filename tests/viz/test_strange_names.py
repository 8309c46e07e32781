"""Names with dollars, backslashes and control characters in every kind of figure: drawn as text, never as a formula."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.viz.ablations import Point, plot_learning, plot_rows, plot_scores, plot_speed, plot_tradeoff
from rtmdet_lab.viz.curves import plot_history, plot_precision_recall
from rtmdet_lab.viz.draw import draw_detections
from rtmdet_lab.viz.errors import plot_confusion, plot_error_costs, plot_error_counts

NAME = "$\\frac{x$\x1b"  # which Matplotlib cannot parse as a formula
RECORD = {"epoch": 0, "stage": "strong", "losses": {NAME: 1.0}, "lr": 0.1, "images_per_s": 1.0}
RECORD["metrics"] = {"AP": 0.5, NAME: 0.5}
POINT = Point(NAME, 1.0, 40.0, 39.0, 41.0)


def detections():
    boxes = torch.tensor([[4.0, 4.0, 30.0, 30.0]])
    return Detections(boxes=boxes, scores=torch.tensor([0.9]), labels=torch.tensor([0]))


FIGURES = {
    "detections": lambda: draw_detections(torch.zeros(3, 64, 64, dtype=torch.uint8), detections(), [NAME], title=NAME),
    "curves": lambda: plot_precision_recall(np.linspace(0, 1, 101), np.ones((101, 1)), [NAME], title=NAME),
    "history": lambda: plot_history([RECORD], title=NAME),
    "error costs": lambda: plot_error_costs({NAME: {"missed": 0.1}}, NAME),
    "error counts": lambda: plot_error_counts({"missed": [3]}, [NAME], NAME),
    "confusions": lambda: plot_confusion(np.array([[1, 2], [3, 0]]), [NAME], NAME),
    "learning": lambda: plot_learning({NAME: [[RECORD]]}, NAME),
    "rows": lambda: plot_rows([NAME], [POINT], [], NAME),
    "scores": lambda: plot_scores([POINT], [POINT], "params M", NAME),
    "trade-off": lambda: plot_tradeoff({NAME: [POINT]}, [POINT], "params M", NAME),
    "speed": lambda: plot_speed({NAME: [1.0, 2.0]}, NAME, NAME),
}


@pytest.mark.parametrize("kind", FIGURES)
def test_name_is_drawn_as_text(kind):
    figure = FIGURES[kind]()
    figure.savefig(io.BytesIO(), format="png")
    texts = [text.get_text() for text in figure.findobj(plt.Text)]
    assert any("frac{x" in text for text in texts)
    assert not any("\x1b" in text for text in texts)
    plt.close(figure)
