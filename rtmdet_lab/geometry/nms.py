"""Class-wise non-maximum suppression of upright boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

_IN_ONE_CALL = {True: 1_000, False: 25_000}  # boxes, on a CPU and elsewhere: where one call is faster than one per class


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Returns the indices kept, best first: a box goes if a better one of its class overlaps it by more than the threshold.

    The result is that of ``torchvision.ops.nms`` class by class. That is how many boxes are treated; few go in one call, the
    classes moved apart. torchvision and the published code move them in float32, which rounds the boxes: at 1203 classes or
    4000 pixels by whole pixels. Here they are moved in float64, so far that boxes left of the image stay apart, too.

    Args:
        boxes: (N, 4) x1 y1 x2 y2. scores, labels: (N,). Equal scores keep their order.
    """
    span = (boxes.max() - boxes.min()).double() + 1 if len(boxes) else boxes.new_zeros(())
    if len(boxes) <= _IN_ONE_CALL[boxes.device.type == "cpu"] and bool(span.isfinite()):
        apart = boxes.double() + (labels * span)[:, None]
        return nms(apart, scores.double(), _in_double(iou_threshold))
    kept = [
        members[nms(boxes[members], scores[members], iou_threshold)]
        for members in ((labels == label).nonzero().squeeze(1) for label in labels.unique())
    ]
    indices = torch.cat(kept).sort().values
    return indices[scores[indices].argsort(descending=True, stable=True)]


def _in_double(threshold: float) -> float:
    """Returns what an overlap must exceed for its float32 to exceed the threshold.

    0.6 in float32 is more than 0.6: boxes of whole pixels that overlap by exactly 0.6 are suppressed, as published.
    """
    below = np.float32(threshold)
    below = below if float(below) <= threshold else np.nextafter(below, np.float32(-1))
    return (float(below) + float(np.nextafter(below, np.float32(2)))) / 2
