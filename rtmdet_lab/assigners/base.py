"""What every assigner takes and returns, and how ragged ground truth becomes one batch.

An assigner answers, for a whole batch at once: which object does each point learn, and how well does it fit already?
It sees detached predictions: no gradient flows through an assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rtmdet_lab.core.structures import Assignment, DensePredictions, Priors, Targets
from rtmdet_lab.geometry.boxes import box_centers, pairwise_iou
from rtmdet_lab.geometry.priors import points_inside


class Assigner(Protocol):
    geometry: BoxGeometry

    def __call__(self, predictions: DensePredictions, targets: Sequence[Targets]) -> Assignment: ...


@dataclass(frozen=True)
class BoxGeometry:
    """The three questions an assigner asks about boxes; other tasks bring other answers, nothing else changes."""

    iou: Callable[[Tensor, Tensor], Tensor] = pairwise_iou  # (..., N, 4), (..., M, 4) -> (..., N, M)
    inside: Callable[[Tensor, Tensor], Tensor] = points_inside  # points (P, 2), boxes (..., G, 4) -> (..., G, P) bool
    centers: Callable[[Targets], Tensor] = lambda targets: box_centers(targets.boxes)  # (G, 2) pixels


@dataclass
class PaddedTargets:
    """Ground truth of a batch as rectangles of numbers. G is the largest count in the batch, at least 1."""

    boxes: Tensor  # (B, G, 4 or 5)
    labels: Tensor  # (B, G) int64
    centers: Tensor  # (B, G, 2)
    valid: Tensor  # (B, G) bool: a real object that may be learned


def pad_targets(targets: Sequence[Targets], geometry: BoxGeometry, device: torch.device, box_size: int = 4) -> PaddedTargets:
    """Returns the batch's ground truth padded with zeros; ignored objects keep their index but are not valid."""
    ignore = [t.ignore if t.ignore is not None else torch.zeros(len(t), dtype=torch.bool) for t in targets]
    boxes = _pad([t.boxes for t in targets], (box_size,), device)
    return PaddedTargets(
        boxes=boxes.float(),
        labels=_pad([t.labels for t in targets], (), device),
        centers=_pad([geometry.centers(t) for t in targets], (2,), device).float(),
        valid=_pad([~one.to(t.boxes.device) for one, t in zip(ignore, targets, strict=True)], (), device),
    )


def _pad(rows: list[Tensor], shape: tuple[int, ...], device: torch.device) -> Tensor:
    # One zero row more than needed would do no harm, but at least one is needed: gathers from an empty axis fail.
    padded = pad_sequence([row.reshape(-1, *shape) for row in rows], batch_first=True)
    if padded.shape[1] == 0:
        padded = padded.new_zeros(len(rows), 1, *shape)
    return padded.to(device, non_blocking=True)


@dataclass
class MatchInputs:
    """Everything a cost term may look at, for all pairs: points are the last axis, (B, G, P) is the layout of all that is
    pairwise. :class:`SomePairs` answers the same questions for chosen pairs."""

    logits: Tensor  # (B, P, C)
    boxes: Tensor  # (B, P, 4 or 5)
    priors: Priors
    targets: PaddedTargets
    geometry: BoxGeometry

    @cached_property
    def inside(self) -> Tensor:
        """(B, G, P) bool: the point lies strictly inside the object's box, and that is none of padding."""
        # Nothing is strictly inside a box of zeros, which is what padding has; cheaper than to mask all pairs.
        return self.geometry.inside(self.priors.points, self.targets.boxes * self.targets.valid[..., None])

    @cached_property
    def iou(self) -> Tensor:
        """(B, G, P): predicted box with ground truth."""
        return self.geometry.iou(self.targets.boxes, self.boxes)

    @property
    def offsets(self) -> tuple[Tensor, Tensor]:
        """How far each point lies right of and below each object's center, pixels, (B, G, P) each."""
        x, y = self.priors.points.t().contiguous()
        return x - self.targets.centers[..., :1], y - self.targets.centers[..., 1:]

    @property
    def strides(self) -> Tensor:
        """Of each pair's point, pixels; broadcasts to (B, G, P)."""
        return self.priors.strides

    @property
    def both_boxes(self) -> tuple[Tensor, Tensor]:
        """The predicted box and the object's of each pair; broadcast to (B, G, P, 4 or 5)."""
        return self.boxes[:, None], self.targets.boxes[:, :, None]

    def of_points(self, values: Tensor) -> Tensor:
        """Returns what each pair's point has of ``values`` (B, P); broadcasts to (B, G, P)."""
        return values[:, None]

    def of_own_class(self, values: Tensor) -> Tensor:
        """Returns (B, G, P): what each pair's point has of ``values`` (B, P, C) at the object's class."""
        index = self.targets.labels[..., None].expand(-1, -1, values.shape[1])  # (B, G, P)
        return values.transpose(1, 2).gather(1, index)

    def at(self, index: Tensor) -> MatchInputs:
        """Returns the same for some points alone, (K,) int64."""
        logits, boxes = self.logits.index_select(1, index), self.boxes.index_select(1, index)
        priors = Priors(self.priors.points.index_select(0, index), self.priors.strides.index_select(0, index))
        return MatchInputs(logits, boxes, priors, self.targets, self.geometry)

    def of_objects(self, index: Tensor) -> MatchInputs:
        """Returns the same for some objects alone, (K,) int64."""
        some = PaddedTargets(*(getattr(self.targets, one.name)[:, index] for one in fields(PaddedTargets)))
        return MatchInputs(self.logits, self.boxes, self.priors, some, self.geometry)


@dataclass
class SomePairs:
    """What :class:`MatchInputs` says, for M chosen pairs of one image: all that is pairwise is (M,)."""

    inputs: MatchInputs  # of one image
    index: Tensor  # (M,) int64: object x P + point
    iou: Tensor  # (M,)

    # index_select on one axis throughout: indexing by several tensors takes three times as long.

    @cached_property
    def objects(self) -> Tensor:
        """(M,) int64."""
        return self.index.div(self.logits.shape[1], rounding_mode="floor")

    @cached_property
    def points(self) -> Tensor:
        """(M,) int64."""
        return self.index - self.objects * self.logits.shape[1]

    @property
    def logits(self) -> Tensor:
        """(1, P, C): of all points, as in :class:`MatchInputs`."""
        return self.inputs.logits

    @property
    def inside(self) -> Tensor:
        return self.inputs.inside.flatten().index_select(0, self.index)

    @property
    def offsets(self) -> tuple[Tensor, Tensor]:
        points = self.inputs.priors.points.t().contiguous().index_select(1, self.points)
        x, y = points - self.inputs.targets.centers[0].t().contiguous().index_select(1, self.objects)
        return x, y

    @property
    def strides(self) -> Tensor:
        return self.inputs.priors.strides.index_select(0, self.points)

    @property
    def both_boxes(self) -> tuple[Tensor, Tensor]:
        return self.inputs.boxes[0, self.points], self.inputs.targets.boxes[0, self.objects]

    def of_points(self, values: Tensor) -> Tensor:
        return values[0].index_select(0, self.points)

    def of_own_class(self, values: Tensor) -> Tensor:
        labels = self.inputs.targets.labels[0].index_select(0, self.objects)
        return values.flatten().index_select(0, self.points * values.shape[2] + labels)


def match_inputs(predictions: DensePredictions, targets: Sequence[Targets], geometry: BoxGeometry) -> MatchInputs:
    """Returns the common inputs of all cost terms, detached, in float32."""
    logits, boxes = predictions.logits.detach().float(), predictions.boxes.detach().float()
    padded = pad_targets(targets, geometry, logits.device, boxes.shape[-1])
    return MatchInputs(logits, boxes, predictions.priors, padded, geometry)


def claimed(points: Tensor, taken: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """Returns the object that selected each point (B, P) int64, -1 for none, and whether several did (B, P) bool.

    Args:
        points: (B, G, k) int64, points each object looked at.
        taken: (B, G, k) bool, whether it selected them.
    """
    shape, place = (points.shape[0], num_points), points.flatten(1)
    claims = torch.zeros(shape, dtype=torch.int64, device=points.device).scatter_add_(1, place, taken.flatten(1).long())
    asking = torch.where(taken, torch.arange(points.shape[1], device=points.device)[:, None], -1).flatten(1)
    chosen = torch.full(shape, -1, device=points.device).scatter_reduce_(1, place, asking, "amax")
    return chosen, claims > 1


def resolve_conflicts(points: Tensor, taken: Tensor, cost: Tensor) -> Tensor:
    """Returns (B, P) int64: the object each point learns, -1 where none selected it.

    A point that several objects selected goes to the object that is cheapest for it, among all of them, even one that did
    not select it (paper.md 4.1, step 4).

    Args:
        points, taken: as in :func:`claimed`.
        cost: (B, G, P), infinite for pairs that are not allowed.
    """
    chosen, contested = claimed(points, taken, cost.shape[2])
    if cost.device.type == "cpu":  # a GPU would have to wait for their number
        chosen[contested] = cost.transpose(1, 2)[contested].argmin(dim=1)
        return chosen
    return torch.where(contested, cost.argmin(dim=1), chosen)


def with_quality(gt_index: Tensor, iou: Tensor) -> Assignment:
    """Returns the assignment whose quality is the IoU (B, G, P) of each point with its object, 0 for background."""
    quality = iou.gather(1, gt_index.clamp(min=0)[:, None]).squeeze(1)
    return Assignment(gt_index, torch.where(gt_index >= 0, quality, 0.0))
