"""The whole detector against the published counts and keys, and every setting against being without effect."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from made_networks import SMALL, meta_model, noise, parameters_of, randomise_norms, small_model, weights_without_gradient

from rtmdet_lab.tasks.factory import create_model

FIXTURES = Path(__file__).parents[1] / "fixtures"
COUNTS = json.loads((FIXTURES / "parameter_counts.json").read_text())
PUBLISHED = ("tiny", "s", "m", "l", "x")


@pytest.fixture(scope="module")
def published_shapes() -> dict[str, dict[str, list[int]]]:
    return json.loads((FIXTURES / "state_dict_shapes.json").read_text())


# Name of the model, name in the tables, and the number of classes counted there.
PUBLISHED_MODELS = [
    *((f"rtmdet-{size}", f"rtmdet_{size}", 80) for size in PUBLISHED),
    *((f"rtmdet-ins-{size}", f"rtmdet-ins_{size}", 80) for size in PUBLISHED),
    *((f"rtmdet-r-{size}", f"rotated_rtmdet_{size}", 15) for size in PUBLISHED[:-1]),
]


@pytest.mark.parametrize(("name", "key", "classes"), PUBLISHED_MODELS)
def test_counts_keys_shapes_and_their_order_are_the_published_ones(name, key, classes, published_shapes):
    model = meta_model(name, classes)
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    expected = published_shapes[key]
    assert parameters_of(model) == COUNTS[key]["parameters"]
    assert len(shapes) == COUNTS[key]["state_dict_entries"]
    assert shapes == expected
    assert list(shapes) == list(expected)


@pytest.mark.parametrize("size", ["nano", *PUBLISHED])
@pytest.mark.parametrize("classes", [1, 20])
def test_number_of_classes_changes_the_class_predictors_alone(size, classes):
    model, other = meta_model(f"rtmdet-{size}", classes), meta_model(f"rtmdet-{size}", classes + 1)
    theirs = other.state_dict()
    changed = [key for key, value in model.state_dict().items() if value.shape != theirs[key].shape]
    assert changed == [f"bbox_head.rtm_cls.{level}.{part}" for level in range(3) for part in ("weight", "bias")]
    assert parameters_of(other) - parameters_of(model) == 3 * (model.neck.out_channels + 1)
    assert model.num_classes == classes


CHANGES = [
    {"kernel_size": 3},
    {"kernel_size": 7},
    {"block": "darknet"},
    {"block": "ppyoloe_rep"},
    {"block": "yolov6_rep"},
    {"block": "rep_large_kernel"},
    {"depth": 0.5},
    {"width": 0.25},
    {"depthwise": True},
    {"backbone.stage_blocks": (3, 9, 9, 3)},
    {"backbone.channel_attention": False},
    {"backbone.expand_ratio": 0.75},
    {"backbone.spp": False},
    {"neck.expand_ratio": 0.75},
    {"neck.blocks": 9},
    {"head.sharing": "all"},
    {"head.sharing": "none"},
    {"head.stacked_convs": 3},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_every_setting_changes_the_parameters_and_leaves_a_network_that_learns(change):
    plain, changed = small_model(), small_model(**change)
    assert parameters_of(plain) != parameters_of(changed)
    found = randomise_norms(changed, seed=0)(noise(2, 3, 64, 64))
    (found.logits.square().sum() + (found.boxes * noise(*found.boxes.shape)).sum()).backward()
    assert not weights_without_gradient(changed)


@torch.no_grad()
def test_exponential_changes_the_boxes_and_nothing_else():
    plain, changed = small_model(), small_model(exp_on_reg=True)
    changed.load_state_dict(plain.state_dict())
    one, other = (model(noise(1, 3, 64, 64)) for model in (plain, changed))
    assert torch.equal(one.logits, other.logits)
    assert not torch.allclose(one.boxes, other.boxes, atol=1)


@pytest.mark.parametrize("size", [(64, 64), (65, 40), (100, 33), (31, 70), (8, 8), (1, 1)])
@torch.no_grad()
def test_images_of_any_size_get_a_point_per_started_cell(size):
    found = small_model()(noise(1, 3, *size))
    assert found.level_sizes() == [-(-size[0] // stride) * -(-size[1] // stride) for stride in (8, 16, 32)]
    assert found.boxes.isfinite().all()


@torch.no_grad()
def test_images_of_a_batch_do_not_touch_each_other():
    model, images = randomise_norms(small_model(), seed=4), noise(3, 3, 64, 64)
    together = model(images)
    for number, image in enumerate(images):
        alone = model(image[None])
        torch.testing.assert_close(alone.logits[0], together.logits[number], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone.boxes[0], together.boxes[number], rtol=1e-4, atol=1e-2)


def test_nested_settings_may_come_as_a_mapping():
    dotted, nested = (
        create_model("rtmdet-s", **SMALL, **one) for one in ({"backbone.spp": False}, {"backbone": {"spp": False}})
    )
    assert list(dotted.state_dict()) == list(nested.state_dict())
    assert dotted.config == nested.config
