"""Detection: losses against the paper's formulas in loops, decoding against plain loops, and both at their limits."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from made_matches import SIDE, images_of, made_batch, objects, predicted
from made_networks import weights_without_gradient
from slow_assigners import cross_entropy, giou, iou, sigmoid, slow_dynamic
from torch.testing import assert_close

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve, resolve_test
from rtmdet_lab.config.settings import ExperimentConfig, TestConfig
from rtmdet_lab.core.structures import DensePredictions, ImageMeta, Targets
from rtmdet_lab.geometry.boxes import clip_boxes
from rtmdet_lab.tasks.detection import decode_boxes, detection_task

SMALL = {"model.size": "nano", "model.width": 0.125, "model.depth": 0.167, "model.num_classes": 3}


def resolved(**settings) -> TestConfig:
    """Returns test settings with the published values of detection where none are given."""
    return resolve_test(TestConfig(**settings), "detection")


def make_task(**settings):
    torch.manual_seed(0)
    return detection_task(resolve(with_overrides(ExperimentConfig(), SMALL | settings)))


@pytest.fixture(scope="module")
def task():
    return make_task()


# ---- losses


def slow_losses(predictions, targets) -> dict[str, float]:
    """paper.md 4.1 to 4.3, and the common divisor of 3.4."""
    cls, bbox, divisor = 0.0, 0.0, 0.0
    for image in images_of(predictions, targets):
        matched = slow_dynamic(image)
        for i, j in enumerate(matched.index):
            q = matched.quality[i]
            for number, z in enumerate(image.logits[i]):
                y = q if j >= 0 and number == image.labels[j] else 0.0
                cls += (y - sigmoid(z)) ** 2 * cross_entropy(z, y)
            if q > 0:
                bbox += q * (1 - giou(image.boxes[i], image.objects[j]))
                divisor += q
    return {"loss_cls": cls / max(1, divisor), "loss_bbox": 2 * bbox / max(1, divisor)}


@pytest.mark.parametrize("seed", range(4, 12))
def test_losses_equal_the_formulas_in_loops(task, seed):
    predictions, targets = made_batch(seed)
    found, expected = task.criterion(predictions, targets), slow_losses(predictions, targets)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize(
    ("setting", "value", "changed"),
    [
        ("cls", "focal", "loss_cls"),
        ("cls_beta", 1.0, "loss_cls"),
        ("cls_weight", 3.0, "loss_cls"),
        ("bbox", "iou", "loss_bbox"),
        ("bbox", "diou", "loss_bbox"),
        ("bbox", "ciou", "loss_bbox"),
        ("bbox_weight", 5.0, "loss_bbox"),
        ("quality_weighting", False, "loss_bbox"),
    ],
)
def test_every_loss_setting_changes_its_loss_and_no_other(task, setting, value, changed):
    predictions, targets = made_batch(4)
    before, after = (
        task.criterion(predictions, targets),
        make_task(**{f"loss.{setting}": value}).criterion(predictions, targets),
    )
    assert {name for name in before if not torch.isclose(before[name], after[name], rtol=1e-4)} == {changed}
    if setting.endswith("_weight"):
        usual = {"cls_weight": 1.0, "bbox_weight": 2.0}[setting]
        assert_close(after[changed], before[changed] * value / usual)


def test_assigner_of_the_config_decides_what_is_learned(task):
    predictions, targets = made_batch(4)
    other = make_task(**{"assigner.kind": "atss"}).criterion(predictions, targets)
    assert not torch.isclose(task.criterion(predictions, targets)["loss_cls"], other["loss_cls"])


def test_ignored_objects_are_not_learned(task):
    predictions, targets = made_batch(5)
    for one in targets:
        one.ignore[::2] = True
    found, expected = (task.criterion(predictions, one) for one in (targets, [one.learnable() for one in targets]))
    assert {name: value.item() for name, value in found.items()} == {name: value.item() for name, value in expected.items()}


@pytest.mark.parametrize("count", [1, 3])
def test_batch_without_objects_learns_background_only_and_no_weight_misses_its_gradient(task, count):
    task.model.train().zero_grad()
    losses = task.criterion(task.model(torch.randn(count, 3, SIDE, SIDE)), [Targets.empty()] * count)
    assert losses["loss_bbox"] == 0
    assert losses["loss_cls"] > 0
    sum(losses.values()).backward()
    # Zeros for the box branch, but not None: a gradient that is missing on one process stops training on several.
    for name, one in task.model.named_parameters():
        assert one.grad is not None, name
        assert one.grad.isfinite().all(), name
    assert all(".reg_convs." in name or ".rtm_reg." in name for name in weights_without_gradient(task.model))


def test_every_weight_learns_from_a_batch_in_which_one_image_is_empty(task):
    task.model.train().zero_grad()
    predictions = task.model(torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)))
    # An untrained network predicts tiny boxes that fit nothing: make them two strides wide, and objects likewise.
    around = predictions.priors.strides[:, None] * torch.tensor([-1, -1, 1, 1])
    predictions = dataclasses.replace(predictions, boxes=predictions.boxes + around)
    one_per_level = objects([[8, 8, 24, 24], [32, 0, 64, 32], [0, 0, 64, 64]], [0, 1, 2])
    sum(task.criterion(predictions, [one_per_level, Targets.empty()]).values()).backward()
    assert weights_without_gradient(task.model) == []


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_extreme_predictions_have_finite_losses_and_gradients(task, value):
    predictions, targets = made_batch(5)
    logits, boxes = torch.full_like(predictions.logits, value).requires_grad_(), (predictions.boxes * value).requires_grad_()
    losses = task.criterion(DensePredictions(logits, boxes, predictions.priors), targets)
    sum(losses.values()).backward()
    assert all(one.isfinite() for one in losses.values())
    assert logits.grad.isfinite().all()
    assert boxes.grad.isfinite().all()


# ---- decoding


PLAIN = ImageMeta()
WIDE = ImageMeta(7, (20, 90), scale=(1.5, 0.75), offset=(3.0, 8.0), canvas_size=(SIDE, SIDE))


def scored(scores, boxes, strides=None) -> DensePredictions:
    logits = torch.logit(torch.tensor(scores, dtype=torch.float64)).tolist()
    return predicted(logits, boxes, [(0, 0)] * len(boxes), strides)


def slow_decode(image, meta: ImageMeta, config: TestConfig) -> list[tuple]:
    """Returns (score, label, box) of the detections of one image, best first."""
    candidates = []
    for stride in sorted(set(image.strides)):
        level = []
        for i, own in enumerate(image.strides):
            if own == stride:
                level += [(sigmoid(z), label, i) for label, z in enumerate(image.logits[i])]
        level = [one for one in level if one[0] > config.score_threshold]
        candidates += sorted(level, reverse=True)[: config.max_per_level]
    kept = []
    for score, label, i in sorted(candidates, reverse=True):
        box = torch.tensor(image.boxes[i], dtype=torch.float64)
        if meta.canvas_size:
            box = clip_boxes(box, meta.canvas_size)
        box = ((box - torch.tensor(meta.offset * 2)) / torch.tensor(meta.scale * 2)).tolist()
        has_area = box[2] > box[0] and box[3] > box[1]  # clipped, it may be a line on the border
        if has_area and all(other[1] != label or iou(box, other[2]) <= config.nms_iou for other in kept):
            kept.append((score, label, box))
    return kept[: config.max_per_image]


@pytest.mark.parametrize("seed", range(4, 10))
@pytest.mark.parametrize("meta", [PLAIN, WIDE], ids=["plain", "wide"])
@pytest.mark.parametrize(
    "config",
    [resolved(), resolved(score_threshold=0.3, nms_iou=0.3, max_per_level=20, max_per_image=15)],
    ids=["default", "narrow"],
)
def test_decoding_equals_plain_loops(config, meta, seed):
    predictions, targets = made_batch(seed)
    predictions.boxes[..., 2:] = torch.maximum(predictions.boxes[..., 2:], predictions.boxes[..., :2] + 1)
    found = decode_boxes(predictions, [meta] * len(predictions), config)
    for one, image in zip(found, images_of(predictions, targets), strict=True):
        expected = slow_decode(image, meta, config)
        assert one.labels.tolist() == [label for _, label, _ in expected]
        assert_close(one.scores, torch.tensor([score for score, _, _ in expected]), rtol=1e-5, atol=1e-6)
        assert_close(one.boxes, torch.tensor([box for _, _, box in expected]).reshape(-1, 4), rtol=1e-5, atol=1e-4)
        assert one.meta is meta


def test_scores_up_to_the_threshold_are_left_out():
    predictions = scored([[0.9], [0.5], [0.51]], [[0, 0, 4, 4], [10, 0, 14, 4], [20, 0, 24, 4]])
    (found,) = decode_boxes(predictions, [PLAIN], resolved(score_threshold=0.5))
    assert_close(found.scores, torch.tensor([0.9, 0.51]))


@pytest.mark.parametrize(("nms_iou", "kept"), [(0.59, [0.8]), (0.61, [0.8, 0.7])])
def test_overlap_beyond_the_limit_keeps_the_better_box(nms_iou, kept):
    predictions = scored([[0.7], [0.8]], [[0, 0, 10, 6], [0, 0, 10, 10]])
    (found,) = decode_boxes(predictions, [PLAIN], resolved(nms_iou=nms_iou))
    assert_close(found.scores, torch.tensor(kept))


def test_classes_do_not_suppress_each_other_and_one_point_may_have_several():
    predictions = scored([[0.7, 0.9, 0.0001]], [[5, 6, 10, 12]])
    (found,) = decode_boxes(predictions, [PLAIN], resolved())
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[5, 6, 10, 12]] * 2


def test_image_keeps_its_best_and_each_level_its_own():
    boxes = [[20 * i, 0, 20 * i + 4, 4] for i in range(4)]
    predictions = scored([[0.9], [0.8], [0.2], [0.1]], boxes, [8, 8, 16, 16])
    (by_image,) = decode_boxes(predictions, [PLAIN], resolved(max_per_image=3))
    (by_level,) = decode_boxes(predictions, [PLAIN], resolved(max_per_level=1))
    assert_close(by_image.scores, torch.tensor([0.9, 0.8, 0.2]))
    assert_close(by_level.scores, torch.tensor([0.9, 0.2]))


def test_suppression_comes_before_the_limit_of_the_image():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9.9], [50, 0, 60, 10]]
    (found,) = decode_boxes(scored([[0.9], [0.8], [0.2]], boxes), [PLAIN], resolved(max_per_image=2))
    assert_close(found.scores, torch.tensor([0.9, 0.2]))


def test_image_in_which_nothing_is_found_has_empty_detections():
    predictions, _ = made_batch(4)
    silent = dataclasses.replace(predictions, logits=torch.full_like(predictions.logits, -20))
    for one in decode_boxes(silent, [WIDE] * len(silent), resolved()):
        assert one.boxes.shape == (0, 4)
        assert (one.scores.dtype, one.labels.dtype) == (torch.float32, torch.int64)
        assert one.meta is WIDE


def test_each_image_uses_its_own_way_back():
    predictions, _ = made_batch(4)
    metas = [ImageMeta(number, scale=(number + 1.0, 1.0), offset=(0.0, number * 5.0)) for number in range(len(predictions))]
    together = decode_boxes(predictions, metas, resolved())
    for number, meta in enumerate(metas):
        (alone,) = decode_boxes(predictions[number], [meta], resolved())
        assert torch.equal(together[number].boxes, alone.boxes)
        assert together[number].meta == meta


def test_half_precision_logits_are_scored_in_float32():
    predictions, _ = made_batch(4)
    half = dataclasses.replace(predictions, logits=predictions.logits.half())
    same = dataclasses.replace(predictions, logits=half.logits.float())
    for one, other in zip(*(decode_boxes(p, [PLAIN] * len(p), resolved()) for p in (half, same)), strict=True):
        assert one.scores.dtype == torch.float32
        assert torch.equal(one.scores, other.scores)


# ---- the whole task


def test_task_reads_its_own_test_settings():
    predictions, _ = made_batch(4)
    metas = [PLAIN] * len(predictions)
    strict = make_task(**{"test.score_threshold": 0.6, "test.max_per_image": 5})
    assert all(len(one) <= 5 and one.scores.min() > 0.6 for one in strict.decode(predictions, metas))


def test_perfect_predictions_come_back_as_the_objects_and_score_one(task):
    # Objects on the canvas, their originals through a meta with padding and unequal scales, the evaluator in originals.
    boxes, labels = [[10.0, 12, 30, 40], [35, 9, 60, 60]], [2, 0]
    logits = torch.full((2, 3), -20.0)
    logits[torch.arange(2), torch.tensor(labels)] = 5.0
    (found,) = task.decode(predicted(logits.tolist(), boxes, [(20, 20), (40, 40)]), [WIDE])
    original = (torch.tensor(boxes) - torch.tensor([3.0, 8, 3, 8])) / torch.tensor([1.5, 0.75, 1.5, 0.75])
    evaluator = task.new_evaluator()
    evaluator.add([found], [Targets(original, torch.tensor(labels), meta=WIDE)])
    assert evaluator.summary()[task.main_metric] == pytest.approx(1.0)


def test_evaluator_knows_the_class_names_of_the_config():
    evaluator = make_task(**{"data.classes": ["cat", "dog", "eel"]}).new_evaluator()
    evaluator.add([], [])
    assert [row["class"] for row in evaluator.per_class()] == ["cat", "dog", "eel"]


def test_config_of_the_task_has_no_preset_left_open(task):
    left = [item.name for item in dataclasses.fields(task.config.model) if getattr(task.config.model, item.name) is None]
    assert left == []
    assert task.config.test.input_size == 640
