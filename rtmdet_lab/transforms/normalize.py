"""From 8-bit RGB to what published weights expect. The only place that knows about BGR."""

from __future__ import annotations

import torch
from torch import Tensor

# Per channel in BGR order, over 0 to 255 (released configurations).
MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)


def normalize(images: Tensor) -> Tensor:
    """Returns float32 BGR images with the published mean and deviation, from (B, 3, H, W) RGB of 0 to 255.

    Runs wherever the images are: they travel to the device as bytes.
    """
    mean = torch.tensor(MEAN_BGR, device=images.device)[:, None, None]
    std = torch.tensor(STD_BGR, device=images.device)[:, None, None]
    return (images.flip(-3).float() - mean) / std
