"""Small networks with weights and norm statistics that are far from their initial values."""

from __future__ import annotations

import torch
from torch import nn

from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.factory import create_model

torch.set_num_threads(1)  # see made_samples

SMALL = {"width": 0.125, "depth": 0.167, "depthwise": False}


def small_model(num_classes: int = 3, seed: int = 0, **settings) -> RTMDet:
    """Returns a detector of about a hundred thousand weights, in eval mode; ``settings`` as in ``create_model``."""
    torch.manual_seed(seed)
    return create_model("rtmdet-s", num_classes, **SMALL | settings).eval()


def meta_model(name: str, num_classes: int = 80, **settings) -> RTMDet:
    """Returns a model that has shapes but no numbers, at once whatever its size."""
    with torch.device("meta"):
        return create_model(name, num_classes, **settings)


@torch.no_grad()
def randomise_norms(module: nn.Module, seed: int) -> nn.Module:
    """Draws weight, bias and statistics of every batch norm; returns the module in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for values, low, high in (
                (norm.weight, -1.5, 1.5),
                (norm.bias, -1, 1),
                (norm.running_mean, -1, 1),
                (norm.running_var, 0.05, 3),
            ):
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
    return module.eval()


@torch.no_grad()
def settle_norms(module: nn.Module, images: torch.Tensor) -> nn.Module:
    """Sets the statistics of every batch norm to those of normalised ``images``: outputs then depend on what is seen."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the mean over all batches, here of one
            norm.reset_running_stats()
    module.train()(images)
    return module.eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parameters_of(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def weights_without_gradient(module: nn.Module) -> list[str]:
    return [name for name, one in module.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
