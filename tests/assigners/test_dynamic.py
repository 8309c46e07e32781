"""Dynamic soft label assignment and SimOTA: an oracle of plain loops, and cases small enough to work out by hand."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from made_matches import (
    assert_equals_oracle,
    assert_same_assignment,
    images_of,
    made_batch,
    objects,
    predicted,
    without_twins,
)
from slow_assigners import RTMDET, SIMOTA, Recipe, slow_dynamic
from torch.testing import assert_close

from rtmdet_lab.assigners import dynamic
from rtmdet_lab.assigners.base import MatchInputs, SomePairs, match_inputs
from rtmdet_lab.assigners.dynamic import DynamicAssigner, dynamic_soft_label, simota
from rtmdet_lab.config.settings import AssignerConfig
from rtmdet_lab.core.structures import DensePredictions, Targets
from rtmdet_lab.geometry.priors import point_grid

BOTH = {"dynamic_soft_label": dynamic_soft_label(AssignerConfig()), "simota": simota(AssignerConfig(kind="simota"))}
both = pytest.mark.parametrize("assigner", BOTH.values(), ids=BOTH)
SEEDS = range(200)


# ---- against the oracle


@pytest.mark.lengthy
def test_assigner_equals_a_slow_oracle_on_random_batches():
    compared, close = assert_equals_oracle(BOTH["dynamic_soft_label"], slow_dynamic, SEEDS)
    assert compared > 400
    assert close < 0.02 * compared


@pytest.mark.lengthy
def test_simota_equals_a_slow_oracle_on_random_batches():
    # Outside the center region costs are near 1e5, where float32 knows two decimals: more cases are too close to tell.
    compared, close = assert_equals_oracle(BOTH["simota"], partial(slow_dynamic, recipe=SIMOTA), SEEDS)
    assert compared > 400
    assert close < 0.2 * compared


@pytest.mark.parametrize(
    ("settings", "recipe"),
    [
        ({"cls_cost": "hard"}, Recipe(cls="hard")),
        ({"iou_cost": "linear", "topk": 5}, Recipe(iou="linear", topk=5)),
        ({"center_cost": "none", "cls_weight": 2.5}, Recipe(center="none", weights=(2.5, 3, 1))),
        ({"center_cost": "fixed", "center_radius": 1.5}, Recipe(center="fixed", radius=1.5)),
        ({"center_radius": 1.0, "center_base": 3.0, "iou_weight": 0.5}, Recipe(radius=1, base=3, weights=(1, 0.5, 1))),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_ablations_equal_the_oracle_with_the_same_terms(settings, recipe):
    oracle = partial(slow_dynamic, recipe=recipe)
    compared, close = assert_equals_oracle(dynamic_soft_label(AssignerConfig(**settings)), oracle, range(30), most=12)
    assert compared > 3 * close


# ---- by hand


def stack(ious, points=None):
    """Returns one object of 100 x 100 pixels and points inside it whose boxes overlap it by ``ious``."""
    points = points or [(50 + number, 50) for number in range(len(ious))]
    boxes = [[0, 0, 100, 100 * one] for one in ious]
    return predicted([[0.0]] * len(ious), boxes, points), [objects([[0, 0, 100, 100]])]


@pytest.mark.parametrize(
    ("ious", "topk", "k"),
    [
        ([0.9, 0.8, 0.7, 0.3], 13, 2),  # 2.7, rounded down
        ([0.9, 0.8, 0.7, 0.3], 2, 1),  # 1.7: only the two largest count
        ([0.1, 0.1], 13, 1),  # 0.2, but never below 1
        ([0.0], 13, 1),
        ([1.0] * 15, 13, 13),  # all exact, one for each of the 13
    ],
)
def test_dynamic_k_is_the_sum_of_the_best_overlaps(ious, topk, k):
    seen = DynamicAssigner(topk=topk).explain(*stack(ious))
    assert seen.dynamic_k.tolist() == [[k]]
    assert seen.assignment.positive.sum() == k
    best = seen.assignment.quality.sort(descending=True).values[0, :k]
    assert_close(best, torch.tensor(sorted(ious, reverse=True)[:k]))


def test_points_outside_every_object_count_neither_for_k_nor_as_candidates():
    points = [(50, 50), (150, 50), (50, 150)]  # the outer two fit perfectly
    seen = DynamicAssigner().explain(*stack([0.6, 1.0, 1.0], points))
    assert seen.candidates.tolist() == [[True, False, False]]
    assert seen.assignment.gt_index.tolist() == [[0, -1, -1]]


def test_simota_takes_points_near_a_center_that_are_outside_the_box():
    predictions = predicted([[0.0]] * 3, [[40, 40, 44, 44]] * 3, [(48, 42), (61, 42), (63, 42)])
    target = [objects([[40, 40, 44, 44]])]
    assert BOTH["simota"].explain(predictions, target).candidates.tolist() == [[True, True, False]]
    assert not BOTH["dynamic_soft_label"].explain(predictions, target).candidates.any()


def test_object_may_take_a_point_that_only_another_object_contains():
    small, large = [31, 31, 33, 33], [0, 0, 64, 64]
    predictions = predicted([[0.0], [0.0]], [large, small], [(24, 24), (40, 40)])
    assignment = DynamicAssigner()(predictions, [objects([small, large])])
    assert assignment.gt_index.tolist() == [[1, 0]]
    assert assignment.quality.tolist() == [[1, 1]]


def test_point_wanted_by_two_objects_goes_to_the_cheaper_and_the_other_is_left_without():
    near, far = [20, 20, 60, 60], [20, 20, 60, 90]
    predictions = predicted([[0.0]], [near], [(40, 40)])
    seen = DynamicAssigner().explain(predictions, [objects([far, near])])
    assert seen.selected.all()
    assert seen.conflicts.tolist() == [[True]]
    assert seen.assignment.gt_index.tolist() == [[1]]


@pytest.mark.parametrize(
    ("setting", "off"),
    [("cls_weight", {"cls_cost": "none"}), ("iou_weight", {"iou_cost": "none"}), ("center_weight", {"center_cost": "none"})],
)
def test_each_term_decides_alone_where_the_others_are_equal(setting, off):
    # One object, k = 1, two points on the same side of every other term: the second is better in the one term.
    logits, boxes, points = [[0.0], [0.0]], [[0, 0, 50, 40], [0, 0, 50, 40]], [(40, 50), (60, 50)]
    if setting == "cls_weight":
        logits = [[0.0], [-0.4]]  # sigmoid is the overlap of 0.4 here, not 0.5
        boxes = [[0, 0, 100, 40], [0, 0, 100, 40]]
    elif setting == "iou_weight":
        boxes = [[0, 0, 50, 40], [0, 0, 50, 60]]
    else:
        points = [(20, 50), (60, 50)]
    predictions, target = predicted(logits, boxes, points), [objects([[0, 0, 100, 100]])]
    full = dynamic_soft_label(AssignerConfig()).explain(predictions, target)
    assert full.assignment.gt_index.tolist() == [[-1, 0]]
    name = setting.removesuffix("_weight")
    for without in (AssignerConfig(**off), AssignerConfig(**{setting: 0.0})):
        seen = dynamic_soft_label(without).explain(predictions, target)
        assert not seen.terms[name].any()
        assert seen.cost[0, 0, 1] - seen.cost[0, 0, 0] > full.cost[0, 0, 1] - full.cost[0, 0, 0]


@pytest.mark.parametrize(
    "settings",
    [
        {"topk": 3},
        {"cls_cost": "hard"},
        {"cls_cost": "none"},
        {"iou_cost": "giou"},
        {"iou_cost": "linear"},
        {"iou_cost": "none"},
        {"center_cost": "fixed"},
        {"center_cost": "none"},
        {"cls_weight": 3.0},
        {"iou_weight": 1.0},
        {"center_weight": 10.0},
        {"center_radius": 1.0},
        {"center_base": 3.0},
    ],
    ids=lambda settings: "-".join(f"{name}-{value}" for name, value in settings.items()),
)
def test_every_setting_changes_which_points_learn_what(settings):
    other = dynamic_soft_label(AssignerConfig(**settings))
    batches = [made_batch(seed) for seed in range(4, 9)]
    assert any(not torch.equal(other(*one).gt_index, BOTH["dynamic_soft_label"](*one).gt_index) for one in batches)


def test_object_beyond_the_largest_float32_cost_still_takes_a_point():
    # 60 strides away: 10 ** 57 does not fit in float32
    predictions = predicted([[0.0], [0.0]], [[0, 0, 20, 20]] * 2, [(10, 10), (15, 15)])
    seen = DynamicAssigner().explain(predictions, [objects([[0, 0, 20, 20], [480, 0, 500, 20]])])
    assert seen.selected.sum(dim=-1).tolist() == [[2, 1]]
    assert seen.cost.isfinite().all()


# ---- invariance


@pytest.mark.parametrize("seed", range(4, 9))
@pytest.mark.parametrize("kind", BOTH)
def test_order_of_objects_only_renames_them(kind, seed):
    assigner, recipe = BOTH[kind], {"dynamic_soft_label": RTMDET, "simota": SIMOTA}[kind]
    predictions, targets = made_batch(seed)
    targets = [without_twins(one) for one in targets]
    orders = [torch.randperm(len(one), generator=torch.Generator().manual_seed(seed)) for one in targets]
    first = assigner(predictions, targets)
    second = assigner(predictions, [one[order] for one, order in zip(targets, orders, strict=True)])
    for number, (image, order) in enumerate(zip(images_of(predictions, targets), orders, strict=True)):
        expected = slow_dynamic(image, recipe)
        if not (expected.close_call or expected.tie):
            names = torch.cat([order, torch.tensor([-1])])  # index -1 is the last entry
            assert torch.equal(first.gt_index[number], names[second.gt_index[number]])
            assert torch.equal(first.quality[number], second.quality[number])


@both
@pytest.mark.parametrize("seed", range(4, 9))
def test_images_do_not_see_each_other_nor_their_padding(assigner, seed):
    predictions, targets = made_batch(seed)
    together = assigner(predictions, targets)
    for number, target in enumerate(targets):
        assert_same_assignment(together[number], assigner(predictions[number], [target]))


@both
@pytest.mark.parametrize("seed", range(4, 9))
def test_ignored_objects_are_as_if_they_were_not_there(assigner, seed):
    predictions, targets = made_batch(seed)
    for one in targets:
        one.ignore[::3] = True
    found, expected = assigner(predictions, targets), assigner(predictions, [one.learnable() for one in targets])
    assert torch.equal(found.quality, expected.quality)
    for index, other, target in zip(found.gt_index, expected.gt_index, targets, strict=True):
        kept = torch.cat([(~target.ignore).nonzero().squeeze(1), torch.tensor([-1])])
        assert torch.equal(index, kept[other])


@both
def test_batch_without_objects_is_background_throughout(assigner):
    predictions, _ = made_batch(1)
    assignment = assigner(predictions, [Targets.empty()] * len(predictions))
    assert not assignment.positive.any()
    assert not assignment.quality.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@both
def test_half_precision_predictions_are_matched_in_float32(assigner, dtype):
    predictions, targets = made_batch(2)
    half = DensePredictions(predictions.logits.to(dtype), predictions.boxes, predictions.priors)
    same = DensePredictions(half.logits.float(), predictions.boxes, predictions.priors)
    assert_same_assignment(assigner(half, targets), assigner(same, targets))
    assert assigner(half, targets).quality.dtype == torch.float32


@both
def test_assignment_keeps_no_gradient(assigner):
    predictions, targets = made_batch(2)
    learning = DensePredictions(predictions.logits.requires_grad_(), predictions.boxes.requires_grad_(), predictions.priors)
    assert not assigner(learning, targets).quality.requires_grad
    assert not assigner.explain(learning, targets).cost.requires_grad


# ---- explain


@both
@pytest.mark.parametrize("seed", range(4, 9))
def test_explanation_agrees_with_the_call_and_adds_up(assigner, seed):
    predictions, targets = made_batch(seed)
    seen = assigner.explain(predictions, targets)
    assert_same_assignment(seen.assignment, assigner(predictions, targets))
    assert list(seen.terms) == ["cls", "iou", "center"]
    allowed = seen.candidates[:, None] & seen.inputs.targets.valid[..., None]
    total = sum(seen.terms.values()).clamp(max=1e38)
    assert_close(seen.cost[allowed], total[allowed], rtol=1e-6, atol=0)
    assert seen.cost[~allowed].isinf().all()
    taken = torch.minimum(seen.dynamic_k, seen.candidates.sum(dim=1, keepdim=True))
    assert torch.equal(seen.selected.sum(dim=-1), taken)
    assert torch.equal(seen.selected.any(dim=1), seen.assignment.positive)
    assert torch.equal(seen.conflicts, seen.selected.sum(dim=1) > 1)


@pytest.mark.parametrize("seed", range(20, 26))
def test_whole_batch_at_once_finds_what_image_by_image_finds(seed):
    """As on a GPU, where no image is looked at alone; the default costs leave no ties."""
    assigner = dynamic_soft_label(AssignerConfig())
    predictions, targets = made_batch(seed)
    inputs = match_inputs(predictions, targets, assigner.geometry)
    at_once = assigner._match(inputs, assigner.candidates(inputs)).assignment
    assert_same_assignment(at_once, assigner(predictions, targets))


# ---- near pairs first


def crowded(seed: int, count: int = 40) -> tuple[DensePredictions, list[Targets]]:
    """Returns one image of 320 x 320 with objects from 2 to 160 pixels, some ignored, and boxes near the objects."""
    generator = torch.Generator().manual_seed(seed)
    priors = point_grid([(40, 40), (20, 20), (10, 10)], (8, 16, 32))
    sides = 2 * 80 ** torch.rand(count, 2, generator=generator)
    corners = torch.rand(count, 2, generator=generator) * (320 - sides)
    boxes = torch.cat([corners, corners + sides], dim=1)
    chosen = torch.randint(count, (len(priors),), generator=generator)
    found = boxes[chosen] + torch.randn(len(priors), 4, generator=generator) * 6
    logits = torch.randn(1, len(priors), 3, generator=generator) * 3 - 2
    labels = torch.randint(3, (count,), generator=generator)
    ignore = torch.rand(count, generator=generator) < 0.1
    return DensePredictions(logits, found[None], priors), [Targets(boxes, labels, ignore=ignore)]


@pytest.mark.parametrize(
    "settings", [{}, {"center_radius": 1.0, "center_base": 3.0}, {"center_weight": 20.0}, {"cls_cost": "hard"}]
)
def test_near_pairs_give_what_all_pairs_give(settings, monkeypatch):
    assigner = dynamic_soft_label(AssignerConfig(**settings))
    monkeypatch.setattr(dynamic, "PAIRS_AT_ONCE", 20_000)
    looked_at = []
    cost = DynamicAssigner._cost

    def counting(self, pairs, *rest):
        found = cost(self, pairs, *rest)
        looked_at.append((type(pairs), found.numel()))
        return found

    total = 0
    for seed in range(12):
        predictions, targets = crowded(seed)
        inputs = match_inputs(predictions, targets, assigner.geometry)
        candidates = assigner.candidates(inputs)
        total += int(candidates.sum()) * len(targets[0])
        at_once = assigner._match(inputs, candidates).assignment
        with monkeypatch.context() as patch:
            patch.setattr(DynamicAssigner, "_cost", counting)
            assert_same_assignment(at_once, assigner(predictions, targets))
    near = sum(count for kind, count in looked_at if kind is SomePairs)
    rest = sum(count for kind, count in looked_at if kind is MatchInputs)
    assert 0 < rest < total / 3  # objects between the points, and points that several want
    assert 0 < near < total / 3


def test_distance_rules_nothing_out_where_it_costs_nothing_or_others_may_be_negative():
    assert dynamic_soft_label(AssignerConfig()).reach == pytest.approx(5)
    for settings in ({"center_cost": "none"}, {"center_cost": "fixed"}, {"center_weight": 0.0}, {"center_base": 1.0}):
        assert dynamic_soft_label(AssignerConfig(**settings)).reach is None
    assert DynamicAssigner(weights=(-1.0, 3.0, 1.0)).reach is None
