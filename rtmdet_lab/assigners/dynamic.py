"""Dynamic label assignment: each object takes its k cheapest points, k from how well points fit (paper 3.3, paper.md 4.1).

RTMDet's dynamic soft label assignment and SimOTA are two choices of cost terms and candidates in the same procedure. On a
GPU the whole batch is one tensor computation: no loop over images or objects, and no value leaves the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import (
    BoxGeometry,
    MatchInputs,
    SomePairs,
    claimed,
    match_inputs,
    resolve_conflicts,
    with_quality,
)
from rtmdet_lab.assigners.costs import CENTER_COSTS, CLS_COSTS, IOU_COSTS, CostTerm, Pairs, in_center_region
from rtmdet_lab.config.settings import AssignerConfig
from rtmdet_lab.core.structures import Assignment, DensePredictions, Targets

PAIRS_AT_ONCE = 1 << 18  # of objects and points, on a CPU
FAR = 100.0  # more than a pair that is worth taking costs: an IoU of zero costs 48 in RTMDet

# -> (B, P) bool: points that may become positive at all, which is those of any object: objects may be asked in parts.
CandidateRule = Callable[[MatchInputs], Tensor]


def inside_any_box(inputs: MatchInputs) -> Tensor:
    """RTMDet: strictly inside at least one object's box."""
    return _any_object(inputs.inside)


def inside_box_or_center(inputs: MatchInputs, radius: float = 2.5) -> Tensor:
    """SimOTA: inside a box, or within ``radius`` strides of an object's center."""
    near = in_center_region(inputs, radius) & inputs.targets.valid[..., None]
    return _any_object(inputs.inside | near)


def _any_object(pairs: Tensor) -> Tensor:
    """Returns which points (B, P) have at least one of their pairs (B, G, P) bool; 15 times as fast as ``any`` on a CPU."""
    return pairs.view(torch.uint8).amax(dim=1).bool()


@dataclass
class Explanation:
    """Every intermediate of one assignment, for looking at (shapes B images, G objects, P points)."""

    inputs: MatchInputs
    candidates: Tensor  # (B, P) bool
    terms: dict[str, Tensor]  # "cls", "iou", "center": weighted cost terms, (B, G, P)
    cost: Tensor  # (B, G, P), infinite for pairs that are not allowed
    dynamic_k: Tensor  # (B, G) int64, 0 for padding
    selected: Tensor  # (B, G, P) bool: the k cheapest of each object, before conflicts
    conflicts: Tensor  # (B, P) bool: points that several objects selected
    assignment: Assignment


class _Match(NamedTuple):
    points: Tensor  # (B, G, k) int64: the cheapest points of each object, no fewer than it takes
    taken: Tensor  # (B, G, k) bool: selected, before conflicts
    assignment: Assignment


class DynamicAssigner:
    """Candidates, cost, dynamic k, conflicts; see the module docstring. Called with predictions and targets."""

    def __init__(
        self,
        topk: int = 13,
        cls_cost: str = "soft",
        iou_cost: str = "log",
        center_cost: str = "soft",
        weights: tuple[float, float, float] = (1.0, 3.0, 1.0),
        center_radius: float = 3.0,
        center_base: float = 10.0,
        candidates: CandidateRule = inside_any_box,
        geometry: BoxGeometry | None = None,
    ) -> None:
        self.topk = topk
        self.candidates = candidates
        self.geometry = geometry or BoxGeometry()
        center: CostTerm = partial(CENTER_COSTS[center_cost], radius=center_radius, base=center_base)
        terms: dict[str, CostTerm] = {"cls": CLS_COSTS[cls_cost], "iou": IOU_COSTS[iou_cost], "center": center}
        self.terms = {name: (term, weight) for (name, term), weight in zip(terms.items(), weights, strict=True)}
        # Pairs further apart than this, in strides, cost FAR or more for their distance alone; None: distance says nothing.
        self.reach: float | None = None
        if center_cost == "soft" and center_base > 1 and weights[2] > 0 and min(weights) >= 0:
            self.reach = center_radius + math.log(FAR / weights[2], center_base)

    @torch.no_grad()
    def __call__(self, predictions: DensePredictions, targets: Sequence[Targets]) -> Assignment:
        if predictions.logits.device.type != "cpu":
            inputs = match_inputs(predictions, targets, self.geometry)
            return self._match(inputs, self.candidates(inputs)).assignment
        shape = predictions.boxes.shape[:2]
        found = Assignment(torch.full(shape, -1), torch.zeros(shape))
        for number, index, match in self._match_candidates(predictions, targets):
            found.gt_index[number, index] = match.assignment.gt_index[0]
            found.quality[number, index] = match.assignment.quality[0]
        return found

    @torch.no_grad()
    def explain(self, predictions: DensePredictions, targets: Sequence[Targets]) -> Explanation:
        """Returns the assignment with everything that led to it; the training path keeps none of it."""
        inputs = match_inputs(predictions, targets, self.geometry)
        candidates = self.candidates(inputs)
        terms: dict[str, Tensor] = {}
        allowed = candidates[:, None] & inputs.targets.valid[..., None]
        cost = self._cost(inputs, allowed, terms)
        selected = torch.zeros_like(cost, dtype=torch.bool)
        if predictions.logits.device.type != "cpu":
            match = self._match(inputs, candidates)
            selected.scatter_(-1, match.points, match.taken)
        else:  # pairs of equal cost may be chosen either way: what is shown is what the call chooses
            for number, index, part in self._match_candidates(predictions, targets):
                rows = len(targets[number])
                selected[number, :rows].scatter_(-1, index[part.points[0, :rows]], part.taken[0, :rows])
        conflicts = selected.sum(dim=1) > 1
        assignment = self(predictions, targets)
        return Explanation(
            inputs, candidates, terms, cost, self._dynamic_k(inputs, candidates), selected, conflicts, assignment
        )

    def _match_candidates(
        self, predictions: DensePredictions, targets: Sequence[Targets]
    ) -> Iterator[tuple[int, Tensor, _Match]]:
        """Yields, image by image, the points (K,) that may become positive, and the match of those points alone.

        For a CPU: what is left fits its cache. A GPU would have to wait for their number.
        """
        for number, target in enumerate(targets):
            inputs = match_inputs(predictions[number], [target], self.geometry)
            candidates = torch.cat([self.candidates(part) for part in _in_parts(inputs)])
            index = _any_object(candidates[None])[0].nonzero().squeeze(1)
            if len(index):
                yield number, index, self._match_near(inputs.at(index))

    def _match(self, inputs: MatchInputs, candidates: Tensor) -> _Match:
        """Returns what each object selects among the candidates (B, P)."""
        allowed = candidates[:, None] & inputs.targets.valid[..., None]  # (B, G, P)
        cost = self._cost(inputs, allowed)
        cheapest, points = cost.topk(min(self.topk, cost.shape[-1]), dim=-1, largest=False)  # (B, G, topk), cheapest first
        taken = _first(self._dynamic_k(inputs, candidates), cheapest)
        gt_index = resolve_conflicts(points, taken, cost)
        return _Match(points, taken, with_quality(gt_index, inputs.iou))

    def _match_near(self, inputs: MatchInputs) -> _Match:
        """Does the same for one image whose points are all candidates, and looks at near pairs first.

        Most pairs are too far apart to be among an object's cheapest, whatever their other costs, which are never negative.
        Where that cannot be said of an object, all its pairs are looked at.
        """
        valid = inputs.targets.valid[..., None]  # (1, G, 1)
        num_points = inputs.boxes.shape[1]
        if self.reach is None:
            return self._match(inputs, torch.ones(1, num_points, dtype=torch.bool))
        counts: list[Tensor] = []
        index, ious, wanted = [], [], []
        for part in _in_parts(inputs):
            near = (in_center_region(part, self.reach) & part.targets.valid[..., None])[0]
            places = near.flatten().nonzero().squeeze(1)
            index.append(places + sum(len(count) for count in counts) * num_points)
            ious.append(part.iou.flatten().index_select(0, places))
            counts.append(near.sum(dim=1))
            wanted.append(self._dynamic_k(part))
        dynamic_k = torch.cat(wanted, dim=1)
        pairs = SomePairs(inputs, torch.cat(index), torch.cat(ious))
        cost = self._cost(pairs)
        topk = min(self.topk, num_points)
        cheapest, points = _cheapest_of_rows(pairs.objects, pairs.points, cost, torch.cat(counts), topk)
        taken = _first(dynamic_k, cheapest)
        last = torch.where(taken, cheapest, 0.0).amax(dim=-1)
        unsure = (taken.sum(dim=-1) < dynamic_k) | (last > 0.99 * FAR)  # less for rounding
        rows = unsure[0].nonzero().squeeze(1)
        if len(rows):
            cost = self._cost(inputs.of_objects(rows))
            cheapest[:, rows], points[:, rows] = cost.topk(topk, dim=-1, largest=False)
            taken[:, rows] = _first(dynamic_k[:, rows], cheapest[:, rows])

        gt_index, contested = claimed(points, taken, num_points)
        places = contested[0].nonzero().squeeze(1)
        if len(places):
            gt_index[0, places] = self._cost(inputs.at(places), valid)[0].argmin(dim=0)
        found = Assignment(gt_index, inputs.boxes.new_zeros(1, num_points))
        places = found.positive[0].nonzero().squeeze(1)
        found.quality[:, places] = with_quality(gt_index[:, places], inputs.at(places).iou).quality
        return _Match(points, taken, found)

    def _cost(self, pairs: Pairs, allowed: Tensor | None = None, terms: dict[str, Tensor] | None = None) -> Tensor:
        """Returns the cost per pair, infinite where it is not ``allowed``; weighted cost terms are added to ``terms``."""
        cost: Tensor | None = None
        for name, (term, weight) in self.terms.items():
            value = term(pairs) * weight
            cost = value if cost is None else cost + value
            if terms is not None:
                terms[name] = value
        assert cost is not None  # there are three terms
        cost = cost.clamp(max=1e38)  # a far point may cost more than float32 holds, and is yet cheaper than one not allowed
        return cost if allowed is None else torch.where(allowed, cost, torch.inf)

    def _dynamic_k(self, inputs: MatchInputs, candidates: Tensor | None = None) -> Tensor:
        """Returns how many of the candidates (B, P), or of all points, each object takes, (B, G) int64, 0 for padding."""
        iou = inputs.iou if candidates is None else torch.where(candidates[:, None], inputs.iou, 0.0)
        best_ious = iou.topk(min(self.topk, iou.shape[-1]), dim=-1).values
        dynamic_k = best_ious.sum(dim=-1).to(torch.int64).clamp(min=1)
        return torch.where(inputs.targets.valid, dynamic_k, 0)


def _in_parts(inputs: MatchInputs) -> list[MatchInputs]:
    """Returns the same for a few objects at a time: what is pairwise then stays in a processor's cache."""
    at_once = max(PAIRS_AT_ONCE // inputs.boxes.shape[1], 1)
    return [inputs.of_objects(rows) for rows in torch.arange(inputs.targets.labels.shape[1]).split(at_once)]


def _first(count: Tensor, cheapest: Tensor) -> Tensor:
    """Returns (B, G, k) bool: the first ``count`` (B, G) of the costs (B, G, k) that are finite."""
    rank = torch.arange(cheapest.shape[-1], device=cheapest.device)
    return (rank < count[..., None]) & cheapest.isfinite()


def _cheapest_of_rows(objects: Tensor, points: Tensor, cost: Tensor, counts: Tensor, topk: int) -> tuple[Tensor, Tensor]:
    """Returns each object's cheapest pairs, cost and point (1, G, topk) each; infinite cost where there are fewer.

    Args:
        objects, points, cost: (M,), sorted by object.
        counts: (G,) pairs per object.
    """
    width = max(int(counts.max()), topk)
    place = torch.arange(len(objects)) - (counts.cumsum(0) - counts)[objects]
    table = cost.new_full((len(counts), width), torch.inf)
    table[objects, place] = cost
    numbers = points.new_zeros(table.shape)
    numbers[objects, place] = points
    cheapest, order = table.topk(topk, dim=-1, largest=False)
    return cheapest[None], numbers.gather(1, order)[None]


def dynamic_soft_label(config: AssignerConfig, geometry: BoxGeometry | None = None) -> DynamicAssigner:
    """Returns RTMDet's assigner with the cost terms the config names."""
    return DynamicAssigner(
        topk=config.topk or 13,
        cls_cost=config.cls_cost,
        iou_cost=config.iou_cost,
        center_cost=config.center_cost,
        weights=(config.cls_weight, config.iou_weight, config.center_weight),
        center_radius=config.center_radius,
        center_base=config.center_base,
        geometry=geometry,
    )


def simota(config: AssignerConfig, geometry: BoxGeometry | None = None) -> DynamicAssigner:
    """Returns SimOTA (YOLOX, arXiv 2107.08430): hard labels, fixed center region of 2.5 strides, k from the top 10."""
    return DynamicAssigner(
        topk=config.topk or 10,
        cls_cost="bce",
        iou_cost="log",
        center_cost="fixed",
        center_radius=2.5,
        candidates=inside_box_or_center,
        geometry=geometry,
    )
