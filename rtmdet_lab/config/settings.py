"""Every setting of an experiment, as nested frozen dataclasses.

Answers "what can be changed, and what is it called?". A row of a paper table is a mapping from dotted setting names to
values; :mod:`rtmdet_lab.config.overrides` turns it into a new config.

Defaults are the published recipe (paper section 4 and the released configurations). ``None`` in a field that names a
preset means "the published value of this task and size" (:mod:`rtmdet_lab.config.presets` fills the gaps).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError

if TYPE_CHECKING:
    TaskName = str
else:  # the names of the table, so that settings are checked against them
    TaskName = Literal[tuple(TASKS)]
Size = Literal["nano", "tiny", "s", "m", "l", "x"]
BlockKind = Literal["large_kernel", "darknet", "ppyoloe_rep", "yolov6_rep", "rep_large_kernel"]
Sharing = Literal["convs", "all", "none"]

# Far past any network in use: a settings file with a slip of the finger, or from a stranger, must not fill the memory.
MOST_BLOCKS, LARGEST_KERNEL, LARGEST_FACTOR, MOST_CLASSES = 100, 101, 16, 100_000


def _require(condition: bool, setting: str, value: object, allowed: str) -> None:
    if not condition:
        raise SettingError(f"{setting} is {value!r}, but must be {allowed}")


@dataclass(frozen=True)
class BackboneConfig:
    """CSPNeXt backbone (paper 3.2)."""

    stage_blocks: tuple[int, int, int, int] = (3, 6, 6, 3)  # before scaling with the depth multiplier
    channel_attention: bool = True
    expand_ratio: float = 0.5  # inner width of a CSP layer over its output width
    spp: bool = True  # spatial pyramid pooling before the last stage's CSP layer

    def __post_init__(self) -> None:
        ok = all(1 <= count <= MOST_BLOCKS for count in self.stage_blocks)
        _require(ok, "backbone.stage_blocks", self.stage_blocks, f"four counts from 1 to {MOST_BLOCKS}")
        _require(0 < self.expand_ratio <= 2, "backbone.expand_ratio", self.expand_ratio, "in (0, 2]")


@dataclass(frozen=True)
class NeckConfig:
    """CSP-PAFPN neck (paper 3.2)."""

    expand_ratio: float = 0.5
    blocks: int = 3  # per CSP layer, before scaling with the depth multiplier

    def __post_init__(self) -> None:
        _require(0 < self.expand_ratio <= 2, "neck.expand_ratio", self.expand_ratio, "in (0, 2]")
        _require(1 <= self.blocks <= MOST_BLOCKS, "neck.blocks", self.blocks, f"from 1 to {MOST_BLOCKS}")


@dataclass(frozen=True)
class HeadConfig:
    """Detection head (paper 3.2, "shared detection head")."""

    sharing: Sharing | None = None  # convs: shared convolutions, own BN; all: one head for all levels; none: own heads
    stacked_convs: int = 2
    # Instance only: one tower serves class and box, as in the published models, whose parameter counts and APs depend on it
    # (paper.md 3.6); False is the clean form. None: True.
    shared_tower: bool | None = None

    def __post_init__(self) -> None:
        ok = 1 <= self.stacked_convs <= MOST_BLOCKS
        _require(ok, "head.stacked_convs", self.stacked_convs, f"from 1 to {MOST_BLOCKS}")


@dataclass(frozen=True)
class ModelConfig:
    """The network: what is built, independent of how it is trained."""

    size: Size = "s"
    num_classes: int = 80
    block: BlockKind = "large_kernel"
    kernel_size: int = 5  # depth-wise kernel of the large-kernel blocks, backbone and neck alike; odd
    depth: float | None = None
    width: float | None = None
    depthwise: bool | None = None  # depth-wise separable in place of every 3x3 convolution (published nano)
    exp_on_reg: bool | None = None  # distances = stride * exp(output) instead of stride * output
    # Start from the published ImageNet weights of this size. None: where published at the scale "paper", else not.
    # A text: those of this weight file, such as a classification run of this size leaves.
    pretrained_backbone: bool | str | None = None
    backbone: BackboneConfig = BackboneConfig()
    neck: NeckConfig = NeckConfig()
    head: HeadConfig = HeadConfig()

    def __post_init__(self) -> None:
        ok = 1 <= self.num_classes <= MOST_CLASSES
        _require(ok, "model.num_classes", self.num_classes, f"at least 1 and at most {MOST_CLASSES:,}")
        ok = 1 <= self.kernel_size <= LARGEST_KERNEL and self.kernel_size % 2 == 1
        _require(ok, "model.kernel_size", self.kernel_size, f"a positive odd number up to {LARGEST_KERNEL}")
        for name in ("depth", "width"):
            factor = getattr(self, name)
            ok = factor is None or 0 < factor <= LARGEST_FACTOR
            _require(ok, f"model.{name}", factor, f"positive and at most {LARGEST_FACTOR}")


@dataclass(frozen=True)
class AssignerConfig:
    """Which points learn which object (paper 3.3).

    The cost settings belong to ``dynamic_soft_label``; ``simota``, ``atss`` and ``task_aligned`` (TOOD) are baselines with
    their own fixed rules and refuse them, so that no setting is silently without effect.
    """

    kind: Literal["dynamic_soft_label", "simota", "atss", "task_aligned"] = "dynamic_soft_label"
    topk: int | None = None  # None: 13; 10 for simota, 9 for atss
    cls_cost: Literal["soft", "hard", "none"] = "soft"
    iou_cost: Literal["log", "giou", "linear", "none"] = "log"
    center_cost: Literal["soft", "fixed", "none"] = "soft"
    cls_weight: float = 1.0
    iou_weight: float = 3.0
    center_weight: float = 1.0
    center_radius: float = 3.0  # soft: distance, in strides, that costs 1; fixed: half side of the free square
    center_base: float = 10.0  # soft: factor by which each further stride costs more

    def __post_init__(self) -> None:
        _require(self.topk is None or self.topk >= 1, "assigner.topk", self.topk, "at least 1")
        _require(self.center_base > 0, "assigner.center_base", self.center_base, "positive")
        if self.kind != "dynamic_soft_label":
            for item in dataclasses.fields(self):
                if item.name not in ("kind", "topk") and getattr(self, item.name) != item.default:
                    raise SettingError(
                        f"assigner.{item.name} has no effect with assigner.kind {self.kind!r}: leave it at {item.default!r}"
                    )


@dataclass(frozen=True)
class LossConfig:
    """Training losses and their weights (paper 3.3; released configurations)."""

    cls: Literal["quality_focal", "focal"] = "quality_focal"
    cls_weight: float = 1.0
    cls_beta: float = 2.0  # exponent of the quality focal factor |y - p|
    bbox: Literal["giou", "iou", "diou", "ciou"] = "giou"
    bbox_weight: float = 2.0
    quality_weighting: bool = True  # weight each positive's box loss with its matched IoU
    rotated: Literal["rotated_iou", "probiou", "kld"] = "rotated_iou"  # box loss of the rotated task, in place of ``bbox``
    mask_weight: float = 2.0  # instance only, as the next one
    mask_positives: int | None = None  # points per batch whose mask is learned, a random choice; None: all, as published

    def __post_init__(self) -> None:
        for name in ("cls_weight", "cls_beta", "bbox_weight", "mask_weight"):
            _require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "zero or more")
        ok = self.mask_positives is None or self.mask_positives >= 1
        _require(ok, "loss.mask_positives", self.mask_positives, "at least 1")


@dataclass(frozen=True)
class AugmentConfig:
    """The strong (stage 1) and weak (stage 2) training pipelines (paper 3.4)."""

    input_size: int | None = None  # training canvas, square, pixels
    mosaic: bool = True
    mixup: bool = True
    partners: Literal["cached", "uncached"] = "cached"  # where mosaic and mixup take their other images from
    mosaic_cache: int | None = None  # images
    mixup_cache: int | None = None
    cache_eviction: Literal["random", "oldest"] | None = None  # which image leaves a full cache
    mixup_prob: float | None = None
    resize_range: tuple[float, float] | None = None  # large-scale jitter
    crop: bool = True
    empty_crops: bool | None = None  # keep crops without objects; None: as published, only in the instance task
    one_resize: bool = True  # place images straight into the final window; False: the published resize after resize
    hsv: bool = True
    hue: int = 5  # largest shifts; OpenCV's hue has 180 steps
    saturation: int = 30
    value: int = 30
    flip_prob: float = 0.5
    # Rotated only, as the next two: resize, flip and rotation in one stage, or all of the above in two.
    rotated_recipe: Literal["plain", "mixing"] = "plain"
    rotated_flip_prob: float = 0.75  # left to right, top to bottom or both; takes the place of flip_prob
    rotate_prob: float = 0.5

    def __post_init__(self) -> None:
        side = self.input_size
        _require(side is None or side >= 32, "augment.input_size", side, "at least 32 pixels")
        _require(side is None or side % 32 == 0, "augment.input_size", side, "a multiple of 32")
        for name in ("mosaic_cache", "mixup_cache"):
            size = getattr(self, name)
            _require(size is None or size >= 1, f"augment.{name}", size, "at least 1")
        for name in ("hue", "saturation", "value"):
            _require(getattr(self, name) >= 0, f"augment.{name}", getattr(self, name), "zero or more")
        for name in ("mixup_prob", "flip_prob", "rotated_flip_prob", "rotate_prob"):
            prob = getattr(self, name)
            _require(prob is None or 0 <= prob <= 1, f"augment.{name}", prob, "between 0 and 1")
        jitter = self.resize_range
        ok = jitter is None or 0 < jitter[0] <= jitter[1]
        _require(ok, "augment.resize_range", jitter, "two positive ratios, the smaller first")


@dataclass(frozen=True)
class TrainConfig:
    """Optimizer, schedule, EMA and the two stages (paper 3.5 and appendix; released configurations)."""

    init_weights: str = ""  # start from these: a path, URL or zoo name
    reset_predictors: bool = False  # leave the class predictors of init_weights out (another number of classes)
    epochs: int | None = None
    weak_epochs: int | None = None  # the last epochs, with the weak pipeline; None: their published share of ``epochs``
    batch_size: int | None = None  # images per optimizer step over all processes, before accumulation
    gradient_accumulation_steps: int = 1  # batches per optimizer step
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float | None = None  # None: the published one (sgd: 0.01 at 64), scaled linearly with the images per step
    momentum: float = 0.9  # sgd only
    weight_decay: float = 0.05
    decay_norm_and_bias: bool = False
    schedule: Literal["flat_cosine", "cosine", "constant"] = "flat_cosine"
    lr_floor: float = 0.05  # last learning rate over the base one
    warmup_steps: int = 1000  # optimizer steps; at most a tenth of the run
    warmup_factor: float = 1e-5
    grad_clip: float | None = None  # largest gradient norm
    ema: bool = True
    ema_momentum: float = 0.0002
    ema_gamma: int = 2000
    amp: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    compile: bool = False
    norm_eval: bool | None = None  # batch norm in eval mode; None: only when loaded weights have it folded in
    # Epochs between validations; None: the published share of the run, such as 10 of 300 and 12 of 36.
    val_interval: int | None = None
    # Whose score is the run's: the last averaged weights, or those of the best validation, which favours runs with many.
    score_of: Literal["last", "best"] = "last"
    keep_every: int = 0  # epochs between weight files that are kept, the untrained one included; 0: none are
    workers: int = 2  # loader processes

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "val_interval", "ema_gamma"):
            count = getattr(self, name)
            _require(count is None or count >= 1, f"train.{name}", count, "at least 1")
        zero = ("weak_epochs", "lr", "warmup_steps", "warmup_factor", "workers", "momentum", "weight_decay", "keep_every")
        for name in zero:
            value = getattr(self, name)
            _require(value is None or value >= 0, f"train.{name}", value, "zero or more")
        _require(0 <= self.lr_floor <= 1, "train.lr_floor", self.lr_floor, "between 0 and 1")
        _require(0 < self.ema_momentum <= 1, "train.ema_momentum", self.ema_momentum, "in (0, 1]")
        ok = self.grad_clip is None or self.grad_clip > 0
        _require(ok, "train.grad_clip", self.grad_clip, "positive")


@dataclass(frozen=True)
class TestConfig:
    """Inference settings. None: those behind the published AP of the task (released configurations, config/presets.py)."""

    __test__ = False  # not a pytest class

    input_size: int | None = None  # None: the tile, or else the training canvas
    score_threshold: float | None = None
    nms_iou: float | None = None
    max_per_level: int | None = None  # candidates per level before NMS
    max_per_image: int | None = None  # with ``tile``: per window
    batch_size: int = 16
    tile: int | None = None  # side of the windows that large images are cut into, pixels; None: images stay whole
    overlap: int = 200  # pixels that neighbouring windows share (published with windows of 1024)
    tta: bool = False  # test-time augmentation: the task's published views, where the next two settings name no others
    tta_scales: tuple[float, ...] | None = None  # sizes each image is looked at in, 1.0 being the plain one
    tta_flip: bool | None = None  # also mirrored: left to right, and rotated boxes top to bottom and both ways
    tta_nms_iou: float | None = None  # overlap that suppresses when the views become one result
    tta_max_per_image: int | None = None  # kept then; windows have no such limit

    def post_processing(self) -> dict[str, Any]:
        """Returns by name what makes detections of the network's output for one input, and the size of that input."""
        names = ("input_size", "score_threshold", "nms_iou", "max_per_level", "max_per_image")
        return {name: getattr(self, name) for name in names}

    def changed(self, given: Mapping[str, Any]) -> TestConfig:
        """Returns these settings with those that are given, by name, in their place; None is not given."""
        given = {name: value for name, value in given.items() if value is not None}
        if "tta_scales" in given:
            given["tta_scales"] = tuple(given["tta_scales"])
        return dataclasses.replace(self, **given)

    def __post_init__(self) -> None:
        for name in ("tile", "input_size"):
            size = getattr(self, name)
            _require(size is None or (size >= 32 and size % 32 == 0), f"test.{name}", size, "a multiple of 32")
        score = self.score_threshold
        _require(score is None or 0 <= score < 1, "test.score_threshold", score, "in [0, 1)")
        for name in ("nms_iou", "tta_nms_iou"):
            iou = getattr(self, name)
            _require(iou is None or 0 < iou <= 1, f"test.{name}", iou, "in (0, 1]")
        _require(self.overlap >= 0, "test.overlap", self.overlap, "zero or more")
        scales = self.tta_scales
        ok = scales is None or (len(scales) > 0 and all(0.1 <= scale <= 10 for scale in scales))
        _require(ok, "test.tta_scales", scales, "a list of factors from 0.1 to 10")
        for name in ("max_per_level", "max_per_image", "batch_size", "tta_max_per_image"):
            count = getattr(self, name)
            _require(count is None or count >= 1, f"test.{name}", count, "at least 1")


INFERENCE = TestConfig(batch_size=8)  # what ``predict`` and the verbs of the command begin with


@dataclass(frozen=True)
class DataConfig:
    """Where images and annotations are. Empty paths: a generated data set (``rtmdet-lab data generate``)."""

    train_images: str = ""
    train_annotations: str = ""
    val_images: str = ""
    val_annotations: str = ""
    classes: tuple[str, ...] | None = None  # names in label order; None: all categories of the file
    repeat: int = 1  # passes over the training set per epoch
    skip_empty: bool = True  # leave out training images without boxes, as published
    min_image_size: int = 32  # leave out training images with a smaller side, as published
    on_bad: Literal["refuse", "skip"] = "refuse"  # damaged images and malformed annotations
    reduced_decode: bool = False  # read JPEG training images at 1/2, 1/4 or 1/8 where no augmentation asks for more pixels
    cache_decoded: bool = False  # keep decoded training images in a temporary file that all loader processes share

    def __post_init__(self) -> None:
        _require(self.repeat >= 1, "data.repeat", self.repeat, "at least 1")


@dataclass(frozen=True)
class ExperimentConfig:
    """One run: a task, a network, how it is taught, on what, and the seed."""

    task: TaskName = "detection"
    model: ModelConfig = ModelConfig()
    assigner: AssignerConfig = AssignerConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()
    data: DataConfig = DataConfig()
    seed: int = 0
