"""What a network is made of: parameters, multiply-adds and output shapes of its seven parts, in a tenth of a second.

:func:`~rtmdet_lab.analysis.complexity.measure_complexity` asks PyTorch's own counter at the size in question. Here two tiny
passes tell the same for every size: multiply-adds are a + b * area, where a is channel attention, which sees means only.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rtmdet_lab.analysis.complexity import count_params
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.factory import create_model

PARTS = ("stem", "stage1", "stage2", "stage3", "stage4", "neck", "head")  # in the order they run
_SIDES = (32, 64)  # pixels of the two passes

Shapes = dict[str, list[tuple[int, ...]]]


@dataclass(frozen=True)
class Anatomy:
    """Numbers by part; ``shapes`` are those of the outputs for one image, without the batch.

    Stem and stages put out (channels, height, width), the neck one such map per level. The head puts out (points, classes)
    and (points, 4 or 5), in the instance task (points, 169) and (8, height, width) more: mask kernels and prototypes.
    """

    params: dict[str, int]
    macs: dict[str, int]  # one multiply-add counts one; convolutions only, as in the published tables
    shapes: Shapes


def parts_of(model: RTMDet) -> dict[str, nn.Module]:
    """Returns the parts of a network by name, in the order they run."""
    stages = {name: getattr(model.backbone, name) for name in PARTS[:5]}
    return stages | {"neck": model.neck, "head": model.bbox_head}


@torch.no_grad()
def hollow_model(name: str, num_classes: int = 80, overrides: Mapping[str, Any] | None = None) -> RTMDet:
    """Returns ``create_model(name, num_classes, **overrides)`` in eval mode with zeros for weights, drawn none: at once.

    Raises:
        UserError: see :func:`~rtmdet_lab.tasks.factory.create_model`.
    """
    with torch.device("meta"):
        model = create_model(name, num_classes, **(overrides or {}))
    model = model.to_empty(device="cpu").eval()
    for value in (*model.parameters(), *model.buffers()):
        value.zero_()
    return model


def draw_weights(model: RTMDet) -> RTMDet:
    """Draws the weights of a :func:`hollow_model`, which then is as ``create_model`` makes it but for the head's priors.

    Building a network takes as long as running it on a small image: this way it is built once.
    """
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def anatomy(model: RTMDet, input_size: int = 640) -> Anatomy:
    """Returns parameters, multiply-adds and shapes for square images of ``input_size`` pixels.

    Parameters that levels of the head share count once.

    Args:
        model: on the CPU; :func:`hollow_model` makes one quickly.

    Raises:
        SettingError: a size that is no multiple of 32.
    """
    if input_size < 32 or input_size % 32:
        raise SettingError(f"input size is {input_size}, but must be a multiple of 32")
    (small_macs, small_shapes), (large_macs, large_shapes) = (_one_pass(model, side) for side in _SIDES)
    area = (input_size // _SIDES[0]) ** 2
    macs, shapes = {}, {}
    for name in PARTS:
        per_area = (large_macs[name] - small_macs[name]) // 3  # the larger pass has four times the area
        macs[name] = small_macs[name] + (area - 1) * per_area
        pairs = zip(small_shapes[name], large_shapes[name], strict=True)
        shapes[name] = [
            tuple(_grown(first, second, input_size) for first, second in zip(*pair, strict=True)) for pair in pairs
        ]
    return Anatomy({name: count_params(part) for name, part in parts_of(model).items()}, macs, shapes)


def _grown(small: int, large: int, input_size: int) -> int:
    """Returns a dimension at ``input_size`` from those of both passes: fixed, growing with the side, or with the area."""
    factor = input_size // _SIDES[0]
    return small * {small: 1, 2 * small: factor, 4 * small: factor**2}[large]


@torch.inference_mode()
def _one_pass(model: RTMDet, side: int) -> tuple[dict[str, int], Shapes]:
    """Returns the multiply-adds and output shapes of each part for one image of ``side`` pixels."""
    macs, shapes = dict.fromkeys(PARTS, 0), {}
    training = model.training
    with ExitStack() as hooks:
        for name, part in parts_of(model).items():
            hooks.callback(part.register_forward_hook(_keep_shapes(shapes, name)).remove)
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    hooks.callback(module.register_forward_hook(_count(macs, name)).remove)
        model.eval()(torch.zeros(1, 3, side, side))
    model.train(training)
    return macs, shapes


def _count(macs: dict[str, int], name: str) -> Any:
    def count(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        macs[name] += output.numel() * module.weight[0].numel()

    return count


def _keep_shapes(shapes: Shapes, name: str) -> Any:
    def keep(_: nn.Module, __: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            output = [output]
        elif not isinstance(output, tuple):  # dense predictions
            parts = (output.logits, output.boxes, output.kernels, output.mask_features)
            output = [part for part in parts if part is not None]
        shapes[name] = [tuple(one.shape[1:]) for one in output]

    return keep
