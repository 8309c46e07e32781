"""The two stages of a run, strong augmentation, then weak (paper 3.4), and the order of their images."""

from __future__ import annotations

from dataclasses import dataclass

from torchvision.transforms import v2

from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import one_per_machine, rank, world_size
from rtmdet_lab.data.image_cache import ImageCache, cache_for
from rtmdet_lab.data.loaders import Source, TrainSampler
from rtmdet_lab.data.reading import Reading, require_files, with_reading
from rtmdet_lab.transforms.masks import FillOutlines
from rtmdet_lab.transforms.pipelines import largest_side, plain_pipeline, strong_pipeline, weak_pipeline
from rtmdet_lab.transforms.rotated import QUARTER_TURN_NAMES, RandomRotate


@dataclass(frozen=True)
class Stage:
    """Epochs that share a pipeline. Each stage gets a loader of its own: changing a transform on a live data set would
    not reach persistent workers, raise nothing, and show only as a worse AP."""

    name: str
    first_epoch: int
    epochs: int
    pipeline: v2.Compose
    source: Source  # the training set, read as the run's settings say

    def __contains__(self, epoch: int) -> bool:
        return self.first_epoch <= epoch < self.first_epoch + self.epochs


def plan_stages(config: ExperimentConfig, source: Source, cache: ImageCache | None = None) -> tuple[Stage, ...]:
    """Returns the stages in order; one of zero epochs is left out. ``config`` must be resolved.

    The plain recipe of rotated boxes has a single one.

    Args:
        cache: where decoded images are kept, from :func:`open_cache`.
    """
    reading = Reading(_side(config, source), cache)
    if reading != Reading():
        source = with_reading(source, reading)
    rotate = None
    plain = _is_plain(config, source)
    if getattr(source, "rotated", False):
        round_things = [source.classes.index(name) for name in QUARTER_TURN_NAMES if name in source.classes]
        rotate = RandomRotate(config.augment.rotate_prob, round_things)
        if plain:
            return (Stage("plain", 0, config.train.epochs, plain_pipeline(config.augment, rotate), source),)
    strong = strong_pipeline(config.augment, source.load, len(source), rotate)
    pipelines = [strong, weak_pipeline(config.augment, rotate)]
    if getattr(source, "outlines", False):  # objects come as polygons; what is learned are pixels
        pipelines = [v2.Compose([*pipeline.transforms, FillOutlines()]) for pipeline in pipelines]
    strong = config.train.epochs - config.train.weak_epochs
    stages = (
        Stage("strong", 0, strong, pipelines[0], source),
        Stage("weak", strong, config.train.weak_epochs, pipelines[1], source),
    )
    return tuple(stage for stage in stages if stage.epochs > 0)


def training_order(config: ExperimentConfig, length: int) -> TrainSampler:
    """Returns which of the ``length`` training images come in which batch, this process's share of it."""
    return TrainSampler(length, config.train.batch_size, config.seed, config.data.repeat, rank(), world_size())


def open_cache(config: ExperimentConfig, source: Source) -> ImageCache | None:
    """Returns room for the decoded images of a run, the same for all processes of a machine; None where none is asked for.

    Raises:
        StorageError: not enough space for temporary files.
        SettingError: a training set that is not read from image files.
    """
    if not config.data.cache_decoded:
        return None
    require_files(source)
    return one_per_machine(lambda: cache_for(source, _side(config, source)))


def _side(config: ExperimentConfig, source: Source) -> int | None:
    """Returns what the longer side of a reduced image must have, None where all images are read whole."""
    return largest_side(config.augment, _is_plain(config, source)) if config.data.reduced_decode else None


def _is_plain(config: ExperimentConfig, source: Source) -> bool:
    return getattr(source, "rotated", False) and config.augment.rotated_recipe == "plain"
