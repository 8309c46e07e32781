"""The four basic blocks of figure 3, one beyond them, and their table ``BLOCKS``.

All map (B, C, H, W) to the same shape. ``large_kernel`` is the proposed one; ``darknet`` is YOLOX's; ``ppyoloe_rep`` and
``yolov6_rep`` are re-parameterized: several branches while training, one 3 x 3 convolution once fused
(:mod:`rtmdet_lab.layers.fuse`). ``rep_large_kernel`` is not the paper's: the proposed block with branches beside its large
kernel, as larger ones are said to need (arXiv 2203.06717); fused, it costs what ``large_kernel`` costs.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from rtmdet_lab.layers.conv import ConvBNAct, DepthwiseSeparable, conv3x3


class LargeKernelBlock(nn.Module):
    """3 x 3 convolution, depth-wise k x k, point-wise 1 x 1 (figure 3b; the released code's first convolution is dense).

    Parameters: 9c^2 + k^2 c + c^2 + 6c.
    """

    def __init__(self, channels: int, residual: bool, kernel_size: int = 5, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, depthwise=depthwise)
        self.conv2 = DepthwiseSeparable(channels, channels, kernel_size)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return out + x if self.residual else out


class DarknetBlock(nn.Module):
    """1 x 1, then 3 x 3 convolution (figure 3a)."""

    def __init__(self, channels: int, residual: bool, kernel_size: int = 3, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(channels, channels, 1)
        self.conv2 = conv3x3(channels, channels, depthwise=depthwise)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return out + x if self.residual else out


class RepConv(nn.Module):
    """3 x 3, 1 x 1 and, if asked for, identity branches, each with batch norm, summed before one SiLU.

    At inference the sum is a single 3 x 3 convolution, since every branch is linear.
    """

    def __init__(self, channels: int, identity: bool, groups: int = 1) -> None:
        super().__init__()
        self.branch3x3 = ConvBNAct(channels, channels, 3, groups=groups, activation=False)
        self.branch1x1 = ConvBNAct(channels, channels, 1, groups=groups, activation=False)
        self.identity = nn.BatchNorm2d(channels) if identity else None
        self.activate = nn.SiLU()

    @property
    def branches(self) -> tuple[ConvBNAct, ...]:
        """The convolutions of the sum, the largest kernel first."""
        return self.branch3x3, self.branch1x1

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch3x3(x) + self.branch1x1(x)
        if self.identity is not None:
            out = out + self.identity(x)
        return self.activate(out)


class RepDepthwise(nn.Module):
    """Depth-wise k x k, 3 x 3 and identity branches, each with batch norm, summed before one SiLU; k x k once fused."""

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.large = ConvBNAct(channels, channels, kernel_size, groups=channels, activation=False)
        self.small = ConvBNAct(channels, channels, min(3, kernel_size), groups=channels, activation=False)
        self.identity = nn.BatchNorm2d(channels)
        self.activate = nn.SiLU()

    @property
    def branches(self) -> tuple[ConvBNAct, ...]:
        """The convolutions of the sum, the largest kernel first."""
        return self.large, self.small

    def forward(self, x: Tensor) -> Tensor:
        return self.activate(self.large(x) + self.small(x) + self.identity(x))


class RepLargeKernelBlock(nn.Module):
    """:class:`LargeKernelBlock` whose depth-wise convolution is re-parameterized.

    Parameters: 9c^2 + (k^2 + 9)c + c^2 + 10c for k of at least 3; fused, those of the large-kernel block.
    """

    def __init__(self, channels: int, residual: bool, kernel_size: int = 5, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, depthwise=depthwise)
        self.conv2 = RepDepthwise(channels, kernel_size)
        self.conv3 = ConvBNAct(channels, channels, 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self.conv2(self.conv1(x)))
        return out + x if self.residual else out


class PPYOLOERepBlock(nn.Module):
    """3 x 3 convolution, then a re-parameterized one without identity branch (figure 3c)."""

    def __init__(self, channels: int, residual: bool, kernel_size: int = 3, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels, depthwise=depthwise)
        self.conv2 = RepConv(channels, identity=False, groups=channels if depthwise else 1)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return out + x if self.residual else out


class YOLOv6RepBlock(nn.Module):
    """One re-parameterized convolution with identity branch (figure 3d).

    ``residual`` has no separate shortcut here: the identity branch inside the sum is the residual.
    """

    def __init__(self, channels: int, residual: bool, kernel_size: int = 3, depthwise: bool = False) -> None:
        super().__init__()
        self.conv = RepConv(channels, identity=True, groups=channels if depthwise else 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


# Called as BLOCKS[kind](channels, residual, kernel_size=..., depthwise=...). Only the large-kernel blocks read kernel_size:
# the other three are defined with 3 x 3 convolutions.
BLOCKS: dict[str, Callable[..., nn.Module]] = {
    "large_kernel": LargeKernelBlock,
    "darknet": DarknetBlock,
    "ppyoloe_rep": PPYOLOERepBlock,
    "yolov6_rep": YOLOv6RepBlock,
    "rep_large_kernel": RepLargeKernelBlock,
}
