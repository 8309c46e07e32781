"""The data that flows between floors: ground truth, predictions, priors, assignments.

Conventions: B images, P points over all levels (level-major: stride 8, then 16, then 32; row-major inside a level),
C classes, G ground truths, N detections. Boxes are float32 pixels, x right, y down: (..., 4) x1 y1 x2 y2, or (..., 5)
cx cy w h angle with the angle in radians, le90 range [-pi/2, pi/2), positive from +x towards +y. Labels are int64 in
[0, C); background is index -1, never a class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass
class _Record:
    """What the dataclasses below share: ``.to`` for every tensor field."""

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Returns a copy with every tensor moved as by ``Tensor.to``."""
        parts = {name: value for name, value in vars(self).items() if isinstance(value, (Tensor, _Record))}
        moved: dict[str, Any] = {name: value.to(*args, **kwargs) for name, value in parts.items()}
        return dataclasses.replace(self, **moved)


@dataclass
class _PerObject(_Record):
    """Records whose tensor fields all have one row per object."""

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in self._tensors().items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise ValueError(f"{type(self).__name__} needs fields of one length, got {listed}")

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        return len(next(iter(self._tensors().values())))

    def __getitem__(self, index: Any) -> Self:
        """Returns the objects chosen by a boolean mask, an index tensor, a list or a slice."""
        if isinstance(index, int):
            index = [index]
        chosen: dict[str, Any] = {name: value[index] for name, value in self._tensors().items()}
        return dataclasses.replace(self, **chosen)


@dataclass(frozen=True)
class ImageMeta:
    """How an image got onto the network canvas, so that boxes can go back.

    ``scale`` is (x, y): canvas pixels = original pixels * scale + offset. The offset is zero unless padding was added at
    the left or top.
    """

    image_id: int | str | None = None
    original_size: tuple[int, int] | None = None  # (height, width) of the file, pixels
    scale: tuple[float, float] = (1.0, 1.0)  # (x, y)
    offset: tuple[float, float] = (0.0, 0.0)  # (x, y), canvas pixels
    canvas_size: tuple[int, int] | None = None  # (height, width) of the padded network input
    path: str | None = None


@dataclass
class Targets(_PerObject):
    """Ground truth of one image."""

    boxes: Tensor  # (G, 4) or (G, 5), pixels
    labels: Tensor  # (G,) int64
    masks: Tensor | None = None  # (G, H, W) bool, instance task: of the canvas, or of every 4th of its pixels from (2, 2)
    centers: Tensor | None = None  # (G, 2) x, y, instance task: centers of mass; None: taken from ``masks`` of the canvas
    ignore: Tensor | None = None  # (G,) bool: crowd or difficult, neither learned nor counted
    areas: Tensor | None = None  # (G,) pixels^2 as annotated (COCO: of the mask); None: the box's
    meta: ImageMeta | None = None

    def learnable(self) -> Targets:
        """Returns the objects a detector is taught: everything that is not marked ``ignore``."""
        return self if self.ignore is None else self[~self.ignore]

    @staticmethod
    def empty(box_size: int = 4, meta: ImageMeta | None = None) -> Targets:
        return Targets(torch.zeros(0, box_size), torch.zeros(0, dtype=torch.int64), meta=meta)


@dataclass
class Detections(_PerObject):
    """Result for one image, best score first, in original pixels."""

    boxes: Tensor  # (N, 4) or (N, 5)
    scores: Tensor  # (N,) in [0, 1]
    labels: Tensor  # (N,) int64
    masks: Tensor | None = None  # (N, H, W) bool
    meta: ImageMeta | None = None


@dataclass
class Priors(_PerObject):
    """The points that predict: one per cell of every level."""

    points: Tensor  # (P, 2) x, y in pixels
    strides: Tensor  # (P,) pixels


@dataclass
class DensePredictions(_Record):
    """What a network says about every point of every image."""

    logits: Tensor  # (B, P, C), before the sigmoid
    boxes: Tensor  # (B, P, 4 or 5), decoded, pixels, float32
    priors: Priors
    kernels: Tensor | None = None  # (B, P, 169) instance: dynamic convolution parameters
    mask_features: Tensor | None = None  # (B, 8, H/8, W/8) instance: mask prototypes

    def __post_init__(self) -> None:
        shape = self.logits.shape[:2]
        if self.boxes.shape[:2] != shape or len(self.priors) != shape[1]:
            raise ValueError(
                f"logits {tuple(self.logits.shape)}, boxes {tuple(self.boxes.shape)} and {len(self.priors)} priors "
                "do not belong together"
            )

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, index: Any) -> DensePredictions:
        """Returns the predictions for the chosen images; the priors are common to all of them."""
        if isinstance(index, int):
            number = range(len(self))[index]
            index = slice(number, number + 1)  # nothing is copied
        return self._mapped(lambda value: value[index])

    def detach(self) -> DensePredictions:
        return self._mapped(Tensor.detach)

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> DensePredictions:
        values = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        changed: dict[str, Any] = {name: function(value) for name, value in values.items()}
        return dataclasses.replace(self, **changed)

    def level_sizes(self) -> list[int]:
        """Returns the number of points of each level, in order."""
        # Strides are sorted and each level's are equal, so the counts of the distinct values are the level sizes.
        return torch.unique_consecutive(self.priors.strides, return_counts=True)[1].tolist()


@dataclass
class Assignment(_Record):
    """Which object each point learns, and how well it already fits."""

    gt_index: Tensor  # (B, P) int64 into that image's targets, -1 where background
    quality: Tensor  # (B, P) IoU with the assigned object, 0 for background

    def __len__(self) -> int:
        return len(self.gt_index)

    def __getitem__(self, index: Any) -> Assignment:
        if isinstance(index, int):
            index = [index]
        return Assignment(self.gt_index[index], self.quality[index])

    @property
    def positive(self) -> Tensor:
        """(B, P) bool: the points that learn an object."""
        return self.gt_index >= 0
