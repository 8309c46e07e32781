"""How far an exported network's detections are from PyTorch's, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.geometry.box_kind import UPRIGHT, kind_of
from rtmdet_lab.geometry.rotated import rboxes_to_quads

SAME_OBJECT = 0.5  # IoU from which two detections of a class are taken for the same


@dataclass(frozen=True)
class Difference:
    """Of all images: ``matched`` pairs of detections, and the largest difference within a pair."""

    images: int
    detections: int  # of PyTorch
    exported: int
    matched: int
    # Of any coordinate; rotated boxes: of any corner's coordinate. None, as the next two, where there is no pair.
    boxes_px: float | None
    scores: float | None
    masks_equal: float | None  # share of pixels, in the worst image; None without masks, too

    def __str__(self) -> str:
        if not self.matched:
            return (
                f"{self.images} images: 0 detections in common, {self.detections} of PyTorch and {self.exported} of the "
                "export: nothing says whether they agree; compare images in which PyTorch finds something"
            )
        share = self.masks_equal
        masks = "" if share is None else f", at least {100 * share:.3f} % of mask pixels equal"
        return (
            f"{self.images} images: {self.matched} detections in common, {self.detections} of PyTorch and {self.exported} "
            f"of the export; boxes within {self.boxes_px:.2g} px, scores within {self.scores:.2g}{masks}"
        )


def compare(reference: Sequence[Detections], exported: Sequence[Detections]) -> Difference:
    """Returns the difference of two results for the same images; the order of equal scores does not matter."""
    matched, boxes_px, scores, masks = 0, 0.0, 0.0, []
    for one, other in zip(reference, exported, strict=True):
        first, second = match_same(one, other)
        matched += len(first)
        if one.masks is not None and len(first):
            masks.append((one.masks[first] == other.masks[second]).float().mean().item())
        if len(first):
            boxes_px = max(boxes_px, (_corners(one.boxes[first]) - _corners(other.boxes[second])).abs().max().item())
            scores = max(scores, (one.scores[first] - other.scores[second]).abs().max().item())
    totals = [sum(len(one) for one in result) for result in (reference, exported)]
    largest = (boxes_px, scores) if matched else (None, None)
    return Difference(len(reference), *totals, matched, *largest, min(masks, default=None))


def match_same(one: Detections, other: Detections) -> tuple[Tensor, Tensor]:
    """Returns the rows of both, (K,) each, that are the same object: of one class and in one place, each once.

    They overlap by ``SAME_OBJECT`` or more. Of all ways to pair them the one with the largest sum of overlaps is taken.
    """
    shared = kind_of(one.boxes).iou(one.boxes.float(), other.boxes.float())
    # Boxes without area, which small networks give, overlap nothing, not even themselves: there, being near counts.
    apart = (one.boxes[:, None].float() - other.boxes.float()).abs().amax(dim=-1)
    shared = torch.maximum(shared.clamp(0, 1), 1 - apart)
    shared = torch.where(one.labels[:, None] == other.labels, shared, 0)
    first, second = (torch.from_numpy(index) for index in linear_sum_assignment(shared.numpy(), maximize=True))
    same = shared[first, second] >= SAME_OBJECT
    return first[same], second[same]


def _corners(boxes: Tensor) -> Tensor:
    # A box turned by pi/2 and one by -pi/2 are the same, with their corners in another order: sorted by x + 2 y.
    if kind_of(boxes) is UPRIGHT:
        return boxes
    corners = rboxes_to_quads(boxes).unflatten(-1, (4, 2))
    order = (corners[..., 0] + 2 * corners[..., 1]).argsort(dim=-1)
    return corners.gather(1, order[..., None].expand_as(corners)).flatten(1)
