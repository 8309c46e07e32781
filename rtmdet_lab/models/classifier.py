"""CSPNeXt as an image classifier that can be trained here; keys are those of the published ImageNet weights."""

from __future__ import annotations

import re

from torch import Tensor

from rtmdet_lab.config.presets import resolve_model
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.models.backbone import CSPNeXtClassifier
from rtmdet_lab.models.network import Network


class ImageClassifier(CSPNeXtClassifier, Network):
    """Normalised images (B, 3, H, W) to logits (B, C), before the softmax; knows no loss."""

    task = "classification"
    class_rows = re.compile(r"head\.fc\.")

    def __init__(self, config: ModelConfig) -> None:
        self.config = resolve_model(config, self.task)
        super().__init__(self.config, config.num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.to(next(self.parameters()).dtype)).float()

    def raw(self, images: Tensor) -> tuple[Tensor]:
        return (self.forward(images),)
