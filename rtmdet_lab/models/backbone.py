"""CSPNeXt: the backbone, and the ImageNet classifier its published weights come from (paper 3.2, paper.md 4.7).

Channels of stem and stages are 64-128-256-512-1024 times the width multiplier; blocks are 3-6-6-3 times the depth
multiplier (table in :mod:`rtmdet_lab.config.presets`).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rtmdet_lab.config.presets import scaled_blocks, stage_channels
from rtmdet_lab.config.resolved import ResolvedModel
from rtmdet_lab.layers.conv import ConvBNAct, conv3x3
from rtmdet_lab.layers.csp import CSPLayer
from rtmdet_lab.layers.spp import SPP


class CSPNeXt(nn.Module):
    """(B, 3, H, W) to three maps at strides 8, 16, 32 with ``out_channels`` channels."""

    def __init__(self, config: ResolvedModel) -> None:
        super().__init__()
        channels = stage_channels(config.width)
        width = channels[0]
        self.stem = nn.Sequential(
            ConvBNAct(3, width // 2, 3, stride=2),
            ConvBNAct(width // 2, width // 2, 3),
            ConvBNAct(width // 2, width, 3),
        )
        for number in range(1, 5):
            in_channels, out_channels = channels[number - 1], channels[number]
            last = number == 4
            parts: list[nn.Module] = [conv3x3(in_channels, out_channels, stride=2, depthwise=config.depthwise)]
            if last and config.backbone.spp:
                parts.append(SPP(out_channels))
            parts.append(
                CSPLayer(
                    out_channels,
                    out_channels,
                    blocks=scaled_blocks(config.backbone.stage_blocks[number - 1], config.depth),
                    residual=not last,
                    expand_ratio=config.backbone.expand_ratio,
                    channel_attention=config.backbone.channel_attention,
                    block=config.block,
                    kernel_size=config.kernel_size,
                    depthwise=config.depthwise,
                )
            )
            setattr(self, f"stage{number}", nn.Sequential(*parts))
        self.out_channels = channels[2:]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.stage1(self.stem(x))
        stride8 = self.stage2(x)
        stride16 = self.stage3(stride8)
        return stride8, stride16, self.stage4(stride16)


class _LinearHead(nn.Module):
    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)  # key "head.fc", as published

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class CSPNeXtClassifier(nn.Module):
    """The backbone with global average pooling and one linear layer, trained on ImageNet (paper.md 1.6, 3.8).

    (B, 3, H, W) to (B, num_classes) logits. Its ``backbone.`` weights initialise detectors.
    """

    def __init__(self, config: ResolvedModel, num_classes: int = 1000) -> None:
        super().__init__()
        self.backbone = CSPNeXt(config)
        self.head = _LinearHead(self.backbone.out_channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(self.backbone(images)[-1], 1).flatten(1))
