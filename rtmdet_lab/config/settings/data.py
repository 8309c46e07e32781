"""Settings of data: which images are learned from, and how they are augmented (paper section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from rtmdet_lab.config.settings.limits import AT_LEAST_ONE, FRACTION, NOT_NEGATIVE, SIDE, Limit, Settings

_JITTER = Limit(lambda range_: 0 < range_[0] <= range_[1], "two positive ratios, the smaller first")


@dataclass(frozen=True)
class AugmentConfig(Settings):
    """The strong (stage 1) and weak (stage 2) training pipelines (paper 3.4)."""

    part = "augment"

    input_size: Annotated[int | None, SIDE] = None
    """Side of the square training canvas, pixels (paper.md 3.2, 3.7)."""
    mosaic: bool = True
    """Strong stage: four images become one on a canvas of twice the size (paper.md 2.7, 3.2)."""
    mixup: bool = True
    """Strong stage: each sample is blended half and half with another one (paper.md 2.7, 3.2)."""
    partners: Literal["cached", "uncached"] = "cached"
    """Where mosaic and mixup take their other images from: samples seen before, or fresh ones from disk (paper.md 2.7)."""
    mosaic_cache: Annotated[int | None, AT_LEAST_ONE] = None
    """Images that each loader process keeps for mosaic (paper.md 3.1)."""
    mixup_cache: Annotated[int | None, AT_LEAST_ONE] = None
    """Samples that each loader process keeps for mixup, after mosaic has made them (paper.md 3.1)."""
    cache_eviction: Literal["random", "oldest"] | None = None
    """Which image leaves a full cache (paper.md 3.1)."""
    mixup_prob: Annotated[float | None, FRACTION] = None
    """Probability that a sample is blended with another one (paper.md 3.1)."""
    resize_range: Annotated[tuple[float, float] | None, _JITTER] = None
    """Smallest and largest factor of the random resize, on the canvas for the mosaic or else on the training canvas
    (paper.md 3.1)."""
    crop: bool = True
    """Cut a random square of the canvas size out of what was resized (paper.md 3.2)."""
    empty_crops: bool | None = None
    """Keep crops that hold no object, instead of drawing another sample (paper.md 3.2, 3.6)."""
    one_resize: bool = True
    """Place images straight where mosaic, resize and crop would take them, in a third of the time; false resizes one step
    after the other, as published."""
    hsv: bool = True
    """Shift hue, saturation and value at random, each with probability 0.5 (paper.md 3.2)."""
    hue: Annotated[int, NOT_NEGATIVE] = 5
    """Largest shift of the hue, of the 180 steps that OpenCV has (paper.md 3.2)."""
    saturation: Annotated[int, NOT_NEGATIVE] = 30
    """Largest shift of the saturation, of 256 steps (paper.md 3.2)."""
    value: Annotated[int, NOT_NEGATIVE] = 30
    """Largest shift of the brightness, which is the V of HSV, of 256 steps (paper.md 3.2)."""
    flip_prob: Annotated[float, FRACTION] = 0.5
    """Probability that a sample is mirrored left to right (paper.md 3.2)."""
    rotated_recipe: Literal["plain", "mixing"] = "plain"
    """Rotated task alone: resize, flip and rotation in one stage, or mosaic, mixup and the rest in two (paper.md 3.7)."""
    rotated_flip_prob: Annotated[float, FRACTION] = 0.75
    """Rotated task alone, in place of augment.flip_prob: probability of a mirroring, left to right, top to bottom or both
    (paper.md 3.7)."""
    rotate_prob: Annotated[float, FRACTION] = 0.5
    """Rotated task alone: probability of a rotation by any angle (paper.md 3.7)."""


@dataclass(frozen=True)
class DataConfig(Settings):
    """Where images and annotations are. Empty paths: a generated data set (``rtmdet-lab data generate``)."""

    part = "data"

    train_images: str = ""
    """Folder of the training images. Empty: none are given."""
    train_annotations: str = ""
    """Annotations of the training images: a COCO file, or a folder of DOTA's text files."""
    val_images: str = ""
    """Folder of the images that validations are made on."""
    val_annotations: str = ""
    """Annotations of the validation images, in the same format as those of the training images."""
    classes: tuple[str, ...] | None = None
    """Names of the classes in the order of their labels. Left alone: all that the training set has."""
    repeat: Annotated[int, AT_LEAST_ONE] = 1
    """How often an epoch passes over the training set: for small sets, whose caches start empty with every epoch."""
    skip_empty: bool = True
    """Leave out training images without objects, as published (paper.md 3.2)."""
    min_image_size: int = 32
    """Shortest side of a training image, pixels; those with a shorter one are left out, as published (paper.md 3.2)."""
    on_bad: Literal["refuse", "skip"] = "refuse"
    """What happens to damaged images and malformed annotations: the run is refused, or they are left out and named."""
    reduced_decode: bool = False
    """Read JPEG training images at 1/2, 1/4 or 1/8 where no augmentation asks for more pixels: faster, nearly the same."""
    cache_decoded: bool = False
    """Keep decoded training images in a temporary file that all loader processes share."""
