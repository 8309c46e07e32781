"""Settings of learning: label assignment, losses, optimizer and schedule (paper sections 3.3, 3.5 and appendix)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from rtmdet_lab.config.settings.limits import (
    AT_LEAST_ONE,
    FRACTION,
    NOT_NEGATIVE,
    OVER_ZERO_TO_ONE,
    POSITIVE,
    Limit,
    Settings,
)
from rtmdet_lab.core.errors import SettingError

_BETAS = Limit(lambda betas: all(0 <= beta < 1 for beta in betas), "two numbers in [0, 1)")


@dataclass(frozen=True)
class AssignerConfig(Settings):
    """Which points learn which object (paper 3.3).

    The cost settings belong to ``dynamic_soft_label``; ``simota``, ``atss`` and ``task_aligned`` (TOOD) are baselines with
    their own fixed rules and refuse them, so that no setting is silently without effect.
    """

    part = "assigner"

    kind: Literal["dynamic_soft_label", "simota", "atss", "task_aligned"] = "dynamic_soft_label"
    """How points are matched with objects: the paper's way, or a baseline with fixed rules of its own (paper.md 2.6)."""
    topk: Annotated[int | None, AT_LEAST_ONE] = None
    """Points per object that are compared: the best, whose overlaps are summed into its dynamic k; for task_aligned those
    that learn it, for atss the nearest of each level. Left alone: 13; 10 for simota, 9 for atss (paper.md 3.3)."""
    cls_cost: Literal["soft", "hard", "none"] = "soft"
    """Classification term of the matching cost, against the overlap as a soft label or against 1 (paper.md 2.5, 4.1)."""
    iou_cost: Literal["log", "giou", "linear", "none"] = "log"
    """Overlap term of the matching cost: -log(IoU), 1 - GIoU or 1 - IoU (paper.md 2.5, 4.1)."""
    center_cost: Literal["soft", "fixed", "none"] = "soft"
    """How far points from an object's center are kept off: by a cost that grows smoothly, or by a square around the center
    outside of which points are too expensive (paper.md 2.5, 4.1)."""
    cls_weight: float = 1.0
    """Factor of the classification term in the sum of costs (paper.md 3.3)."""
    iou_weight: float = 3.0
    """Factor of the overlap term in the sum of costs (paper.md 3.3)."""
    center_weight: float = 1.0
    """Factor of the center term in the sum of costs (paper.md 3.3)."""
    center_radius: float = 3.0
    """Distance at which the soft center term costs 1, or half the side of the fixed square, strides (paper.md 3.3)."""
    center_base: Annotated[float, POSITIVE] = 10.0
    """Factor by which each further stride of distance costs more in the soft center term (paper.md 4.1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind != "dynamic_soft_label":
            for item in dataclasses.fields(self):
                if item.name not in ("kind", "topk") and getattr(self, item.name) != item.default:
                    raise SettingError(
                        f"assigner.{item.name} has no effect with assigner.kind {self.kind!r}: leave it at {item.default!r}"
                    )


@dataclass(frozen=True)
class LossConfig(Settings):
    """Training losses and their weights (paper 3.3; released configurations)."""

    part = "loss"

    cls: Literal["quality_focal", "focal"] = "quality_focal"
    """Classification loss: towards the overlap of the match, or towards 1 (paper.md 4.2)."""
    cls_weight: Annotated[float, NOT_NEGATIVE] = 1.0
    """Factor of the classification loss in the sum of losses (paper.md 3.4)."""
    cls_beta: Annotated[float, NOT_NEGATIVE] = 2.0
    """Exponent of the focal factor |y - p|: higher learns less from predictions that are nearly right (paper.md 4.2)."""
    bbox: Literal["giou", "iou", "diou", "ciou"] = "giou"
    """Which overlap the loss of upright boxes makes larger (paper.md 4.3)."""
    bbox_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Factor of the box loss, upright or rotated, in the sum of losses (paper.md 3.4)."""
    quality_weighting: bool = True
    """The box loss of each positive point is scaled by the overlap of its match (paper.md 4.3)."""
    rotated: Literal["rotated_iou", "probiou", "kld"] = "rotated_iou"
    """Box loss of the rotated task, in place of loss.bbox: the exact overlap (published), or a distance between Gaussians
    (paper.md 3.7)."""
    mask_weight: Annotated[float, NOT_NEGATIVE] = 2.0
    """Factor of the Dice loss of masks in the sum of losses (paper.md 4.4)."""
    mask_positives: Annotated[int | None, AT_LEAST_ONE] = None
    """Most points per batch whose mask is learned, a random choice, to save memory. Left alone: all (paper.md 3.6)."""


@dataclass(frozen=True)
class TrainConfig(Settings):
    """Optimizer, schedule, EMA and the two stages (paper 3.5 and appendix; released configurations)."""

    part = "train"

    init_weights: str = ""
    """Weights of a whole model to start from: a path, an address or a published name. Empty: weights are drawn."""
    reset_predictors: bool = False
    """Leave the class predictors of train.init_weights out, for other classes."""
    epochs: Annotated[int | None, AT_LEAST_ONE] = None
    """Length of the run; an epoch is data.repeat passes over the training set (paper.md 3.2, 3.7)."""
    weak_epochs: Annotated[int | None, NOT_NEGATIVE] = None
    """How many of the last epochs have the weak pipeline, without mosaic and mixup. Left alone: their published share of
    train.epochs (paper.md 2.7, 3.2)."""
    batch_size: Annotated[int | None, AT_LEAST_ONE] = None
    """Images per forward pass over all processes together, before accumulation (paper.md 3.2)."""
    gradient_accumulation_steps: Annotated[int, AT_LEAST_ONE] = 1
    """Batches whose gradients are summed for one optimizer step, where memory holds no larger batch."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """What updates the weights: AdamW (published), or SGD with Nesterov momentum (paper.md 2.8)."""
    lr: Annotated[float | None, NOT_NEGATIVE] = None
    """Learning rate after the warm-up. Left alone: the published one (sgd: 0.01 at 64 images), scaled linearly with the
    images per optimizer step (paper.md 3.2, 3.7)."""
    momentum: Annotated[float, NOT_NEGATIVE] = 0.9
    """Momentum of SGD; adamw has train.adam_betas instead."""
    adam_betas: Annotated[tuple[float, float], _BETAS] = (0.9, 0.999)
    """Decay per step of AdamW's averages of the gradient and of its square (paper.md 3.2)."""
    adam_eps: Annotated[float, POSITIVE] = 1e-8
    """What AdamW adds to the root of the averaged square, by which it divides (paper.md 3.2)."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.05
    """Share of the weights, times the learning rate, that each step takes off (paper.md 3.2)."""
    decay_norm_and_bias: bool = False
    """Norm parameters and biases decay, too; published trainings exempt them (paper.md 2.8)."""
    schedule: Literal["flat_cosine", "cosine", "constant"] = "flat_cosine"
    """Learning rate over the run: constant for half of it and then a cosine, all a cosine, or constant (paper.md 4.5)."""
    lr_floor: Annotated[float, FRACTION] = 0.05
    """Last learning rate of a cosine, as a share of train.lr (paper.md 4.5)."""
    warmup_steps: Annotated[int, NOT_NEGATIVE] = 1000
    """Optimizer steps over which the learning rate rises; at most a tenth of the run (paper.md 3.2)."""
    warmup_factor: Annotated[float, NOT_NEGATIVE] = 1e-5
    """Share of train.lr that the warm-up begins with (paper.md 3.2)."""
    grad_clip: Annotated[float | None, POSITIVE] = None
    """Largest norm of the gradient; longer ones are shortened to it. Left alone: none is, as published."""
    ema: bool = True
    """Validate and keep a moving average of the weights instead of the weights themselves (paper.md 4.6)."""
    ema_momentum: Annotated[float, OVER_ZERO_TO_ONE] = 0.0002
    """Share of the new weights in the average in the long run, which is 1 - decay (paper.md 4.6)."""
    ema_gamma: Annotated[int, AT_LEAST_ONE] = 2000
    """Optimizer steps in which the share of the new weights, nearly 1 at first, falls by a factor of e (paper.md 4.6)."""
    amp: Literal["off", "bf16", "fp16"] = "off"
    """Mixed precision of the forward pass; fp16 scales the loss. The published recipe has none (paper.md 3.2)."""
    channels_last: bool = True
    """Images and weights lie in memory pixel by pixel, which most kernels read faster; results differ by rounding alone."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start, faster steps on a GPU."""
    norm_eval: bool | None = None
    """Batch norm keeps its statistics in training. Left alone: only where the loaded weights have it folded in."""
    val_interval: Annotated[int | None, AT_LEAST_ONE] = None
    """Epochs between validations. Left alone: the published share of the run, such as 10 of 300 and 12 of 36
    (paper.md 3.2, 3.7)."""
    score_of: Literal["last", "best"] = "last"
    """Whose score is the run's: that of the last averaged weights, or of the best validation (the best of many is luck)."""
    keep_every: Annotated[int, NOT_NEGATIVE] = 0
    """Epochs between weight files that are kept, beginning with the untrained ones; 0 keeps none."""
    workers: Annotated[int, NOT_NEGATIVE] = 2
    """Processes that load and augment images; 0 does it in the training process."""
