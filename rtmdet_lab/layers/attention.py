"""Channel attention of the backbone's CSP layers (paper 3.2; released code)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class ChannelAttention(nn.Module):
    """Scales each channel by hardsigmoid(W * mean + b). W is C x C: no reduction and no hidden layer; b starts at 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        assert self.fc.bias is not None
        nn.init.zeros_(self.fc.bias)  # as published: every channel starts near a half

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(F.adaptive_avg_pool2d(x, 1)))
