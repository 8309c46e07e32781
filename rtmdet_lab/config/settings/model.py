"""Settings of the network: what is built, independent of how it is trained (paper section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rtmdet_lab.config.settings.limits import Limit, Settings

Size = Literal["nano", "tiny", "s", "m", "l", "x"]
BlockKind = Literal["large_kernel", "darknet", "ppyoloe_rep", "yolov6_rep", "rep_large_kernel"]
Sharing = Literal["convs", "all", "none"]

# Far past any network in use: a settings file with a slip of the finger, or from a stranger, must not fill the memory.
MOST_BLOCKS, LARGEST_KERNEL, LARGEST_FACTOR, MOST_CLASSES = 100, 101, 16, 100_000

_STAGES = Limit(lambda counts: all(1 <= count <= MOST_BLOCKS for count in counts), f"four counts from 1 to {MOST_BLOCKS}")
_BLOCKS = Limit(lambda count: 1 <= count <= MOST_BLOCKS, f"from 1 to {MOST_BLOCKS}")
_RATIO = Limit(lambda ratio: 0 < ratio <= 2, "in (0, 2]")
_CLASSES = Limit(lambda count: 1 <= count <= MOST_CLASSES, f"at least 1 and at most {MOST_CLASSES:,}")
_KERNEL = Limit(lambda side: 1 <= side <= LARGEST_KERNEL and side % 2 == 1, f"a positive odd number up to {LARGEST_KERNEL}")
_FACTOR = Limit(lambda factor: 0 < factor <= LARGEST_FACTOR, f"positive and at most {LARGEST_FACTOR}")


@dataclass(frozen=True)
class BackboneConfig(Settings):
    """CSPNeXt backbone (paper 3.2)."""

    part = "model.backbone"

    stage_blocks: Annotated[tuple[int, int, int, int], _STAGES] = (3, 6, 6, 3)
    """Blocks in each of the four stages, before the depth multiplier scales them (paper.md 2.2, 3.1)."""
    channel_attention: bool = True
    """Each CSP layer of the backbone weighs its channels by their averages over the image (paper.md 2.2, 4.7)."""
    expand_ratio: Annotated[float, _RATIO] = 0.5
    """Inner width of a CSP layer of the backbone over its output width: more of it moves capacity there (paper.md 2.3)."""
    spp: bool = True
    """Spatial pyramid pooling (max-pools of 5, 9 and 13) before the CSP layer of the last stage (paper.md 4.7)."""


@dataclass(frozen=True)
class NeckConfig(Settings):
    """CSP-PAFPN neck (paper 3.2)."""

    part = "model.neck"

    expand_ratio: Annotated[float, _RATIO] = 0.5
    """Inner width of a CSP layer of the neck over its output width (paper.md 2.3)."""
    blocks: Annotated[int, _BLOCKS] = 3
    """Blocks in each of the neck's four CSP layers, scaled with depth as those of the stages are (paper.md 3.1)."""


@dataclass(frozen=True)
class HeadConfig(Settings):
    """Detection head (paper 3.2, "shared detection head")."""

    part = "model.head"

    sharing: Sharing | None = None
    """What the levels have in common. "convs": convolutions, each level with its own batch norm; "all": one head for all
    levels; "none": a head of its own for every level (paper.md 2.4)."""
    stacked_convs: Annotated[int, _BLOCKS] = 2
    """3x3 convolutions in each branch, before its 1x1 predictor (paper.md 3.5)."""
    shared_tower: bool | None = None
    """Instance segmentation alone: one tower serves class and box, as in the published models, whose parameter counts and
    scores depend on it; false is the clean form (paper.md 3.6)."""


@dataclass(frozen=True)
class ModelConfig(Settings):
    """The network: what is built, independent of how it is trained."""

    part = "model"

    size: Size = "s"
    """Published model to begin with: it decides depth, width and what else is left alone (paper.md 3.1)."""
    num_classes: Annotated[int, _CLASSES] = 80
    """Classes that are told apart. A training takes their number from its data."""
    block: BlockKind = "large_kernel"
    """What CSP layers are made of: the paper's block with a depth-wise 5x5, the blocks it is compared with, or the paper's
    with a re-parameterized kernel (paper.md 2.10, 4.7)."""
    kernel_size: Annotated[int, _KERNEL] = 5
    """Side of the depth-wise kernel of large-kernel blocks, in backbone and neck alike, cells (paper.md 2.1)."""
    depth: Annotated[float | None, _FACTOR] = None
    """Multiplier of all block counts, rounded, at least one block (paper.md 3.1)."""
    width: Annotated[float | None, _FACTOR] = None
    """Multiplier of all channel counts: 1.0 has 64 to 1024 of them (paper.md 3.1)."""
    depthwise: bool | None = None
    """Depth-wise separable convolutions in place of every 3x3 one, as in the published nano."""
    exp_on_reg: bool | None = None
    """Box distances are stride * exp(output), else stride * output (paper.md 3.5)."""
    pretrained_backbone: bool | str | None = None
    """Start from ImageNet: true takes the published weights of this size, a text those of that weight file, such as a
    classification run leaves. Left alone: as the published training did, at the scale "paper", else not (paper.md 3.8)."""
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = HeadConfig()
