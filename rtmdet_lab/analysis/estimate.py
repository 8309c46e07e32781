"""Parameters and multiply-adds by arithmetic alone, to set beside what is counted on the built model (paper.md 1.2).

Covers the published large-kernel network with dense convolutions. One line per kind of layer: a reader can check the total
of any size with a pocket calculator.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmdet_lab.config.presets import STRIDES, resolve_model, scaled_blocks, stage_channels
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.core.errors import SettingError


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds per image. Costs add up."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.macs + other.macs)

    def times(self, count: int) -> Cost:
        return Cost(self.params * count, self.macs * count)


def conv(inputs: int, outputs: int, kernel: int, cells: int, groups: int = 1) -> Cost:
    """Convolution without bias and its batch norm (two numbers per channel), over ``cells`` output positions."""
    weights = inputs // groups * outputs * kernel**2
    return Cost(weights + 2 * outputs, weights * cells)


def block(channels: int, kernel: int, cells: int) -> Cost:
    """Large-kernel block: 9c^2 + k^2 c + c^2 weights and 6c norm parameters."""
    depthwise = conv(channels, channels, kernel, cells, groups=channels)
    return conv(channels, channels, 3, cells) + depthwise + conv(channels, channels, 1, cells)


def csp(inputs: int, outputs: int, blocks: int, ratio: float, kernel: int, cells: int, attention: bool = False) -> Cost:
    """CSP layer: two reductions, the blocks, attention over 2m channels, one 1 x 1 to the output."""
    inner = int(outputs * ratio)
    cost = conv(inputs, inner, 1, cells).times(2) + block(inner, kernel, cells).times(blocks)
    if attention:  # a 1 x 1 convolution with bias on the mean: one position
        cost += Cost((2 * inner) ** 2 + 2 * inner, (2 * inner) ** 2)
    return cost + conv(2 * inner, outputs, 1, cells)


def estimate(config: ModelConfig, input_size: int = 640) -> dict[str, Cost]:
    """Returns the cost of backbone, neck and head of a detector, and their total.

    Raises:
        SettingError: a block or depth-wise variant that these formulas do not describe, or a size that is not a multiple
            of 32.
    """
    config = resolve_model(config)
    if config.block != "large_kernel" or config.depthwise:
        raise SettingError("model.block and model.depthwise: the formulas describe the dense large_kernel network only")
    if input_size % 32:
        raise SettingError(f"input size is {input_size}, but must be a multiple of 32")
    cells = {stride: (input_size // stride) ** 2 for stride in (2, 4, 8, 16, 32)}
    parts = {"backbone": _backbone(config, cells), "neck": _neck(config, cells), "bbox_head": _head(config, cells)}
    return parts | {"total": sum(parts.values(), Cost())}


def _backbone(config: ModelConfig, cells: dict[int, int]) -> Cost:
    channels = stage_channels(config.width)
    width = channels[0]
    stem = conv(3, width // 2, 3, cells[2]) + conv(width // 2, width // 2, 3, cells[2])
    cost = stem + conv(width // 2, width, 3, cells[2])
    options = config.backbone
    for number, stride in enumerate((4, 8, 16, 32), start=1):
        outputs, area = channels[number], cells[stride]
        cost += conv(channels[number - 1], outputs, 3, area)
        if number == 4 and options.spp:
            cost += conv(outputs, outputs // 2, 1, area) + conv(2 * outputs, outputs, 1, area)
        blocks = scaled_blocks(options.stage_blocks[number - 1], config.depth)
        cost += csp(outputs, outputs, blocks, options.expand_ratio, config.kernel_size, area, options.channel_attention)
    return cost


def _neck(config: ModelConfig, cells: dict[int, int]) -> Cost:
    low, middle, high = stage_channels(config.width)[2:]
    blocks = scaled_blocks(config.neck.blocks, config.depth)

    def fuse(inputs: int, outputs: int, area: int) -> Cost:
        return csp(inputs, outputs, blocks, config.neck.expand_ratio, config.kernel_size, area)

    top_down = conv(high, middle, 1, cells[32]) + fuse(2 * middle, middle, cells[16])
    top_down += conv(middle, low, 1, cells[16]) + fuse(2 * low, low, cells[8])
    bottom_up = conv(low, low, 3, cells[16]) + fuse(2 * low, middle, cells[16])
    bottom_up += conv(middle, middle, 3, cells[32]) + fuse(2 * middle, high, cells[32])
    out = conv(low, low, 3, cells[8]) + conv(middle, low, 3, cells[16]) + conv(high, low, 3, cells[32])
    return top_down + bottom_up + out


def _head(config: ModelConfig, cells: dict[int, int]) -> Cost:
    channels = stage_channels(config.width)[2]
    positions = sum(cells[stride] for stride in STRIDES)
    towers = conv(channels, channels, 3, positions).times(2 * config.head.stacked_convs)
    outputs = config.num_classes + 4
    predictors = Cost(channels * outputs + outputs, channels * outputs * positions)
    levels = len(STRIDES)
    norm = 2 * channels * 2 * config.head.stacked_convs
    if config.head.sharing == "all":
        return towers + predictors
    if config.head.sharing == "convs":  # batch norm and predictors once per level
        return Cost(towers.params + (levels - 1) * norm + levels * predictors.params, towers.macs + predictors.macs)
    return Cost(levels * (towers.params + predictors.params), towers.macs + predictors.macs)
