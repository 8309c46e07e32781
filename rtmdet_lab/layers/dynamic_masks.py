"""Dynamic convolutions: every point brings the weights of the little network that draws its mask (paper.md 3.6).

Three 1 x 1 convolutions of width 8, ReLU between them, run over ten channels: two coordinates, relative to the point, and
eight prototypes. A point's 169 numbers are all weights (80, 64, 8), then all biases (8, 8, 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

PROTOTYPES = 8  # channels of the mask features
WIDTH = 8  # of the dynamic convolutions
FEATURE_STRIDE = 8  # pixels per cell of the mask features
_SHAPES = ((WIDTH, PROTOTYPES + 2), (WIDTH, WIDTH), (1, WIDTH))
NUM_PARAMETERS = sum(outputs * inputs + outputs for outputs, inputs in _SHAPES)  # 169


def split_kernels(kernels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Returns the weights, (N, outputs, inputs) each, and the biases, (N, outputs) each, of (N, 169) numbers."""
    sizes = [outputs * inputs for outputs, inputs in _SHAPES] + [outputs for outputs, _ in _SHAPES]
    parts = kernels.split(sizes, dim=1)
    weights = [part.unflatten(1, shape) for part, shape in zip(parts, _SHAPES, strict=False)]
    return weights, list(parts[len(_SHAPES) :])


def mask_logits(features: Tensor, kernels: Tensor, points: Tensor, strides: Tensor) -> Tensor:
    """Returns the mask logits (N, h, w), at the resolution of the features, of N points of one image."""
    return mask_layers(features, kernels, points, strides)[-1][:, 0]


def mask_layers(features: Tensor, kernels: Tensor, points: Tensor, strides: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the three dynamic convolutions give, (N, 8, h, w), (N, 8, h, w) and (N, 1, h, w), of one image's points.

    The coordinate channels of a point are (point - cell) / (8 * stride of the point). They are linear in the cell's
    position, so the first layer reads the same ten channels for all points, the cell's own coordinates and the prototypes,
    and the point goes into its weights: no (N, 10, h, w) input is ever built.

    Args:
        features: (8, h, w) prototypes at stride 8.
        kernels: (N, 169).
        points: (N, 2) x, y in pixels. strides: (N,) pixels.
    """
    height, width = features.shape[1:]
    # In half precision a coordinate of a large canvas would lose its pixels.
    with torch.autocast(features.device.type, enabled=False):
        (first, second, third), biases = split_kernels(kernels.float())
        y = torch.arange(height, device=features.device, dtype=torch.float32) * FEATURE_STRIDE
        x = torch.arange(width, device=features.device, dtype=torch.float32) * FEATURE_STRIDE
        cells = torch.stack([x.expand(height, width), y[:, None].expand(height, width)])
        shared = torch.cat([cells, features.float()]).flatten(1)  # (10, h * w)
        toward = first[..., :2] / (FEATURE_STRIDE * strides[:, None, None])  # (N, 8, 2): per pixel of distance
        bias = biases[0] + (toward @ points[:, :, None]).squeeze(2)
        weight = torch.cat([-toward, first[..., 2:]], dim=2)
        one = (weight @ shared + bias[..., None]).relu()
        two = (second @ one + biases[1][..., None]).relu()
        three = third @ two + biases[2][..., None]
    one, two, three = (layer.unflatten(2, (height, width)) for layer in (one, two, three))
    return one, two, three
