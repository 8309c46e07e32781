"""Every term of the matching cost: added up by hand, then against the formulas in plain loops."""

from __future__ import annotations

import math

import pytest
import slow_assigners as slow
import torch
from made_matches import images_of, made_batch, objects, predicted
from torch.testing import assert_close

from rtmdet_lab.assigners.base import BoxGeometry, match_inputs
from rtmdet_lab.assigners.costs import (
    CENTER_COSTS,
    CLS_COSTS,
    IOU_COSTS,
    fixed_center_cost,
    giou_cost,
    soft_center_cost,
    soft_cls_cost,
)
from rtmdet_lab.core.structures import DensePredictions, Targets


def inputs_of(predictions, targets):
    return match_inputs(predictions, targets, BoxGeometry())


def one_point(logits=(0.0,), box=(0, 0, 10, 6), point=(5, 5), stride=8, target=(0, 0, 10, 10), label=0):
    """Returns the inputs of one point and one object; they overlap by 0.6 unless told otherwise."""
    predictions = predicted([list(logits)], [list(box)], [point], [stride])
    return inputs_of(predictions, [objects([list(target)], [label])])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # p = 0.5 for the object's class, 0.75 for the other: the other costs log 4 * 0.75^2
        ("soft", math.log(2) * 0.1**2 + math.log(4) * 0.75**2),
        ("hard", math.log(2) * 0.5**2 + math.log(4) * 0.75**2),
        ("bce", math.log(2) + math.log(4)),
        ("none", 0.0),
    ],
)
@pytest.mark.parametrize("label", [0, 1])
def test_cls_cost_by_hand(kind, expected, label):
    logits = (0.0, math.log(3)) if label == 0 else (math.log(3), 0.0)
    assert CLS_COSTS[kind](one_point(logits, label=label)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "overlapping", "apart"),
    # overlapping: 4 of 28 pixels, hull 36; apart: hull 20 * 4 = 80, union 32
    [
        ("log", math.log(7), -math.log(1e-7)),
        ("giou", 1 - 4 / 28 + 8 / 36, 1 + 48 / 80),
        ("linear", 24 / 28, 1),
        ("none", 0, 0),
    ],
)
def test_iou_cost_by_hand(kind, overlapping, apart):
    target = (0, 0, 4, 4)
    assert IOU_COSTS[kind](one_point(box=(2, 2, 6, 6), target=target)).item() == pytest.approx(overlapping, rel=1e-5)
    assert IOU_COSTS[kind](one_point(box=(16, 0, 20, 4), target=target)).item() == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize(
    ("point", "stride", "radius", "base", "expected"),
    [
        ((5, 5), 8, 3.0, 10.0, 1e-3),  # on the center
        ((29, 5), 8, 3.0, 10.0, 1.0),  # 24 pixels off: three strides of 8
        ((5, 37), 8, 3.0, 10.0, 10.0),  # four strides
        ((29, 37), 8, 5.0, 10.0, 1.0),  # 24 and 32 pixels: 40 along the diagonal
        ((29, 5), 16, 3.0, 10.0, 10**-1.5),  # the same 24 pixels of a coarser level
        ((29, 5), 8, 1.0, 2.0, 4.0),
    ],
)
def test_soft_center_cost_by_hand(point, stride, radius, base, expected):
    cost = soft_center_cost(one_point(point=point, stride=stride), radius, base)
    assert cost.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("point", "stride", "free"),
    [
        ((50, 50), 8, True),
        ((69, 31), 8, True),  # 19 of 20 pixels off, both ways
        ((70, 50), 8, False),  # exactly the radius
        ((50, 75), 8, False),
        ((50, 75), 16, True),  # 40 pixels are free on the coarser level
        ((50, 101), 32, False),  # near the center, but outside the box
    ],
)
def test_fixed_center_cost_by_hand(point, stride, free):
    inputs = one_point(point=point, stride=stride, target=(0, 0, 100, 100))
    assert fixed_center_cost(inputs, radius=2.5).item() == (0.0 if free else 1e5)


@pytest.mark.parametrize("seed", range(4, 9))
@pytest.mark.parametrize("table", ["cls", "iou", "center"])
def test_every_term_equals_the_formula_in_loops(table, seed):
    predictions, targets = made_batch(seed, most=6)
    inputs = inputs_of(predictions, targets)
    names = {"cls": CLS_COSTS, "iou": IOU_COSTS, "center": CENTER_COSTS}[table]
    for kind, term in names.items():
        batch = term(inputs)
        for values, image in zip(batch, images_of(predictions, targets), strict=True):
            for j, box in enumerate(image.objects):
                if image.ignore[j] or (kind == "giou" and min(box[2] - box[0], box[3] - box[1]) < 0.1):
                    continue
                expected = []
                for i, (point, stride) in enumerate(zip(image.points, image.strides, strict=True)):
                    overlap = slow.iou(image.boxes[i], box)
                    if table == "cls":
                        expected.append(slow.cls_cost(kind, image.logits[i], image.labels[j], overlap))
                    elif table == "iou":
                        expected.append(slow.iou_cost(kind, image.boxes[i], box, overlap))
                    else:
                        radius = {"radius": 2.5} if kind == "fixed" else {"radius": 3.0}
                        expected.append(slow.center_cost(kind, point, stride, box, base=10.0, **radius))
                ordinary = torch.tensor([b[2] > b[0] and b[3] > b[1] for b in image.boxes]) | (kind != "giou")
                assert_close(values[j][ordinary], torch.tensor(expected)[ordinary], rtol=2e-5, atol=2e-5)


def test_other_classes_count_in_full_whatever_the_number_of_classes():
    # paper.md 4.1: every class adds up; 80 classes of logit -4, so that the own class is one small part of many
    logits = torch.full((1, 1, 80), -4.0)
    logits[..., 7] = 3.0
    predictions = DensePredictions(logits, torch.tensor([[[0.0, 0, 10, 10]]]), one_point().priors)
    right, wrong = (soft_cls_cost(inputs_of(predictions, [objects([[0, 0, 10, 10]], [c])])).item() for c in (7, 8))
    other, (low, high) = slow.cross_entropy(-4, 0) * slow.sigmoid(-4) ** 2, (slow.sigmoid(-4), slow.sigmoid(3))
    assert right == pytest.approx(79 * other + slow.cross_entropy(3, 1) * (1 - high) ** 2, rel=1e-5)
    assert wrong == pytest.approx(
        78 * other + slow.cross_entropy(3, 0) * high**2 + slow.cross_entropy(-4, 1) * (1 - low) ** 2, rel=1e-5
    )


@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
@pytest.mark.parametrize("kind", CLS_COSTS)
def test_extreme_logits_cost_a_finite_amount(kind, logit):
    assert CLS_COSTS[kind](one_point((logit, -logit))).isfinite().all()


def test_giou_cost_refuses_rotated_boxes_and_names_other_choices():
    inputs = one_point()
    inputs.boxes = torch.zeros(1, 1, 5)
    with pytest.raises(ValueError, match="'log' or 'linear'"):
        giou_cost(inputs)


@pytest.mark.parametrize("table", [CLS_COSTS, IOU_COSTS, CENTER_COSTS], ids=["cls", "iou", "center"])
def test_terms_have_one_value_per_pair_without_any_object_too(table):
    predictions, _ = made_batch(0)
    inputs = inputs_of(predictions, [Targets.empty()] * len(predictions))
    for term in table.values():
        values = term(inputs)
        assert values.shape == inputs.iou.shape
        assert values.dtype == torch.float32
