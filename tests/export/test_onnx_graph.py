"""The ONNX graph of post-processing against the tasks' own decoding, on raw outputs of any kind."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from rtmdet_lab.config.presets import STRIDES, resolve_test
from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.structures import DensePredictions, ImageMeta
from rtmdet_lab.export.onnx_graph import postprocessing_graph
from rtmdet_lab.geometry.priors import point_grid
from rtmdet_lab.layers.dynamic_masks import mask_logits
from rtmdet_lab.tasks.common import select_candidates
from rtmdet_lab.tasks.detection import decode_boxes


def made_raw(size: tuple[int, int], batch: int, classes: int, seed: int, masks: bool = False) -> DensePredictions:
    """Returns predictions with objects that several points see, boxes of negative sides among them."""
    torch.manual_seed(seed)
    height, width = size
    priors = point_grid([(-(-height // stride), -(-width // stride)) for stride in STRIDES], STRIDES)
    objects = torch.rand(12, 4) * torch.tensor([width, height, width / 2, height / 2])
    near = objects[torch.randint(12, (batch, len(priors)))] + torch.randn(batch, len(priors), 4) * 4
    boxes = torch.cat([near[..., :2], near[..., :2] + near[..., 2:]], dim=-1)
    boxes[:, ::7, 2] = boxes[:, ::7, 0] - 5
    return DensePredictions(
        torch.randn(batch, len(priors), classes) * 2 - 2,
        boxes,
        priors,
        kernels=torch.randn(batch, len(priors), 169) if masks else None,
        mask_features=torch.randn(batch, 8, -(-height // 8), -(-width // 8)) if masks else None,
    )


def run_graph(task: str, raw: DensePredictions, size: tuple[int, int], config: TestConfig) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    model = postprocessing_graph(task, config).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    values = {"images": np.zeros((len(raw), 3, *size), np.uint8), "logits": raw.logits.numpy(), "boxes": raw.boxes.numpy()}
    if task == "instance":
        values |= {"kernels": raw.kernels.numpy(), "mask_features": raw.mask_features.numpy()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, values), strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("size", "batch", "classes", "settings"),
    [
        ((64, 96), 1, 1, {"score_threshold": 0.05, "nms_iou": 0.6}),
        ((160, 64), 3, 5, {"score_threshold": 0.3}),
        ((100, 75), 2, 3, {"score_threshold": 0.0, "nms_iou": 0.5}),
        ((64, 64), 2, 4, {"score_threshold": 1e-5, "max_per_level": 9}),
        ((96, 96), 2, 3, {"score_threshold": 0.1, "max_per_image": 5}),
        ((96, 96), 2, 3, {"score_threshold": 0.1, "nms_iou": 1.0}),
    ],
)
def test_detections_are_those_of_the_task(size, batch, classes, settings, seed):
    config = resolve_test(TestConfig(**settings), "detection")
    raw = made_raw(size, batch, classes, seed)
    found = run_graph("detection", raw, size, config)
    expected = decode_boxes(raw, [ImageMeta(canvas_size=size)] * batch, config)
    assert found["dets"].shape[1] == max(len(one) for one in expected)
    for row, one in enumerate(expected):
        count = len(one)
        assert count > 0
        assert np.array_equal(found["labels"][row, :count], one.labels.numpy())
        assert np.all(found["labels"][row, count:] == -1)
        assert np.all(found["dets"][row, count:] == 0)
        np.testing.assert_allclose(found["dets"][row, :count, :4], one.boxes.numpy(), atol=1e-4)
        np.testing.assert_allclose(found["dets"][row, :count, 4], one.scores.numpy(), atol=1e-6)


@pytest.mark.parametrize("task", ["detection", "instance"])
@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_found_gives_empty_tables(task, batch):
    raw = made_raw((64, 96), batch, 2, 0, masks=True)
    config = resolve_test(TestConfig(score_threshold=0.999), task)
    raw.logits.fill_(-20)
    found = run_graph(task, raw, (64, 96), config)
    assert found["dets"].shape == (batch, 0, 5)
    assert found["labels"].shape == (batch, 0)
    if task == "instance":
        assert found["masks"].shape == (batch, 0, 8, 12)


def test_an_image_without_objects_beside_one_with_them_has_none():
    raw = made_raw((64, 64), 2, 2, 1)
    raw.logits[0] = -20
    config = resolve_test(TestConfig(score_threshold=0.3), "detection")
    labels = run_graph("detection", raw, (64, 64), config)["labels"]
    assert np.all(labels[0] == -1)
    assert np.all(labels[1] >= 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(64, 96), (96, 160), (100, 75)])
def test_masks_are_drawn_by_the_kernel_of_their_own_point(seed, size):
    config = resolve_test(TestConfig(score_threshold=0.2, max_per_image=40), "instance")
    raw = made_raw(size, 2, 3, seed, masks=True)
    found = run_graph("instance", raw, size, config)
    for row in range(2):
        points, _, scores = select_candidates(raw.logits[row], raw.level_sizes(), config)
        own = found["dets"][row, :, 4] > 0
        # Scores differ from point to point, so that each tells where a detection comes from.
        origin = points[[int((scores - score).abs().argmin()) for score in found["dets"][row, own, 4].tolist()]]
        expected = mask_logits(
            raw.mask_features[row], raw.kernels[row][origin], raw.priors.points[origin], raw.priors.strides[origin]
        )
        np.testing.assert_allclose(found["masks"][row][own], expected.numpy(), rtol=1e-3, atol=1e-2)
