"""The network as exported: bytes in, plain tensors out, blocks fused, any batch and size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmdet_lab.config.settings import TaskName
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.network import Network
from rtmdet_lab.transforms.normalize import MEAN_BGR, STD_BGR

INPUT = "images"
TRACED_SIZE = (2, 3, 96, 128)  # B, 3, H, W, all different: what is equal by chance would be exported as equal


class ExportNetwork(nn.Module):
    """(B, 3, H, W) uint8 RGB to the raw dense heads, as its task names them (``TaskSpec.raw_outputs``); always in eval mode.

    Outputs are float32: logits (B, P, C), before the sigmoid; boxes (B, P, 4 or 5), decoded, pixels of the input; for
    masks kernels (B, P, 169) and mask_features (B, 8, H/8, W/8).

    Args:
        half: weights and activations in half precision; boxes are decoded in float32 all the same.
    """

    def __init__(self, model: Network, half: bool = False) -> None:
        super().__init__()
        self.task: TaskName = model.task
        self.half_precision = half
        fused = fuse(model).cpu().float()
        _take_rgb(fused.backbone.stem[0].conv)
        self.model = fused.half() if half else fused
        # Not a bias of the first convolution: at the border it reads zeros, which stand for the mean.
        self.register_buffer("mean", torch.tensor(MEAN_BGR[::-1])[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        pixels = images.float() - self.mean
        return self.model.raw(pixels.half() if self.half_precision else pixels)


@torch.no_grad()
def _take_rgb(first: nn.Conv2d) -> None:
    """Changes the first convolution so that it takes RGB less the mean: runtimes turn channels round slowly."""
    first.weight.copy_((first.weight / torch.tensor(STD_BGR)[:, None, None]).flip(1))


def example_images() -> Tensor:
    """Returns the (B, 3, H, W) uint8 batch that networks are traced with; its content does not matter."""
    return torch.randint(0, 256, TRACED_SIZE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def exported_program(network: ExportNetwork) -> torch.export.ExportedProgram:
    """Returns the network as PyTorch's own graph, for batches and sizes of any number."""
    free = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        return torch.export.export(network, (example_images(),), dynamic_shapes=({0: free, 2: free, 3: free},))
