"""The published pipelines, built from a config: strong (stage 1), weak (stage 2), test (paper.md 3.1, 3.2)."""

from __future__ import annotations

from collections.abc import Callable

from torchvision.transforms import v2

from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.transforms.base import Sample
from rtmdet_lab.transforms.color import RandomHSV
from rtmdet_lab.transforms.fused import JitterCrop, MosaicCrop
from rtmdet_lab.transforms.geometric import Pad, RandomCrop, RandomFlip, RandomResize, Resize
from rtmdet_lab.transforms.mixing import MixUp, Mosaic
from rtmdet_lab.transforms.partners import CachedPartners, DatasetPartners, PartnerSource
from rtmdet_lab.transforms.rotated import JitterRotateCrop, RandomFlip3, RandomRotate

LoadSample = Callable[[int], Sample]


def strong_pipeline(config: AugmentConfig, load: LoadSample, length: int, rotate: RandomRotate | None = None) -> v2.Compose:
    """Returns the stage-1 pipeline: mosaic, jitter, (rotation,) crop, colour, flip, pad, mixup.

    Args:
        config: resolved, no preset left open.
        load, length: the training set, for partners that are read fresh (``augment.partners`` "uncached").
        rotate: the rotation of rotated boxes (paper.md 3.7, "aug"), which are also mirrored in three ways.
    """

    def partners(max_size: int, min_size: int) -> PartnerSource:
        if config.partners == "uncached":
            return DatasetPartners(load, length)
        return CachedPartners(max_size, config.cache_eviction, min_size)

    size = config.input_size
    if not config.mosaic:
        steps = _jitter(config, size, rotate)
    elif config.one_resize and config.crop and rotate is None:
        steps = [
            MosaicCrop(partners(config.mosaic_cache, min_size=5), size, config.resize_range, allow_empty=config.empty_crops)
        ]
    else:
        steps = [Mosaic(partners(config.mosaic_cache, min_size=5), size), *_jitter(config, 2 * size, rotate)]
    steps += _color_to_pad(config, rotate)
    if config.mixup:
        steps.append(MixUp(partners(config.mixup_cache, min_size=2), size, config.mixup_prob))
    return v2.Compose(steps)


def weak_pipeline(config: AugmentConfig, rotate: RandomRotate | None = None) -> v2.Compose:
    """Returns the stage-2 pipeline: the same without mosaic and mixup, jitter around the canvas itself."""
    return v2.Compose([*_jitter(config, config.input_size, rotate), *_color_to_pad(config, rotate)])


def plain_pipeline(config: AugmentConfig, rotate: RandomRotate) -> v2.Compose:
    """Returns the plain pipeline of the rotated task: fit the canvas, flip, rotate, pad (paper.md 3.7)."""
    size = config.input_size
    return v2.Compose([Resize(size), RandomFlip3(config.rotated_flip_prob), rotate, Pad(size)])


def largest_side(config: AugmentConfig, plain: bool = False) -> int:
    """Returns the longest side, in pixels, that the training pipelines scale an image to.

    The first images of an epoch, which a mosaic leaves alone (:meth:`Mixing.stays_alone`), may become twice as large.

    Args:
        config: resolved.
        plain: of the plain pipeline of the rotated task, which fits the canvas.
    """
    if plain:
        return config.input_size
    # Jitter scales what fits the canvas, or in a mosaic half of it. The published mosaic, resize after resize, and a
    # partner of mixup that is read fresh fit the canvas first.
    ratio = max(config.resize_range[1], 1.0)
    return -(-int(2 * config.input_size * ratio) // 2)


def test_pipeline(size: int) -> v2.Compose:
    """Returns the pipeline for validation and prediction: fit ``size`` x ``size``, pad at the right and bottom."""
    return v2.Compose([Resize(size), Pad(size)])


test_pipeline.__test__ = False  # not a pytest function


def _jitter(config: AugmentConfig, base: int, rotate: RandomRotate | None) -> list[v2.Transform]:
    size = config.input_size
    if config.one_resize and config.crop:
        if rotate is not None:
            return [JitterRotateCrop(base, config.resize_range, rotate, size, config.empty_crops)]
        return [JitterCrop(base, config.resize_range, size, config.empty_crops)]
    turn = [] if rotate is None else [rotate]
    fit = RandomCrop(size, config.empty_crops) if config.crop else Resize(size)
    return [RandomResize(base, config.resize_range), *turn, fit]


def _color_to_pad(config: AugmentConfig, rotate: RandomRotate | None) -> list[v2.Transform]:
    color = [RandomHSV(config.hue, config.saturation, config.value)] if config.hsv else []
    flip = RandomFlip(config.flip_prob) if rotate is None else RandomFlip3(config.rotated_flip_prob)
    return [*color, flip, Pad(config.input_size)]
