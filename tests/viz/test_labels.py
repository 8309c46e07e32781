"""Names of objects can be read: none covers another, each class is told at least once where there is room."""

from __future__ import annotations

import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.viz.draw import draw_detections, gallery

CLASSES = ["person", "bicycle", "car", "traffic light"]


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def crowd(count: int, rotated: bool, size: int = 400) -> Detections:
    rng = np.random.default_rng(count)
    corners = rng.uniform(0, size - 20, (count, 2))
    sides = rng.uniform(4, 60, (count, 2))
    columns = [corners, sides, rng.uniform(-1.5, 1.5, (count, 1))] if rotated else [corners, corners + sides]
    boxes = torch.tensor(np.concatenate(columns, axis=1)).float()
    return Detections(boxes, torch.linspace(1, 0.4, count), torch.arange(count) % 4)


def draw(found: Detections, cells: int):
    if cells == 1:
        figure = draw_detections(np.zeros((400, 400, 3), np.uint8), found, CLASSES)
    else:
        figure, axes = gallery(cells, columns=4, title="title")
        for ax in axes:
            draw_detections(np.zeros((400, 400, 3), np.uint8), found, CLASSES, ax=ax)
    figure.canvas.draw()
    return figure.axes[0]


@pytest.mark.parametrize(
    ("count", "cells", "rotated"),
    [
        (2, 1, False),
        (2, 1, True),
        (300, 1, False),
        (300, 1, True),
        pytest.param(60, 8, False, marks=pytest.mark.slow),
        (60, 8, True),
    ],
)
def test_no_name_covers_another(count, cells, rotated):
    ax = draw(crowd(count, rotated), cells)
    places = [one.get_window_extent() for one in ax.texts]
    slack = 2  # pixels
    for one, other in itertools.combinations(places, 2):
        wide = min(one.x1, other.x1) - max(one.x0, other.x0)
        high = min(one.y1, other.y1) - max(one.y0, other.y0)
        assert wide < slack or high < slack
    assert len(places) == count if count == 2 else 10 <= len(places) < count


def test_first_of_each_class_and_the_better_scored_are_named_first():
    boxes = torch.tensor([[10.0, 200, 60, 300], [12, 201, 60, 300], [300, 200, 380, 300], [13, 202, 60, 300]])
    found = Detections(boxes, torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([0, 0, 0, 2]))
    names = {one.get_text() for one in draw(found, 1).texts}
    assert names == {"person 0.90", "person 0.70"}  # no room for the car beside the better person
    found.boxes[3] = torch.tensor([311.0, 202, 380, 300])
    assert {one.get_text() for one in draw(found, 1).texts} == {"person 0.90", "car 0.60"}  # the car is its class's first


def test_turned_box_has_its_name_at_its_highest_corner():
    found = Detections(torch.tensor([[150.0, 200, 200, 20, math.pi / 4]]), torch.tensor([0.9]), torch.tensor([1]))
    (text,) = draw(found, 1).texts
    corner = (150 - (100 - 10) / math.sqrt(2), 200 - (100 + 10) / math.sqrt(2))  # the left end, upper corner
    assert text.get_position() == pytest.approx(corner, abs=0.01)
