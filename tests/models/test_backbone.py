"""CSPNeXt and its classifier."""

from __future__ import annotations

import pytest
import torch
from made_networks import SMALL, noise, parameters_of, randomise_norms, weights_without_gradient

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import SIZES, resolve_model
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.models.backbone import CSPNeXt, CSPNeXtClassifier

SMALL_CONFIG = resolve_model(with_overrides(ModelConfig(), SMALL))
# paper.md 1.2: millions with 1000 classes
PUBLISHED_CLASSIFIERS = {"tiny": 2.734, "s": 4.891, "m": 13.048, "l": 27.164, "x": 48.851}


@pytest.mark.parametrize("size", list(SIZES))
def test_three_maps_at_strides_8_16_and_32(size):
    with torch.device("meta"):
        backbone = CSPNeXt(resolve_model(ModelConfig(size=size)))
        maps = backbone(torch.empty(2, 3, 64, 96))
    width = SIZES[size].width
    expected = [
        (2, int(channels * width), 64 // stride, 96 // stride) for channels, stride in ((256, 8), (512, 16), (1024, 32))
    ]
    assert [tuple(one.shape) for one in maps] == expected
    assert list(backbone.out_channels) == [shape[1] for shape in expected]


@pytest.mark.parametrize(("size", "millions"), PUBLISHED_CLASSIFIERS.items())
def test_classifier_has_the_published_number_of_parameters(size, millions):
    with torch.device("meta"):
        classifier = CSPNeXtClassifier(resolve_model(ModelConfig(size=size)))
    assert round(parameters_of(classifier) / 1e6, 3) == millions
    assert {"backbone.stem.0.conv.weight", "head.fc.weight"} <= set(classifier.state_dict())


@pytest.mark.parametrize("classes", [2, 11])
def test_classifier_is_a_linear_map_of_the_mean_of_the_last_map(classes):
    torch.manual_seed(classes)
    classifier = randomise_norms(CSPNeXtClassifier(SMALL_CONFIG, classes), seed=classes)
    images = noise(2, 3, 64, 64)
    logits = classifier(images)
    expected = classifier.backbone(images)[-1].mean(dim=(2, 3)) @ classifier.head.fc.weight.T + classifier.head.fc.bias
    torch.testing.assert_close(logits, expected)
    logits.square().sum().backward()
    assert not weights_without_gradient(classifier)


def test_only_the_last_stage_has_no_shortcuts():
    backbone = CSPNeXt(SMALL_CONFIG)
    stages = [getattr(backbone, f"stage{number}") for number in range(1, 5)]
    assert [stage[-1].blocks[0].residual for stage in stages] == [True, True, True, False]
    assert [len(stage) for stage in stages] == [2, 2, 2, 3]  # and only the last one pools
