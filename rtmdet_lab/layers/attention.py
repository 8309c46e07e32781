"""Channel attention of the backbone's CSP layers (paper 3.2; released code)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ChannelAttention(nn.Module):
    """Scales each channel by hardsigmoid(W * mean + b). W is C x C: no reduction and no hidden layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))
