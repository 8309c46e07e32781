"""Depth-wise kernels of 3, 5 and 7, and of 9 and 11 beyond the paper."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import ABLATION_TEST
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Table 5a",
    claim="A 5 x 5 depth-wise kernel is better than 3 x 3, and as good as 7 x 7.",
    base=with_overrides(ExperimentConfig(), {"model.size": "l", "model.backbone.channel_attention": False, **ABLATION_TEST}),
    rows={
        "3x3": {"model.kernel_size": 3},
        "5x5": {"model.kernel_size": 5},
        "7x7": {"model.kernel_size": 7},
        "9x9": {"model.kernel_size": 9},
        "11x11": {"model.kernel_size": 11},
    },
    published={
        "3x3": {"params_M": "50.80", "macs_G": "79.61", "latency_ms": "2.10", "AP": "50.0"},
        "5x5": {"params_M": "50.92", "macs_G": "79.70", "latency_ms": "2.11", "AP": "50.9"},
        "7x7": {"params_M": "51.10", "macs_G": "80.34", "latency_ms": "2.73", "AP": "51.1"},
    },
    source=("MMYOLO's algorithm description, from the authors' release material; study notes agree"),
    notes={"5x5": {"macs_G": "a misprint of 79.90, both neighbours fit"}},
    comparisons=(
        Comparison("5x5", "3x3"),
        Comparison("5x5", "7x7", at_least_as_good=True),
    ),
)
