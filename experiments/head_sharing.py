"""What the levels of the head share."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import ABLATION_TEST
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Detection head",
    claim="Shared convolutions with batch norm of their own per level equal separate heads, and beat one head for all.",
    base=with_overrides(ExperimentConfig(), {"model.size": "l", **ABLATION_TEST}),
    rows={
        "fully shared": {"model.head.sharing": "all"},
        "separate": {"model.head.sharing": "none"},
        "shared convolutions": {"model.head.sharing": "convs"},
    },
    published={
        "fully shared": {"params_M": "52.32", "macs_G": "80.23", "latency_ms": "2.44", "AP": "48.0"},
        "separate": {"params_M": "57.03", "macs_G": "80.23", "latency_ms": "2.44", "AP": "51.2"},
        "shared convolutions": {"params_M": "52.32", "macs_G": "80.23", "latency_ms": "2.44", "AP": "51.3"},
    },
    source=("MMYOLO's algorithm description, from the authors' release material; study notes agree"),
    notes={
        "fully shared": {"params_M": "the figure of separate batch norm"},
        "shared convolutions": {
            "latency_ms": "the table of blocks per stage prints 2.40 for the same network",
            "macs_G": "all operations, where the table of blocks per stage prints 79.9 for the same network",
        },
    },
    comparisons=(
        Comparison("shared convolutions", "separate", at_least_as_good=True),
        Comparison("shared convolutions", "fully shared"),
    ),
)
