"""Dynamic label assignment: each object takes its k cheapest points, k from how well points fit (paper 3.3, paper.md 4.1).

RTMDet's dynamic soft label assignment and SimOTA are two choices of cost terms and candidates in the same procedure. On a
GPU the whole batch is one tensor computation: no loop over images or objects, and no value leaves the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from rtmdet_lab.assigners.base import BoxGeometry, MatchInputs, match_inputs, resolve_conflicts, with_quality
from rtmdet_lab.assigners.costs import CENTER_COSTS, CLS_COSTS, IOU_COSTS, CostTerm, in_center_region
from rtmdet_lab.config import AssignerConfig
from rtmdet_lab.structures import Assignment, DensePredictions, Targets

CandidateRule = Callable[[MatchInputs], Tensor]  # -> (B, P) bool: points that may become positive at all


def inside_any_box(inputs: MatchInputs) -> Tensor:
    """RTMDet: strictly inside at least one object's box."""
    return inputs.inside.any(dim=1)


def inside_box_or_center(inputs: MatchInputs, radius: float = 2.5) -> Tensor:
    """SimOTA: inside a box, or within ``radius`` strides of an object's center."""
    return (inputs.inside | in_center_region(inputs, radius)).any(dim=1)


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
    cost: Tensor  # as in Explanation
    dynamic_k: Tensor
    points: Tensor  # (B, G, k) int64: each object's k cheapest points
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
        center = partial(CENTER_COSTS[center_cost], radius=center_radius, base=center_base)
        terms: dict[str, CostTerm] = {"cls": CLS_COSTS[cls_cost], "iou": IOU_COSTS[iou_cost], "center": center}
        self.terms = {name: (term, weight) for (name, term), weight in zip(terms.items(), weights, strict=True)}

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
        candidates, terms = self.candidates(inputs), {}
        match = self._match(inputs, candidates, terms)
        selected = torch.zeros_like(match.cost, dtype=torch.bool)
        if predictions.logits.device.type != "cpu":
            selected.scatter_(-1, match.points, match.taken)
        else:  # pairs of equal cost may be chosen either way: what is shown is what the call chooses
            for number, index, part in self._match_candidates(predictions, targets):
                rows = len(targets[number])
                selected[number, :rows].scatter_(-1, index[part.points[0, :rows]], part.taken[0, :rows])
        conflicts = selected.sum(dim=1) > 1
        assignment = self(predictions, targets)
        return Explanation(inputs, candidates, terms, match.cost, match.dynamic_k, selected, conflicts, assignment)

    def _match_candidates(
        self, predictions: DensePredictions, targets: Sequence[Targets]
    ) -> Iterator[tuple[int, Tensor, _Match]]:
        """Yields, image by image, the points (K,) that may become positive, and the match of those points alone.

        For a CPU: what is left fits its cache. A GPU would have to wait for their number.
        """
        for number, target in enumerate(targets):
            inputs = match_inputs(predictions[number], [target], self.geometry)
            candidates = self.candidates(inputs)
            index = candidates[0].nonzero().squeeze(1)
            if len(index):
                yield number, index, self._match(inputs.at(index), candidates[:, index])

    def _match(self, inputs: MatchInputs, candidates: Tensor, terms: dict[str, Tensor] | None = None) -> _Match:
        """Returns what each object selects among the candidates (B, P); weighted cost terms are added to ``terms``."""
        allowed = candidates[:, None] & inputs.targets.valid[..., None]  # (B, G, P)

        cost: Tensor | None = None
        for name, (term, weight) in self.terms.items():
            value = term(inputs) * weight
            cost = value if cost is None else cost + value
            if terms is not None:
                terms[name] = value
        # A far point may cost more than float32 holds; it must still be cheaper than a pair that is not allowed.
        cost = torch.where(allowed, cost.clamp(max=1e38), torch.inf)

        topk = min(self.topk, cost.shape[-1])
        best_ious = torch.where(allowed, inputs.iou, 0.0).topk(topk, dim=-1).values
        dynamic_k = best_ious.sum(dim=-1).to(torch.int64).clamp(min=1)  # (B, G)
        dynamic_k = torch.where(inputs.targets.valid, dynamic_k, 0)

        cheapest, points = cost.topk(topk, dim=-1, largest=False)  # (B, G, topk), cheapest first
        rank = torch.arange(topk, device=cost.device)
        taken = (rank < dynamic_k[..., None]) & cheapest.isfinite()
        gt_index = resolve_conflicts(points, taken, cost)
        return _Match(cost, dynamic_k, points, taken, with_quality(gt_index, inputs.iou))


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
