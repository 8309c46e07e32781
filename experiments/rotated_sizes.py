"""RTMDet-R from tiny to l on DOTA-v1.0."""

from rtmdet_lab.budgets import BUDGETS
from rtmdet_lab.config import ExperimentConfig, with_overrides
from rtmdet_lab.paper_items import Comparison, PaperItem

ITEM = PaperItem(
    item="Rotated boxes on DOTA-v1.0",
    claim="The same design carries over to rotated boxes with one more output, the angle.",
    base=with_overrides(ExperimentConfig(), {"task": "rotated", "model.num_classes": 15, "augment.input_size": 1024}),
    rows={
        "tiny": {"model.size": "tiny"},
        "s": {"model.size": "s"},
        "m": {"model.size": "m"},
        "l": {"model.size": "l"},
    },
    published={
        "tiny": {"params_M": "4.88", "macs_G": "20.45", "latency_ms": "4.40", "AP": "75.36"},
        "s": {"params_M": "8.86", "macs_G": "37.62", "latency_ms": "4.86", "AP": "76.93"},
        "m": {"params_M": "24.67", "macs_G": "99.76", "latency_ms": "7.82", "AP": "78.24"},
        "l": {"params_M": "52.27", "macs_G": "204.21", "latency_ms": "10.82", "AP": "78.85"},
    },
    source=(
        "released model tables (primary), single scale with random rotation; AP is AP50, latency that of an "
        "RTX 2080 Ti with NMS"
    ),
    input_size=1024,
    comparisons=(
        Comparison("s", "tiny"),
        Comparison("m", "s"),
        Comparison("l", "m"),
    ),
    budgets={"laptop": BUDGETS["rotated"]["laptop"].changed({"train.epochs": 3})},
)
