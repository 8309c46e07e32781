"""NMS across classes against a loop over the classes, where moving the classes apart in float32 rounds the boxes away."""

from __future__ import annotations

import pytest
import torch
from torchvision.ops import batched_nms, nms

from rtmdet_lab.config.presets import STRIDES, resolve_test
from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.structures import DensePredictions, ImageMeta
from rtmdet_lab.geometry import nms as module
from rtmdet_lab.geometry.box_kind import ROTATED, UPRIGHT, kind_of
from rtmdet_lab.geometry.nms import class_nms
from rtmdet_lab.geometry.priors import point_grid
from rtmdet_lab.tasks.factory import decode_for


def loop(boxes, scores, labels, threshold):
    kept = []
    for label in range(int(labels.max()) + 1 if len(labels) else 0):
        own = (labels == label).nonzero().squeeze(1)
        kept += own[nms(boxes[own], scores[own], threshold)].tolist()
    return sorted(kept, key=lambda index: (-float(scores[index]), index))


def crowd(seed: int, count: int, classes: int, size: float, left: float = 0.0):
    """Returns boxes around few places, a tenth of them the same box in several classes."""
    torch.manual_seed(seed)
    places = torch.rand(20, 2)[torch.randint(20, (count,))] * size + left
    corner = places + torch.randn(count, 2) * 3
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2) * 40], dim=1)
    boxes[: count // 10] = boxes[0]
    return boxes, torch.rand(count), torch.randint(classes, (count,))


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.6, 0.65])
@pytest.mark.parametrize(
    ("count", "classes", "size", "left"),
    [(300, 80, 640, 0), (600, 1203, 640, 0), (400, 80, 4000, 0), (500, 1203, 30_000, 0), (500, 9, 500, -2000)],
)
@pytest.mark.parametrize("in_one_call", [1000, 0])
def test_boxes_kept_are_those_of_each_class_alone(monkeypatch, threshold, count, classes, size, left, in_one_call):
    monkeypatch.setitem(module._IN_ONE_CALL, True, in_one_call)
    for seed in range(3):
        boxes, scores, labels = crowd(seed, count, classes, size, left)
        assert class_nms(boxes, scores, labels, threshold).tolist() == loop(boxes, scores, labels, threshold)


def test_kept_boxes_do_not_depend_on_the_number_of_a_class():
    boxes, scores, _ = crowd(0, 200, 1, 640)
    wanted = nms(boxes, scores, 0.6).tolist()
    for label in (0, 79, 1202, 50_000):
        assert class_nms(boxes, scores, torch.full((200,), label), 0.6).tolist() == wanted
    rounded = batched_nms(boxes, scores, torch.full((200,), 50_000), 0.6).tolist()
    assert rounded != wanted  # what is corrected here


@pytest.mark.parametrize(("threshold", "kept"), [(0.6, 1), (0.65, 2), (0.5, 1)])
def test_overlaps_at_the_threshold_are_decided_as_in_single_precision(monkeypatch, threshold, kept):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6]])  # they overlap by exactly 0.6
    scores, labels = torch.tensor([0.9, 0.8]), torch.zeros(2, dtype=torch.int64)
    assert len(nms(boxes, scores, threshold)) == kept
    for in_one_call in (1000, 0):
        monkeypatch.setitem(module._IN_ONE_CALL, True, in_one_call)
        assert len(class_nms(boxes, scores, labels, threshold)) == kept


def test_nothing_equal_scores_and_endless_boxes():
    empty = class_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    assert (empty.shape, empty.dtype) == ((0,), torch.int64)
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [40, 40, 49, 49], [0, 0, 9, 9]])
    equal, labels = torch.full((4,), 0.5), torch.tensor([1, 0, 1, 1])
    assert class_nms(boxes, equal, labels, 0.5).tolist() == [0, 1, 2]
    boxes[1, 2] = float("inf")
    assert class_nms(boxes, equal, labels, 0.5).tolist() == [0, 1, 2]


def test_boxes_without_a_side_are_told():
    upright = torch.tensor([[0.0, 0, 1, 1], [3, 0, 3, 9], [0, 5, 9, 5], [5, 0, 4, 9], [0, 0, float("nan"), 1]])
    assert UPRIGHT.has_area(upright).tolist() == [True, False, False, False, False]
    turned = torch.tensor([[0.0, 0, 1, 1, 0.3], [0, 0, 0, 2, 0], [0, 0, 2, -1, 0]])
    assert ROTATED.has_area(turned).tolist() == [True, False, False]


@pytest.mark.parametrize("task", ["detection", "instance", "rotated"])
def test_boxes_without_a_side_are_not_among_the_detections(task):
    priors = point_grid([(64 // stride, 64 // stride) for stride in STRIDES], STRIDES)
    logits = torch.full((1, len(priors), 2), -20.0)
    boxes = torch.zeros(1, len(priors), 5 if task == "rotated" else 4)
    for point, corners in enumerate([(10, 10, 30, 40), (5, 5, 5, 60), (70, 5, 90, 60)]):
        logits[0, point, 1] = 3.0 - point  # the third lies outside: clipped, it is a line
        x1, y1, x2, y2 = corners
        boxes[0, point] = torch.tensor([20.0, 20, x2 - x1, 9, 0.1] if task == "rotated" else [x1, y1, x2, y2])
    extra = {}
    if task == "instance":
        extra = {"kernels": torch.zeros(1, len(priors), 169), "mask_features": torch.zeros(1, 8, 8, 8)}
    meta = ImageMeta(original_size=(64, 64), canvas_size=(64, 64))
    config = resolve_test(TestConfig(score_threshold=0.01), task)
    (found,) = decode_for(task)(DensePredictions(logits, boxes, priors, **extra), [meta], config)
    assert kind_of(found.boxes).has_area(found.boxes).all()
    assert len(found) == 1
