"""The rotated task: its criterion, its decoding, and a scene that is turned."""

from __future__ import annotations

import math

import pytest
import torch

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.structures import DensePredictions, ImageMeta, Targets
from rtmdet_lab.geometry.rotated import rotated_iou, to_le90
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.tasks.rotated import to_original_rotated

SIDE = 64


def make_task(**changes):
    torch.manual_seed(0)
    base = {"task": "rotated", "model.size": "tiny", "model.num_classes": 3, "model.width": 0.125, "model.exp_on_reg": True}
    return build_task(with_overrides(ExperimentConfig(), base | {"data.classes": ["a", "b", "c"]} | changes))


def made_targets(seed: int, counts=(3, 0, 5)) -> list[Targets]:
    generator = torch.Generator().manual_seed(seed)
    size, least = torch.tensor([40, 40, 24, 10, math.pi]), torch.tensor([12, 12, 8, 5, -math.pi / 2])
    return [
        Targets(torch.rand(count, 5, generator=generator) * size + least, torch.randint(0, 3, (count,), generator=generator))
        for count in counts
    ]


@pytest.mark.parametrize("kind", ["rotated_iou", "probiou", "kld"])
def test_box_loss_is_the_weighted_loss_of_the_positives_over_their_overlaps(kind):
    from rtmdet_lab.losses.rotated import rotated_overlap_loss

    task, targets = make_task(**{"loss.rotated": kind}), made_targets(1)
    predictions = task.model(torch.randn(3, 3, SIDE, SIDE))
    losses, assignment = task.criterion(predictions, targets), task.assigner(predictions, targets)
    total = 0.0
    for image, point in assignment.positive.nonzero().tolist():
        true = to_le90(targets[image].boxes[assignment.gt_index[image, point]][None])
        weight = assignment.quality[image, point][None]
        total += rotated_overlap_loss(predictions.boxes[image, point][None], true, weight, kind).item()
    assert losses["loss_bbox"].item() == pytest.approx(2 * total / max(1, assignment.quality.sum().item()), rel=1e-4)


def test_naming_the_sides_of_the_truth_the_other_way_round_changes_nothing():
    task, targets = make_task(), made_targets(2)
    predictions = task.model(torch.randn(3, 3, SIDE, SIDE)).detach()
    other = []
    for one in targets:
        x, y, width, height, angle = one.boxes.unbind(1)
        other.append(Targets(torch.stack([x, y, height, width, angle + math.pi / 2], 1), one.labels))
    found, again = task.criterion(predictions, targets), task.criterion(predictions, other)
    for name, value in found.items():
        assert again[name].item() == pytest.approx(value.item(), rel=1e-3)


def test_every_parameter_learns_also_without_objects():
    task = make_task()
    for targets in (made_targets(3), made_targets(3, (0, 0, 0))):
        task.model.zero_grad()
        sum(task.criterion(task.model(torch.randn(3, 3, SIDE, SIDE)), targets).values()).backward()
        gradients = [one.grad for one in task.model.parameters()]
        assert all(one is not None and one.isfinite().all() for one in gradients)
    task.model.zero_grad()
    sum(task.criterion(task.model(torch.randn(3, 3, SIDE, SIDE)), made_targets(3)).values()).backward()
    assert task.model.bbox_head.rtm_ang[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("seed", range(3))
def test_points_inside_the_turned_box_alone_may_learn_it(seed):
    task, targets = make_task(), made_targets(seed, (4,))
    predictions = task.model(torch.randn(1, 3, SIDE, SIDE)).detach()
    explanation = task.assigner.explain(predictions, targets)
    from rtmdet_lab.geometry.rotated import points_in_rboxes

    inside = points_in_rboxes(predictions.priors.points, targets[0].boxes)
    assert torch.equal(explanation.candidates[0], inside.any(0))
    best = rotated_iou(targets[0].boxes, predictions.boxes[0])
    torch.testing.assert_close(explanation.inputs.iou[0], best, rtol=1e-5, atol=1e-6)


def test_detections_are_thresholded_suppressed_and_brought_back():
    task = make_task(**{"test.max_per_image": 5})
    priors = task.model(torch.randn(1, 3, SIDE, SIDE)).priors
    count = len(priors)
    logits, boxes = torch.full((1, count, 3), -9.0), torch.zeros(1, count, 5)
    boxes[0, :3] = torch.tensor([[32, 32, 20, 8, 0.5], [33, 32, 20, 8, 0.5], [32, 32, 8, 20, 0.5]])
    logits[0, :3, 1] = torch.tensor([1.0, 2.0, 1.5])
    logits[0, 0, 2] = 0.5
    meta = ImageMeta(1, (32, 32), scale=(2.0, 2.0), canvas_size=(SIDE, SIDE))
    (found,) = task.decode(DensePredictions(logits, boxes, priors), [meta])
    # The crossing box overlaps by 64 / 256 and goes too at the published 0.1.
    assert found.labels.tolist() == [1, 2]
    torch.testing.assert_close(found.boxes, torch.tensor([[16.5, 16, 10, 4, 0.5], [16, 16, 10, 4, 0.5]]))


def test_uneven_scales_and_offsets_go_back():
    boxes = torch.tensor([[20.0, 30, 10, 4, 0.0], [20, 30, 10, 4, -math.pi / 2]])
    found = to_original_rotated(boxes, ImageMeta(1, (50, 50), scale=(2.0, 1.0), offset=(4.0, 10.0)))
    expected = torch.tensor([[8.0, 20, 5, 4, 0.0], [8, 20, 10, 2, -math.pi / 2]])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
