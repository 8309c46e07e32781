"""The published pipelines, built from a config: strong (stage 1), weak (stage 2), test (paper.md 3.1, 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torchvision.transforms import v2

from rtmdet_lab.config import AugmentConfig
from rtmdet_lab.transforms.base import Sample
from rtmdet_lab.transforms.color import RandomHSV
from rtmdet_lab.transforms.direct import JitterCrop, MosaicCrop
from rtmdet_lab.transforms.geometric import Pad, RandomCrop, RandomFlip, RandomResize, Resize
from rtmdet_lab.transforms.mixing import MixUp, Mosaic
from rtmdet_lab.transforms.partners import CachedPartners, DatasetPartners, PartnerSource
from rtmdet_lab.transforms.rotated import RandomFlip3, RandomRotate

LoadSample = Callable[[int], Sample]


def strong_pipeline(config: AugmentConfig, load: LoadSample, length: int) -> v2.Compose:
    """Returns the stage-1 pipeline: mosaic, jitter, crop, colour, flip, pad, mixup.

    Args:
        config: resolved, no preset left open.
        load, length: the training set, for partners that are read fresh (``augment.partners`` "uncached").
    """

    def partners(max_size: int, min_size: int) -> PartnerSource:
        if config.partners == "uncached":
            return DatasetPartners(load, length)
        return CachedPartners(max_size, config.pop, min_size)

    size = config.input_size
    if not config.mosaic:
        steps = _jitter(config, base=size)
    elif config.one_resize and config.crop:
        steps = [
            MosaicCrop(partners(config.mosaic_cache, min_size=5), size, config.resize_range, allow_empty=config.empty_crops)
        ]
    else:
        steps = [Mosaic(partners(config.mosaic_cache, min_size=5), size), *_jitter(config, base=2 * size)]
    steps += _color_to_pad(config)
    if config.mixup:
        steps.append(MixUp(partners(config.mixup_cache, min_size=2), size, config.mixup_prob))
    return v2.Compose(steps)


def weak_pipeline(config: AugmentConfig) -> v2.Compose:
    """Returns the stage-2 pipeline: the same without mosaic and mixup, jitter around the canvas itself."""
    return v2.Compose([*_jitter(config, base=config.input_size), *_color_to_pad(config)])


def rotated_pipeline(config: AugmentConfig, quarter_turn_classes: Collection[int]) -> v2.Compose:
    """Returns the plain pipeline of the rotated task: fit the canvas, flip, rotate, pad (paper.md 3.7).

    Args:
        quarter_turn_classes: labels of things without a direction, see :class:`RandomRotate`.
    """
    size = config.input_size
    flip, rotate = RandomFlip3(config.rotated_flip_prob), RandomRotate(config.rotate_prob, quarter_turn_classes)
    return v2.Compose([Resize(size), flip, rotate, Pad(size)])


def test_pipeline(size: int) -> v2.Compose:
    """Returns the pipeline for validation and prediction: fit ``size`` x ``size``, pad at the right and bottom."""
    return v2.Compose([Resize(size), Pad(size)])


test_pipeline.__test__ = False  # not a pytest function


def _jitter(config: AugmentConfig, base: int) -> list[v2.Transform]:
    if config.one_resize and config.crop:
        return [JitterCrop(base, config.resize_range, config.input_size, config.empty_crops)]
    resize = RandomResize(base, config.resize_range)
    return [resize, RandomCrop(config.input_size, config.empty_crops) if config.crop else Resize(config.input_size)]


def _color_to_pad(config: AugmentConfig) -> list[v2.Transform]:
    color = [RandomHSV(config.hue, config.saturation, config.value)] if config.hsv else []
    return [*color, RandomFlip(config.flip_prob), Pad(config.input_size)]
