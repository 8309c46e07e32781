"""Masks as pixels: their centers, their COCO run lengths, and polygons filled into them.

A pixel at column x, row y of a mask covers x..x+1, y..y+1 of the coordinates that polygons and boxes use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import Tensor

Polygons = Sequence[Sequence[float]]  # the parts of one object, each x1, y1, x2, y2, ... in pixels


def mask_centers(masks: Tensor) -> Tensor:
    """Returns the centers of mass (G, 2) x, y of masks (G, H, W) bool in pixel indices; NaN for an empty mask."""
    rows = masks.sum(dim=2, dtype=torch.float32)  # (G, H)
    columns = masks.sum(dim=1, dtype=torch.float32)  # (G, W)
    x = columns @ torch.arange(masks.shape[2], dtype=torch.float32, device=masks.device)
    y = rows @ torch.arange(masks.shape[1], dtype=torch.float32, device=masks.device)
    return torch.stack([x, y], dim=1) / rows.sum(dim=1, keepdim=True)


def fill_polygons(polygons: Polygons, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask (H, W) bool of an object's parts, joined, by COCO's rule for which pixels belong to a polygon."""
    parts = [part for part in polygons if len(part) >= 6]
    if not parts:
        return np.zeros(size, bool)
    runs = coco_mask.frPyObjects(parts, *size)
    return coco_mask.decode(runs[0] if len(runs) == 1 else coco_mask.merge(runs)).view(bool)


def encode_masks(masks: Tensor) -> list[dict[str, Any]]:
    """Returns COCO's compressed run lengths, counts as text, of masks (N, H, W) bool."""
    arrays = np.asfortranarray(masks.cpu().numpy().astype(np.uint8).transpose(1, 2, 0))
    return [dict(one, counts=one["counts"].decode("ascii")) for one in coco_mask.encode(arrays)]


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Returns the mask (H, W) bool of a COCO segmentation: polygons, or run lengths, compressed or not.

    Raises:
        ValueError: run lengths of another size.
    """
    if isinstance(segmentation, dict):
        if tuple(segmentation["size"]) != tuple(size):
            raise ValueError(f"run lengths of size {segmentation['size']} on an image of {list(size)}")
        if isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, *size)
        return coco_mask.decode(segmentation).view(bool)
    return fill_polygons(segmentation, size)
