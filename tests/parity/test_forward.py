"""Outputs of backbone, neck and head against those recorded from the published implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_weights import made_image, made_tensor, with_made_weights

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.geometry.priors import decode_rotated, point_grid
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.head import flatten_levels
from rtmdet_lab.tasks.factory import create_model

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


@pytest.mark.parametrize("size", ["tiny", "s"])
@torch.inference_mode()
def test_rotated_maps_equal_the_published_ones(size):
    model, image = with_made_weights(create_model(f"rtmdet-r-{size}", num_classes=15)), made_image()
    features = model.neck(model.backbone(image))
    logits, distances, angles = model.bbox_head.predict_levels(features)
    maps = {"neck": features, "cls": logits, "reg": distances, "angle": angles}
    found = {f"{name}.{level}": one for name, levels in maps.items() for level, one in enumerate(levels)}
    check_maps(found, f"rotated_rtmdet_{size}")


@torch.inference_mode()
def test_rotated_boxes_are_decoded_as_published():
    with np.load(FIXTURES / "head_rotated_seed0.npz") as file:
        recorded = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    distances, angles = (flatten_levels([recorded[f"{kind}.{level}"] for level in range(3)]) for kind in ("reg", "angle"))
    priors = point_grid([recorded[f"cls.{level}"].shape[-2:] for level in range(3)], STRIDES)
    boxes = decode_rotated(priors.points, distances, angles[..., 0])
    expected = torch.stack([recorded[f"decoded.{image}"] for image in range(len(boxes))])
    torch.testing.assert_close(boxes, expected, rtol=1e-5, atol=1e-3)


def check_maps(found, name):
    with np.load(FIXTURES / f"forward_{name}.npz") as recorded:
        for key, one in found.items():
            assert one.shape == tuple(recorded[f"{key}.shape"]), key
            expected = recorded[f"{key}.val"]
            values = one.contiguous().flatten().numpy()[recorded[f"{key}.idx"]]
            assert (np.abs(values - expected) / np.maximum(1, np.abs(expected))).max() <= TOLERANCE, key
            stats = [one.double().mean(), one.double().std(unbiased=False), one.abs().max()]
            np.testing.assert_allclose(stats, recorded[f"{key}.stats"], rtol=1e-4, atol=TOLERANCE, err_msg=key)
