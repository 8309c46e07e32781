"""Blocks per stage, and channel attention in their place."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import ABLATION_TEST
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Table 5b",
    claim="Channel attention makes fewer blocks in the middle stages as good as more blocks without it.",
    base=with_overrides(ExperimentConfig(), {"model.size": "l", **ABLATION_TEST}),
    rows={
        "3-9-9-3": {"model.backbone.stage_blocks": [3, 9, 9, 3], "model.backbone.channel_attention": False},
        "3-6-6-3": {"model.backbone.channel_attention": False},
        "3-6-6-3 with attention": {},
    },
    published={
        "3-9-9-3": {"params_M": "53.4", "macs_G": "86.28", "latency_ms": "2.60", "AP": "51.4"},
        "3-6-6-3": {"params_M": "50.92", "macs_G": "79.7", "latency_ms": "2.11", "AP": "50.9"},
        "3-6-6-3 with attention": {"params_M": "52.3", "macs_G": "79.9", "latency_ms": "2.40", "AP": "51.3"},
    },
    source=("MMYOLO's algorithm description, from the authors' release material; study notes agree"),
    notes={
        "3-6-6-3": {"macs_G": "a misprint of 79.9: the row with attention has the same convolutions"},
        "3-6-6-3 with attention": {
            "latency_ms": "the table of heads prints 2.44 for the same network",
            "macs_G": "convolutions alone, where the table of heads prints 80.23 for the same network",
        },
    },
    comparisons=(
        Comparison("3-6-6-3 with attention", "3-9-9-3", at_least_as_good=True),
        Comparison("3-6-6-3 with attention", "3-6-6-3"),
    ),
)
