"""The instance task: its mask loss, its cap, its masks in original pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.structures import ImageMeta, Targets
from rtmdet_lab.layers.dynamic_masks import mask_logits
from rtmdet_lab.losses.dice import dice_loss
from rtmdet_lab.tasks import instance
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.tasks.instance import draw_masks, mask_loss, object_centers

SIDE = 64


def make_task(**changes):
    torch.manual_seed(0)
    base = {"task": "instance", "model.num_classes": 3, "model.width": 0.125, "model.depth": 0.167}
    return build_task(with_overrides(ExperimentConfig(), base | changes))


def made_targets(seed: int, counts=(3, 0, 5)) -> list[Targets]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for count in counts:
        corner = torch.rand(count, 2, generator=generator) * 30
        boxes = torch.cat([corner, corner + 8 + torch.rand(count, 2, generator=generator) * 24], dim=1)
        masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = True
        found.append(Targets(boxes, torch.randint(0, 3, (count,), generator=generator), masks=masks))
    return found


@pytest.fixture
def setting():
    task = make_task()
    torch.manual_seed(1)
    predictions = task.model(torch.randn(3, 3, SIDE, SIDE))
    targets = made_targets(2)
    return task, predictions, targets, task.assigner(predictions, targets)


def test_mask_loss_is_the_mean_over_positives_drawn_one_by_one(setting):
    _, predictions, targets, assignment = setting
    losses = []
    for image, point in assignment.positive.nonzero().tolist():
        logits = mask_logits(
            predictions.mask_features[image],
            predictions.kernels[image, point][None],
            predictions.priors.points[point][None],
            predictions.priors.strides[point][None],
        )
        finer = F.interpolate(logits[None], size=(SIDE // 4, SIDE // 4), mode="bilinear", align_corners=False)[0]
        true = targets[image].masks[assignment.gt_index[image, point], 2::4, 2::4]
        losses.append(dice_loss(finer, true[None])[0])
    assert len(losses) > 8
    torch.testing.assert_close(mask_loss(predictions, targets, assignment), torch.stack(losses).mean())


def test_chunks_change_neither_loss_nor_gradient(setting, monkeypatch):
    task, predictions, targets, assignment = setting
    found = []
    for chunk in (1, 1000):
        monkeypatch.setattr(instance, "CHUNK", chunk)
        task.model.zero_grad()
        loss = mask_loss(predictions, targets, assignment)
        loss.backward(retain_graph=True)
        found.append((loss.detach(), task.model.bbox_head.rtm_kernel[0].weight.grad.clone()))
    torch.testing.assert_close(found[0], found[1])


def test_cap_takes_that_many_positives_at_random(setting, monkeypatch):
    _, predictions, targets, assignment = setting
    total = int(assignment.positive.sum())
    drawn = []
    real = instance._chunk_loss
    monkeypatch.setattr(instance, "_chunk_loss", lambda *args: drawn.append(len(args[1])) or real(*args))
    values = set()
    for seed in range(4):
        torch.manual_seed(seed)
        values.add(round(mask_loss(predictions, targets, assignment, cap=4).item(), 6))
    assert sum(drawn) == 16
    assert len(values) > 1
    drawn.clear()
    mask_loss(predictions, targets, assignment, cap=total + 1)
    assert sum(drawn) == total


def test_without_objects_there_is_no_mask_loss_and_still_a_gradient():
    task = make_task()
    predictions = task.model(torch.randn(2, 3, SIDE, SIDE))
    empty = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), masks=torch.zeros(0, SIDE, SIDE, dtype=torch.bool))
    losses = task.criterion(predictions, [empty, empty])
    assert losses["loss_mask"] == 0
    sum(losses.values()).backward()
    assert task.model.bbox_head.rtm_kernel[0].weight.grad.isfinite().all()


def test_every_parameter_learns():
    task = make_task()
    predictions = task.model(torch.randn(3, 3, SIDE, SIDE))
    sum(task.criterion(predictions, made_targets(4)).values()).backward()
    assert [name for name, one in task.model.named_parameters() if one.grad is None] == []


def test_mask_weight_scales_the_mask_loss_alone():
    predictions = make_task().model.eval()(torch.randn(3, 3, SIDE, SIDE)).detach()
    one, other = (make_task(**{"loss.mask_weight": weight}).criterion(predictions, made_targets(3)) for weight in (2.0, 3.0))
    assert other["loss_mask"].item() == pytest.approx(1.5 * one["loss_mask"].item())
    assert other["loss_bbox"] == one["loss_bbox"]


def test_own_towers_are_a_setting():
    shared, own = make_task().model, make_task(**{"model.head.shared_tower": False}).model
    assert shared.bbox_head.reg_convs is shared.bbox_head.cls_convs
    counts = [sum(one.numel() for one in model.parameters()) for model in (shared, own)]
    assert counts[1] > counts[0]


def test_centers_are_those_of_the_mask_or_else_of_the_box():
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, 4, 2:5] = True
    targets = Targets(torch.tensor([[0.0, 0, 10, 10], [4, 4, 8, 12]]), torch.zeros(2, dtype=torch.int64), masks=masks)
    assert object_centers(targets).tolist() == [[3, 4], [6, 8]]


@pytest.mark.parametrize(("original", "scale"), [((30, 40), 1.6), ((120, 160), 0.4)])
def test_masks_come_back_in_original_pixels(original, scale):
    """A kernel whose mask is the sign of (250 - x): the border is found at its place in the file's pixels."""
    kernels = torch.zeros(1, 169)
    kernels[0, 0] = 64.0  # first unit: x relative to the point, in pixels at stride 8
    kernels[0, 80] = kernels[0, 144] = 1.0
    kernels[0, 168] = -4.0  # positive where the point lies more than 4 pixels to the right of the cell
    canvas = (round(original[0] * scale), round(original[1] * scale))
    features = torch.zeros(8, 8, 8)
    meta = ImageMeta(1, original, scale=(scale, scale), canvas_size=(64, 64))
    point = torch.tensor([[36.0, 0.0]])
    masks = draw_masks(features, kernels, point, torch.tensor([8.0]), meta)
    assert masks.shape == (1, *original)
    border = masks[0].float().sum(dim=1) * scale  # pixels of the canvas
    assert canvas[1] == 64
    assert border.min() == border.max()
    assert border[0].item() == pytest.approx(36, abs=2 * max(scale, 1) + 2)
    assert draw_masks(features, kernels[:0], point[:0], torch.zeros(0), meta).shape == (0, *original)


def test_detections_carry_masks_of_the_image():
    task = make_task(**{"test.score_threshold": 0.0, "test.max_per_image": 7})
    with torch.no_grad():
        predictions = task.model.eval()(torch.randn(2, 3, SIDE, SIDE))
    metas = [ImageMeta(1, (32, 48), scale=(4 / 3, 4 / 3), canvas_size=(SIDE, SIDE)), ImageMeta(2, (SIDE, SIDE))]
    found = task.decode(predictions, metas)
    assert [tuple(one.masks.shape) for one in found] == [(7, 32, 48), (7, SIDE, SIDE)]
