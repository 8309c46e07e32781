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
from synthetic_weights import made_image, with_made_weights

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
    with np.load(FIXTURES / f"forward_rtmdet_{size}.npz") as recorded:
        for name, maps in {"backbone": backbone, "neck": neck, "cls": logits, "reg": distances}.items():
            assert f"{name}.{len(maps)}.shape" not in recorded
            for level, found in enumerate(maps):
                key = f"{name}.{level}"
                assert found.shape == tuple(recorded[f"{key}.shape"])
                expected = recorded[f"{key}.val"]
                values = found.contiguous().flatten().numpy()[recorded[f"{key}.idx"]]
                assert (np.abs(values - expected) / np.maximum(1, np.abs(expected))).max() <= TOLERANCE, key
                stats = [found.double().mean(), found.double().std(unbiased=False), found.abs().max()]
                np.testing.assert_allclose(stats, recorded[f"{key}.stats"], rtol=1e-4, atol=TOLERANCE, err_msg=key)
