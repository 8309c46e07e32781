"""Effective receptive field: how much each input pixel moves one output of a network (Luo et al. 2016, arXiv 1701.04128).

The gradient of the central output (all its channels together) with respect to the input, as absolute values, averaged over
random inputs. What the kernels could reach (the theoretical field) is far larger than what they use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.core.errors import SettingError, UnknownNameError, did_you_mean
from rtmdet_lab.models.detector import RTMDet

Features = Callable[[Tensor], Tensor]  # (1, 3, H, W) to (1, C, h, w)

PLACES = tuple(f"{part}, stride {stride}" for part in ("backbone", "neck") for stride in STRIDES)


@dataclass(frozen=True)
class ReceptiveField:
    """``map`` (H, W) float64 is the share of each pixel in the gradient, 1 in all; ``center`` the pixel (y, x) under the
    output that was looked at."""

    map: Tensor
    center: tuple[int, int]

    def side(self, share: float) -> int:
        """Returns the side, in pixels, of the smallest square around the center that holds ``share`` of the gradient.

        Capped at the larger side of the input, which is all that was looked at.

        Raises:
            SettingError: a share outside of (0, 1].
        """
        if not 0 < share <= 1:
            raise SettingError(f"share of the receptive field is {share}, but must be above 0 and at most 1")
        # A hair less than the share: a sum of shares is one only up to rounding.
        radius = int((self.inside() < share - 1e-9).sum())
        return min(2 * radius + 1, max(self.map.shape))

    def inside(self) -> Tensor:
        """Returns the share of the gradient inside the squares of side 1, 3, 5, ... around the center, growing to 1."""
        height, width = self.map.shape
        y, x = self.center
        rows = (torch.arange(height) - y).abs()[:, None]
        columns = (torch.arange(width) - x).abs()
        distance = torch.maximum(rows, columns)
        rings = torch.zeros(int(distance.max()) + 1, dtype=torch.float64)
        return rings.scatter_add_(0, distance.flatten(), self.map.flatten()).cumsum(0)


def receptive_field(features: Features, input_size: int = 256, samples: int = 4, seed: int = 0) -> ReceptiveField:
    """Returns the effective receptive field of the central cell of ``features``, on standard normal square inputs.

    Costs a forward and a backward pass per sample, one at a time.

    Args:
        features: maps (1, 3, H, W) to a map (1, C, h, w); see :func:`features_at`.
        input_size: pixels; what lies outside is not seen.
        samples: random inputs.

    Raises:
        SettingError: no pixels or no samples.
    """
    for name, value in (("input size", input_size), ("number of samples", samples)):
        if value < 1:
            raise SettingError(f"{name} of the receptive field is {value}, but must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(input_size, input_size, dtype=torch.float64)
    center = (0, 0)
    for _ in range(samples):
        images = torch.randn(1, 3, input_size, input_size, generator=generator).requires_grad_()
        found = features(images)
        height, width = found.shape[-2:]
        # Kernels are odd and padded: cell i of a map of stride s lies over pixel i * s.
        y, x = height // 2, width // 2
        center = (y * -(-input_size // height), x * -(-input_size // width))
        (gradient,) = torch.autograd.grad(found[0, :, y, x].sum(), images)
        total += gradient[0].abs().sum(dim=0)
    amount = total.sum()
    return ReceptiveField(total / amount if amount > 0 else total, center)


def features_at(model: RTMDet, place: str) -> Features:
    """Returns the function from images to one feature map; what comes after that map is not computed.

    Args:
        place: one of ``PLACES``, such as "backbone, stride 16".

    Raises:
        UnknownNameError: no such place.
    """
    if place not in PLACES:
        raise UnknownNameError(f"no place {place!r}: {did_you_mean(place, PLACES)} known are {'; '.join(PLACES)}")
    part, _, stride = place.partition(", stride ")
    level = STRIDES.index(int(stride))
    backbone = model.backbone
    if part == "neck":
        return lambda images: model.neck(backbone(images))[level]
    stages = (backbone.stem, backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4)
    return nn.Sequential(*stages[: level + 3])


@torch.no_grad()
def settle_norms(model: nn.Module, features: Features, input_size: int = 256, seed: int = 0) -> None:
    """Gives the batch norms that ``features`` runs through the statistics of one standard normal input, in place.

    For untrained networks: with the initial statistics signals shrink from block to block, and a residual block would look
    as if its kernels did nothing. The model ends in eval mode.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, here of one
        norm.reset_running_stats()
    model.train()
    features(torch.randn(1, 3, input_size, input_size, generator=torch.Generator().manual_seed(seed)))
    model.eval()
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
