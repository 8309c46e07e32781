"""The network as exported: bytes in, plain tensors out, blocks fused, any batch and size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.config.settings import TaskName
from rtmdet_lab.geometry.priors import decode_distances, decode_rotated, level_points
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.head import flatten_levels
from rtmdet_lab.transforms.normalize import MEAN_BGR, STD_BGR

INPUT = "images"
TRACED_SIZE = (2, 3, 96, 128)  # B, 3, H, W, all different: what is equal by chance would be exported as equal
RAW_OUTPUTS: dict[TaskName, tuple[str, ...]] = {
    "detection": ("logits", "boxes"),
    "instance": ("logits", "boxes", "kernels", "mask_features"),
    "rotated": ("logits", "boxes"),
}


class ExportNetwork(nn.Module):
    """(B, 3, H, W) uint8 RGB to the raw dense heads, as named in ``RAW_OUTPUTS``; always in eval mode.

    Outputs are float32: logits (B, P, C), before the sigmoid; boxes (B, P, 4 or 5), decoded, pixels of the input; for
    masks kernels (B, P, 169) and mask_features (B, 8, H/8, W/8).

    Args:
        half: weights and activations in half precision; boxes are decoded in float32 all the same.
    """

    def __init__(self, model: RTMDet, half: bool = False) -> None:
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
        features = self.model.neck(self.model.backbone(pixels.half() if self.half_precision else pixels))
        head = self.model.bbox_head
        logits, distances, *others = head.predict_levels(features)
        # Level by level: checks of lengths, as `Priors` makes them, would tie the exported graph to one size.
        boxes = []
        for level, (side, stride) in enumerate(zip(distances, STRIDES, strict=True)):
            points = level_points(side.shape[2], side.shape[3], stride)
            if self.task == "rotated":
                boxes.append(decode_rotated(points, flatten_levels([side]), flatten_levels([others[0][level]])[..., 0]))
            else:
                boxes.append(decode_distances(points, flatten_levels([side])))
        raw = [flatten_levels(logits).float(), torch.cat(boxes, dim=1)]
        if self.task == "instance":
            raw += [flatten_levels(others[0]).float(), head.mask_head(features).float()]
        return tuple(raw)


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
