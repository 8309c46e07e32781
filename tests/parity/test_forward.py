"""Outputs of backbone, neck and head against those recorded from the published implementation."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.detector import create_model

sys.path.insert(0, str(Path(__file__).parent))
from synthetic_weights import made_image, made_tensor, with_made_weights

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOLERANCE = 2e-5  # absolute; relative for values over 1


@pytest.mark.parametrize("size", ["tiny", "s"])
@pytest.mark.parametrize("form", ["trained", "channels_last", "fused"])
@torch.inference_mode()
def test_every_map_equals_the_published_one(size, form):
    model, image = with_made_weights(create_model(f"rtmdet-{size}")), made_image()
    if form == "fused":
        model = fuse(model)
    if form == "channels_last":
        model, image = (one.to(memory_format=torch.channels_last) for one in (model, image))
    backbone = model.backbone(image)
    neck = model.neck(backbone)
    logits, distances = model.bbox_head.predict_levels(neck)
    maps = {"backbone": backbone, "neck": neck, "cls": logits, "reg": distances}
    check_maps(
        {f"{name}.{level}": one for name, levels in maps.items() for level, one in enumerate(levels)}, f"rtmdet_{size}"
    )


@pytest.mark.parametrize("size", ["tiny", "s"])
@torch.inference_mode()
def test_instance_maps_equal_the_published_ones(size):
    model, image = create_model(f"rtmdet-ins-{size}"), made_image()
    # The recorded model had the weights of its class tower in both: here they are one module, filled under either name.
    names = {key: key.replace("reg_convs", "cls_convs") for key in model.state_dict()}
    model.load_state_dict({key: made_tensor(names[key], value) for key, value in model.state_dict().items()})
    features = model.eval().neck(model.backbone(image))
    logits, distances, kernels = model.bbox_head.predict_levels(features)
    maps = {"neck": features, "cls": logits, "reg": distances, "kernel": kernels}
    found = {f"{name}.{level}": one for name, levels in maps.items() for level, one in enumerate(levels)}
    check_maps(found | {"mask_feat": model.bbox_head.mask_head(features)}, f"rtmdet-ins_{size}")


def check_maps(found, name):
    with np.load(FIXTURES / f"forward_{name}.npz") as recorded:
        for key, one in found.items():
            assert one.shape == tuple(recorded[f"{key}.shape"]), key
            expected = recorded[f"{key}.val"]
            values = one.contiguous().flatten().numpy()[recorded[f"{key}.idx"]]
            assert (np.abs(values - expected) / np.maximum(1, np.abs(expected))).max() <= TOLERANCE, key
            stats = [one.double().mean(), one.double().std(unbiased=False), one.abs().max()]
            np.testing.assert_allclose(stats, recorded[f"{key}.stats"], rtol=1e-4, atol=TOLERANCE, err_msg=key)
