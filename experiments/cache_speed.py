"""What the caches of mosaic and mixup save: loading time with partners from a cache, and read fresh from the data set.

    rtmdet-lab sweep cache_speed --scale laptop --seeds 0 1 2 && rtmdet-lab report cache_speed

The number to look at is the loading time per 100 images; APs of these short runs are those of strong augmentation alone.
"""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.scale import SCALES
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Caching",
    claim="Cached partners make mosaic and mixup faster.",
    base=with_overrides(ExperimentConfig(), {"model.size": "s", "train.weak_epochs": 0}),
    rows={
        "mosaic, cached": {"augment.mixup": False},
        "mosaic, uncached": {"augment.mixup": False, "augment.partners": "uncached"},
        "mixup, cached": {"augment.mosaic": False},
        "mixup, uncached": {"augment.mosaic": False, "augment.partners": "uncached"},
    },
    published={
        "mosaic, cached": {"load_ms": "24.0"},
        "mosaic, uncached": {"load_ms": "87.1"},
        "mixup, cached": {"load_ms": "12.4"},
        "mixup, uncached": {"load_ms": "19.3"},
    },
    source=(
        "MMYOLO's algorithm description, from the authors' release material; study notes agree; milliseconds per 100 images "
        "of the step alone, where the measured time is that of the whole pipeline"
    ),
    comparisons=(
        Comparison("mosaic, cached", "mosaic, uncached", metric="load_ms"),
        Comparison("mixup, cached", "mixup, uncached", metric="load_ms"),
    ),
    # Loading is measured where nothing else runs beside it: without worker processes, and only the strong stage.
    scales={
        name: SCALES["detection"][name].changed({"train.epochs": 2, "train.weak_epochs": 0}) for name in ("smoke", "laptop")
    },
)
