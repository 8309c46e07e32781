"""The two stages of a run, strong augmentation, then weak (paper 3.4), and the order of their images."""

from __future__ import annotations

from dataclasses import dataclass

from torchvision.transforms import v2

from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.core.distributed import one_per_machine, rank, world_size
from rtmdet_lab.data.image_cache import ImageCache, cache_for
from rtmdet_lab.data.loaders import Source, TrainSampler
from rtmdet_lab.data.reading import Reading, require_files, with_reading
from rtmdet_lab.tasks.factory import spec_of


@dataclass(frozen=True)
class Stage:
    """Epochs that share a pipeline. Each stage gets a loader of its own: changing a transform on a live data set would
    not reach persistent workers, raise nothing, and show only as a worse AP."""

    name: str
    first_epoch: int
    epochs: int
    pipeline: v2.Transform
    source: Source  # the training set, read as the run's settings say

    def __contains__(self, epoch: int) -> bool:
        return self.first_epoch <= epoch < self.first_epoch + self.epochs


def plan_stages(config: ResolvedConfig, source: Source, cache: ImageCache | None = None) -> tuple[Stage, ...]:
    """Returns the stages of the task in order; one of zero epochs is left out.

    Args:
        cache: where decoded images are kept, from :func:`open_cache`.
    """
    reading = Reading(_side(config), cache)
    if reading != Reading():
        source = with_reading(source, reading)
    stages, first = [], 0
    for name, epochs, pipeline in spec_of(config.task).phases(config, source):
        stages.append(Stage(name, first, epochs, pipeline, source))
        first += epochs
    return tuple(stage for stage in stages if stage.epochs > 0)


def training_order(config: ResolvedConfig, length: int) -> TrainSampler:
    """Returns which of the ``length`` training images come in which batch, this process's share of it."""
    return TrainSampler(length, config.train.batch_size, config.seed, config.data.repeat, rank(), world_size())


def open_cache(config: ResolvedConfig, source: Source) -> ImageCache | None:
    """Returns room for the decoded images of a run, the same for all processes of a machine; None where none is asked for.

    Raises:
        StorageError: not enough space for temporary files.
        SettingError: a training set that is not read from image files.
    """
    if not config.data.cache_decoded:
        return None
    require_files(source)
    return one_per_machine(lambda: cache_for(source, _side(config)))


def _side(config: ResolvedConfig) -> int | None:
    """Returns what the longer side of a reduced image must have, None where all images are read whole."""
    return spec_of(config.task).reading_side(config) if config.data.reduced_decode else None
