"""How capacity is shared between backbone and neck."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import ABLATION_TEST
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Table 5c",
    claim="A neck as heavy as the backbone is better than a heavier backbone at size s, and as good at size l.",
    base=with_overrides(ExperimentConfig(), {"model.backbone.channel_attention": False, **ABLATION_TEST}),
    rows={
        "s balanced": {"model.size": "s", "model.backbone.expand_ratio": 0.5, "model.neck.expand_ratio": 0.5},
        "s heavy backbone": {"model.size": "s", "model.backbone.expand_ratio": 0.75, "model.neck.expand_ratio": 0.25},
        "l balanced": {"model.size": "l", "model.backbone.expand_ratio": 0.5, "model.neck.expand_ratio": 0.5},
        "l heavy backbone": {"model.size": "l", "model.backbone.expand_ratio": 0.75, "model.neck.expand_ratio": 0.25},
    },
    published={
        "s balanced": {"params_M": "8.54", "macs_G": "15.76", "latency_ms": "1.21", "AP": "43.9"},
        "s heavy backbone": {"params_M": "9.01", "macs_G": "15.85", "latency_ms": "1.37", "AP": "43.7"},
        "l balanced": {"params_M": "50.92", "macs_G": "79.70", "latency_ms": "2.11", "AP": "50.9"},
        "l heavy backbone": {"params_M": "57.43", "macs_G": "93.73", "latency_ms": "2.57", "AP": "51.0"},
    },
    source=(
        "MMYOLO's algorithm description, from the authors' release material; study notes agree; the ratios "
        "are those that reproduce the printed costs"
    ),
    notes={
        "s balanced": {"macs_G": "a misprint of 14.76"},
        "l balanced": {"macs_G": "a misprint of 79.90, as in the kernel table"},
    },
    comparisons=(
        Comparison("s balanced", "s heavy backbone"),
        Comparison("l balanced", "l heavy backbone", at_least_as_good=True),
    ),
)
