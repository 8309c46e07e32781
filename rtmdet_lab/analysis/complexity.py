"""Parameters and multiply-adds of a model, as the published tables count them (paper.md 1.2)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rtmdet_lab.core.errors import SettingError


@dataclass(frozen=True)
class Complexity:
    params: int  # shared parameters counted once
    macs: int  # one multiply-add counts one: what the published tables call FLOPs
    params_by_part: dict[str, int]
    macs_by_part: dict[str, int]

    @property
    def params_M(self) -> float:
        return self.params / 1e6

    @property
    def macs_G(self) -> float:
        return self.macs / 1e9


def count_params(module: nn.Module) -> int:
    """Returns the number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def measure_complexity(
    model: nn.Module, input_size: int = 640, parts: Iterable[str] = ("backbone", "neck", "bbox_head")
) -> Complexity:
    """Returns the parameters and the multiply-adds of one forward pass of a square image.

    Convolutions and matrix products are counted; batch norm, activations and pooling are not, as in the published tables.
    The pass runs on the meta device: no arithmetic is done and no memory is used.

    Raises:
        SettingError: an input too small for the strides of the network.
    """
    if input_size < 32:
        raise SettingError(f"input size is {input_size}, but must be at least 32 pixels")
    shadow = copy.deepcopy(model).to("meta").eval()
    for module in list(shadow.modules()):  # what is not counted takes half of the time there
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d | nn.SiLU):
                setattr(module, name, nn.Identity())
    counter = FlopCounterMode(display=False, depth=2)
    with torch.no_grad(), counter:
        shadow(torch.empty(1, 3, input_size, input_size, device="meta"))
    by_module = counter.get_flop_counts()
    name = type(shadow).__name__
    present = [part for part in parts if hasattr(model, part)]
    return Complexity(
        params=count_params(model),
        macs=counter.get_total_flops() // 2,  # the counter counts two per multiply-add
        params_by_part={part: count_params(getattr(model, part)) for part in present},
        macs_by_part={part: sum(by_module.get(f"{name}.{part}", {}).values()) // 2 for part in present},
    )
