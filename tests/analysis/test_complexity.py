"""Parameters and multiply-adds against hand counts and the published tables."""

from __future__ import annotations

import pytest
import torch
from made_networks import meta_model, small_model
from torch import nn

from rtmdet_lab.analysis.complexity import count_params, measure_complexity
from rtmdet_lab.config.presets import resolve_model
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.models.backbone import CSPNeXtClassifier

# paper.md 1.1 and 1.2: published G multiply-adds at 640; recounted M parameters and G of backbone, neck and head
PUBLISHED = {
    "tiny": (8.1, 8.04, (2.35, 2.73), (2.19, 2.45), (0.36, 2.85)),
    "s": (14.8, 14.76, (4.38, 5.37), (3.88, 4.35), (0.63, 5.04)),
    "m": (39.27, 39.07, (12.28, 15.62), (11.05, 12.16), (1.38, 11.28)),
    "l": (80.23, 79.90, (26.14, 34.07), (23.75, 25.83), (2.43, 20.00)),
    "x": (141.67, 141.19, (47.57, 63.07), (43.51, 46.92), (3.77, 31.19)),
}


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.deep = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.again = self.deep
        self.out = nn.Linear(8, 10)

    def forward(self, x):
        return self.out(self.again(self.deep(self.body(x))).mean(dim=(2, 3)))


@pytest.mark.parametrize("size", [32, 64])
def test_hand_counted_network(size):
    found = measure_complexity(Toy(), size, parts=("body", "deep", "out", "absent"))
    cells = (size // 2) ** 2
    body, deep, out = 3 * 8 * 9 * cells, 8 * 25 * cells, 8 * 10
    assert found.macs == body + 2 * deep + out  # norm, activation and mean are not counted; the shared layer runs twice
    assert found.macs_by_part["body"] == body
    assert found.macs_by_part["out"] == out
    assert found.params == (3 * 8 * 9 + 2 * 8) + (8 * 25 + 8) + (8 * 10 + 10)
    assert found.params_by_part == {"body": 232, "deep": 208, "out": 90}
    assert (found.params_M, found.macs_G) == (found.params / 1e6, found.macs / 1e9)


@pytest.mark.parametrize(("size", "row"), PUBLISHED.items())
def test_published_sizes_at_640(size, row):
    published, counted, *parts = row
    found = measure_complexity(meta_model(f"rtmdet-{size}"), 640)
    assert found.macs_G == pytest.approx(published, rel=0.01)
    assert found.macs_G == pytest.approx(counted, abs=0.006)
    for name, (params, macs) in zip(("backbone", "neck", "bbox_head"), parts, strict=True):
        assert found.params_by_part[name] / 1e6 == pytest.approx(params, abs=0.006)
        assert found.macs_by_part[name] / 1e9 == pytest.approx(macs, abs=0.006)
    assert sum(found.macs_by_part.values()) == found.macs
    assert sum(found.params_by_part.values()) == found.params


@pytest.mark.parametrize(("size", "macs"), {"tiny": 0.339, "s": 0.664, "m": 1.93, "l": 4.19, "x": 7.76}.items())
def test_published_classifiers_at_224(size, macs):
    with torch.device("meta"):
        classifier = CSPNeXtClassifier(resolve_model(ModelConfig(size=size)))
    assert measure_complexity(classifier, 224).macs_G == pytest.approx(macs, rel=0.02)  # with norms, as published


def test_shared_parameters_count_once():
    assert count_params(Toy()) == 530


def test_model_is_left_as_it_was():
    model = small_model().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measure_complexity(model, 64)
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
