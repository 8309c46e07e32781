"""The instance task against what was recorded from the published implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.structures import DensePredictions, ImageMeta, Targets
from rtmdet_lab.geometry.priors import decode_distances, point_grid
from rtmdet_lab.models.head import flatten_levels
from rtmdet_lab.tasks.factory import build_task

FIXTURE = Path(__file__).parents[1] / "fixtures" / "head_ins_seed0.npz"
CANVAS, IMAGES, CLASSES = (256, 320), 3, 6
SETTINGS = {
    "task": "instance",
    "model.size": "tiny",
    "model.num_classes": CLASSES,
    "test.score_threshold": 0.05,
    "test.max_per_level": 1000,
    "test.nms_iou": 0.6,
    "test.max_per_image": 100,
}


@pytest.fixture(scope="module")
def recorded():
    with np.load(FIXTURE) as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


@pytest.fixture(scope="module")
def task():
    return build_task(with_overrides(ExperimentConfig(), SETTINGS))


@pytest.fixture
def maps(recorded):
    names = [f"{kind}.{level}" for kind in ("cls", "reg", "kernel") for level in range(3)] + ["mask_feat"]
    return {name: recorded[name].clone().requires_grad_() for name in names}


@pytest.fixture
def predictions(maps):
    logits, distances, kernels = ([maps[f"{kind}.{level}"] for level in range(3)] for kind in ("cls", "reg", "kernel"))
    priors = point_grid([one.shape[-2:] for one in logits], STRIDES)
    boxes = decode_distances(priors.points, flatten_levels(distances))
    return DensePredictions(
        flatten_levels(logits), boxes, priors, kernels=flatten_levels(kernels), mask_features=maps["mask_feat"]
    )


@pytest.fixture
def targets(recorded):
    found = []
    for image in range(IMAGES):
        boxes = recorded[f"gt_boxes.{image}"]
        bits = np.unpackbits(recorded[f"gt_masks_packed.{image}"].numpy())[: len(boxes) * CANVAS[0] * CANVAS[1]]
        masks = torch.from_numpy(bits.reshape(len(boxes), *CANVAS)).bool()
        found.append(Targets(boxes, recorded[f"gt_labels.{image}"], masks=masks))
    return found


def test_points_learn_the_same_objects(task, recorded, predictions, targets):
    assignment = task.assigner(predictions.detach(), targets)
    for image in range(IMAGES):
        assert torch.equal(assignment.gt_index[image], recorded[f"assigned_gt.{image}"].long())
        torch.testing.assert_close(assignment.quality[image], recorded[f"assigned_iou.{image}"], rtol=1e-5, atol=1e-6)


def test_losses_and_gradients_are_the_same(task, recorded, maps, predictions, targets):
    losses = task.criterion(predictions, targets)
    assert set(losses) == {"loss_cls", "loss_bbox", "loss_mask"}
    for name, value in losses.items():
        assert value.item() == pytest.approx(recorded[name].item(), rel=1e-4), name
    sum(losses.values()).backward()
    for name, value in maps.items():
        assert value.grad.abs().sum().item() == pytest.approx(recorded[f"grad_{name}"].item(), rel=1e-4), name


def test_masks_sampled_beforehand_give_the_same_loss(task, recorded, predictions, targets):
    for one in targets:
        one.centers = one.boxes.new_full((len(one), 2), torch.nan)
        if len(one):
            y, x = (torch.arange(side).float() for side in CANVAS)
            mass = one.masks.sum((1, 2)).float()
            one.centers = torch.stack([(one.masks.sum(1) * x).sum(1) / mass, (one.masks.sum(2) * y).sum(1) / mass], 1)
        one.masks = one.masks[:, 2::4, 2::4]
    loss = task.criterion(predictions, targets)["loss_mask"]
    assert loss.item() == pytest.approx(recorded["loss_mask"].item(), rel=1e-4)


def test_detections_and_their_masks_are_the_same(task, recorded, predictions):
    found = task.decode(predictions.detach(), [ImageMeta(image, CANVAS, canvas_size=CANVAS) for image in range(IMAGES)])
    for image, one in enumerate(found):
        assert torch.equal(one.labels, recorded[f"det_labels.{image}"])
        torch.testing.assert_close(one.scores, recorded[f"det_scores.{image}"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(one.boxes, recorded[f"det_boxes.{image}"], rtol=1e-5, atol=1e-3)
        areas, expected = one.masks.sum((1, 2)).float(), recorded[f"det_mask_areas.{image}"].float()
        assert ((areas - expected).abs() <= 0.001 * expected + 1).all()
        assert one.masks.shape == (len(one), *CANVAS)
