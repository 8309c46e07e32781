"""Weights that follow from the names and shapes of a state dict alone, so that two implementations can share them.

The recipe: a tensor's generator is seeded with the CRC-32 of its key, where a tower convolution that levels share goes by
the name it has at level 0. Normal noise of the tensor's shape then becomes, by what the tensor is,

* a running mean: noise / 20;
* a running variance or a norm's weight: 1 + tanh(noise) / 5;
* a convolution or a matrix: noise * sqrt(2 / fan-in);
* any bias: noise / 10;
* a batch counter: zero.
"""

from __future__ import annotations

import binascii
import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

TOWERS = ("cls_convs", "reg_convs", "kernel_convs")


def seed_of(key: str) -> int:
    parts = key.split(".")  # bbox_head . cls_convs . LEVEL . LAYER . conv . weight
    if parts[0] == "bbox_head" and parts[1] in TOWERS and parts[4] == "conv":
        parts[2] = "0"
    return binascii.crc32(".".join(parts).encode())


def made_tensor(key: str, like: Tensor) -> Tensor:
    if not like.is_floating_point():
        return torch.zeros_like(like)
    noise = np.random.RandomState(seed_of(key)).standard_normal(tuple(like.shape))
    kind = key.rsplit(".", 1)[1]
    if kind == "running_mean":
        values = noise * 0.05
    elif like.ndim > 1:
        values = noise * math.sqrt(2 / like[0].numel())
    elif kind in ("running_var", "weight"):
        values = np.tanh(noise) * 0.2 + 1
    else:
        values = noise * 0.1
    return torch.from_numpy(values.astype(np.float32))


def made_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: made_tensor(key, value) for key, value in state.items()}


def with_made_weights(model: nn.Module) -> nn.Module:
    """Returns the model, in eval mode, with the weights that belong to its keys."""
    model.load_state_dict(made_weights(model.state_dict()))
    return model.eval()


def made_image() -> Tensor:
    """Returns the normalised image (1, 3, 160, 192) that the recorded outputs belong to."""
    return torch.from_numpy(np.random.RandomState(0).standard_normal((1, 3, 160, 192)).astype(np.float32))
