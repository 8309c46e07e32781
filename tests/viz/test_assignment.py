"""Pictures of one label assignment."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from rtmdet_lab.assigners.dynamic import DynamicAssigner
from rtmdet_lab.core.structures import DensePredictions, Priors, Targets
from rtmdet_lab.viz.assignment import level_maps, plot_cost_terms

SIZE = 64


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def priors() -> Priors:
    points, strides = [], []
    for stride in (8, 16, 32):
        count = SIZE // stride
        y, x = torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
        points.append(torch.stack([x, y], dim=-1).reshape(-1, 2) * float(stride))
        strides.append(torch.full((count * count,), float(stride)))
    return Priors(torch.cat(points), torch.cat(strides))


def explain(boxes, labels):
    grid = priors()
    torch.manual_seed(0)
    around = torch.cat([grid.points - grid.strides[:, None], grid.points + grid.strides[:, None]], dim=1)
    predictions = DensePredictions(torch.randn(1, len(grid.points), 3), around[None], grid)
    targets = Targets(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.tensor(labels, dtype=torch.int64))
    return DynamicAssigner().explain(predictions, [targets])


def test_maps_have_a_cell_per_point():
    grid = priors()
    maps = level_maps(torch.arange(len(grid.points)).float(), grid, (SIZE, SIZE))
    assert [one.shape for one in maps] == [(8, 8), (4, 4), (2, 2)]
    assert maps[0][1, 2] == 10  # row-major
    assert maps[1][0, 0] == 64
    assert maps[2][1, 1] == 83


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_object_has_a_grid_of_levels_and_terms(number):
    # A large one, one that overlaps it, and one too small to hold a point: it has no candidates of its own.
    explanation = explain([[5, 5, 60, 60], [20, 20, 50, 40], [2, 2, 5, 5]], [0, 1, 2])
    figure = plot_cost_terms(explanation, np.zeros((SIZE, SIZE, 3), dtype=np.uint8), 0, number, ["a", "b", "c"])
    figure.canvas.draw()
    pictures = [ax for ax in figure.axes if ax.images]
    assert len(pictures) == 3 * 5  # levels x (three terms, their sum, the choice)
    assert f"k = {int(explanation.dynamic_k[0, number])}" in figure.get_suptitle()
    assert plt.get_fignums() == [figure.number]


def test_single_tiny_object_without_any_candidate_is_drawn():
    explanation = explain([[2, 2, 5, 5]], [0])
    assert not bool(explanation.candidates.any())
    plot_cost_terms(explanation, torch.zeros(3, SIZE, SIZE, dtype=torch.uint8), 0, 0, ["a"]).canvas.draw()


def test_chosen_points_are_those_of_the_assignment():
    explanation = explain([[5, 5, 60, 60]], [0])
    figure = plot_cost_terms(explanation, np.zeros((SIZE, SIZE, 3), dtype=np.uint8), 0, 0, ["a"])
    drawn = sorted(
        tuple(point)
        for ax in figure.axes
        if ax.get_title().startswith("chosen")
        for point in ax.collections[-1].get_offsets().tolist()
    )
    chosen = explanation.inputs.priors.points[explanation.assignment.gt_index[0] == 0]
    assert drawn == sorted(tuple(point) for point in chosen.tolist())
