"""The four blocks of figure 3, and the large kernel re-parameterized, which the paper leaves open."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import ABLATION_TEST
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Figure 3",
    claim="Large depth-wise kernels are a better basic block than re-parameterized or plain 3 x 3 ones.",
    base=with_overrides(ExperimentConfig(), {"model.size": "s", **ABLATION_TEST}),
    rows={
        "large_kernel": {"model.block": "large_kernel"},
        "darknet": {"model.block": "darknet"},
        "ppyoloe_rep": {"model.block": "ppyoloe_rep"},
        "yolov6_rep": {"model.block": "yolov6_rep"},
        "rep_large_kernel": {"model.block": "rep_large_kernel"},
    },
    published={},
    source=("the figure has no numbers"),
    comparisons=(
        Comparison("large_kernel", "darknet"),
        Comparison("large_kernel", "ppyoloe_rep"),
        Comparison("large_kernel", "yolov6_rep"),
        Comparison("large_kernel", "rep_large_kernel", at_least_as_good=True),
    ),
)
