"""Pictures of how a mask comes about."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

mpl.use("Agg")
import matplotlib.pyplot as plt

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.layers.dynamic_masks import mask_layers
from rtmdet_lab.viz.draw import class_color, draw_detections
from rtmdet_lab.viz.instance import plot_kernel, plot_mask_layers, plot_prototypes

IMAGE = np.full((64, 80, 3), 100, np.uint8)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_prototypes_are_eight_pictures_beside_the_image():
    torch.manual_seed(0)
    features = torch.randn(8, 8, 10)
    figure = plot_prototypes(IMAGE, features)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 9
    np.testing.assert_allclose(drawn[3], features[2].numpy())


def test_kernel_is_shown_number_by_number():
    figure = plot_kernel(torch.arange(169.0), "numbers")
    tables = [ax.images[0].get_array() for ax in figure.axes[:3]]
    assert [table.shape for table in tables] == [(8, 11), (8, 9), (1, 9)]
    assert sorted(np.concatenate([table.ravel() for table in tables]).tolist()) == list(range(169))
    assert tables[0][0, -1] == 152  # the first bias
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][:3] == ["dx", "dy", "p1"]


def test_way_to_a_mask_shows_all_maps_and_shades_what_is_outside():
    torch.manual_seed(1)
    point = torch.tensor([24.0, 32.0])
    layers = mask_layers(torch.randn(8, 8, 10), torch.randn(1, 169), point[None], torch.tensor([8.0]))
    figure = plot_mask_layers(IMAGE, layers, point)
    pictures = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    shaded = next(one for one in pictures if one.shape == IMAGE.shape)
    inside = (layers[2][0, 0] > 0).repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()
    assert (shaded[inside] == 100).all()
    assert (shaded[~inside] == 30).all()
    assert sum(one.shape == (8, 10) for one in pictures) == 17


def test_masks_are_tinted_in_their_class_colour():
    masks = torch.zeros(2, 64, 80, dtype=torch.bool)
    masks[0, 10:20, 10:20] = True
    boxes = torch.tensor([[10.0, 10, 20, 20], [40, 40, 50, 50]])
    found = Detections(boxes, torch.tensor([0.9, 0.1]), torch.tensor([1, 0]), masks=masks)
    figure = draw_detections(IMAGE, found, ["a", "b"])
    array = figure.axes[0].images[0].get_array()
    expected = 100 + 0.45 * (255 * np.array(class_color(1)) - 100)
    np.testing.assert_allclose(array[15, 15], expected, atol=1)
    assert (array[45, 45] == 100).all()
    assert (array[0, 0] == 100).all()
