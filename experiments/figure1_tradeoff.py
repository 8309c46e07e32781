"""Accuracy against cost, beside the YOLO series: figure 1. Drawn by notebooks/51_figure1_tradeoff.ipynb.

The peers' latencies on the paper's GPU were never readable at first hand, so cost is parameters and multiply-adds, which
each peer states of itself (half of its FLOPs, the paper's unit); what lies above RTMDet's curve is computed from them
(:mod:`rtmdet_lab.analysis.tradeoff`). Peers of the instance models are unverified and left out.
"""

from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.scale import SCALES
from rtmdet_lab.experiment.table import Comparison, Table


def peer(params_m: str, macs_g: str, ap: str) -> dict[str, str]:
    return {"params_M": params_m, "macs_G": macs_g, "AP": ap}


TABLE = Table(
    title="Figure 1",
    claim="RTMDet has a better trade-off of cost and accuracy than the YOLO series.",
    base=ExperimentConfig(),
    rows={size: {"model.size": size} for size in ("tiny", "s", "m", "l", "x")},
    published={
        "tiny": {"params_M": "4.8", "macs_G": "8.1", "latency_ms": "0.98", "AP": "41.1", "AP50": "57.9"},
        "s": {"params_M": "8.89", "macs_G": "14.8", "latency_ms": "1.22", "AP": "44.6", "AP50": "61.9"},
        "m": {"params_M": "24.71", "macs_G": "39.27", "latency_ms": "1.62", "AP": "49.4", "AP50": "66.8"},
        "l": {"params_M": "52.3", "macs_G": "80.23", "latency_ms": "2.44", "AP": "51.5", "AP50": "68.8"},
        "x": {"params_M": "94.86", "macs_G": "141.67", "latency_ms": "3.10", "AP": "52.8", "AP50": "70.4"},
    },
    source="released model tables (primary); peers: their own READMEs, COCO val2017 (docs/paper.md 1.3)",
    notes={
        "tiny": {"params_M": "4.896 cut off instead of rounded", "macs_G": "other operations counted beside convolutions"},
        "m": {"macs_G": "other operations counted beside convolutions"},
    },
    comparisons=tuple(Comparison(*pair) for pair in (("s", "tiny"), ("m", "s"), ("l", "m"), ("x", "l"))),
    peers={
        "YOLOv5 r6.1": {
            "n": peer("1.9", "2.3", "28.0"),
            "s": peer("7.2", "8.3", "37.4"),
            "m": peer("21.2", "24.5", "45.4"),
            "l": peer("46.5", "54.6", "49.0"),
            "x": peer("86.7", "102.9", "50.7"),
        },
        "YOLOX": {
            "tiny, 416 px": peer("5.06", "3.2", "32.8"),
            "s": peer("9.0", "13.4", "40.5"),
            # The one peer latency that is verified, with the AP that its table prints beside it (docs/paper.md 2.9).
            "s, in the step-by-step table": {"latency_ms": "1.20", "AP": "40.2"},
            "m": peer("25.3", "36.9", "46.9"),
            "l": peer("54.2", "77.8", "49.7"),
            "x": peer("99.1", "141.0", "51.1"),
        },
        "YOLOv6 0.2": {
            "n": peer("4.3", "5.6", "35.9"),
            "t": peer("15.0", "18.4", "40.3"),
            "s": peer("17.2", "22.1", "43.5"),
            "m, distilled": peer("34.3", "41.1", "49.5"),
            "l, distilled": peer("58.5", "72.0", "52.5"),
        },
        "YOLOv7": {"base": peer("36.9", "52.4", "51.2")},
        "PPYOLOE": {
            "s": peer("7.9", "8.7", "42.7"),
            "m": peer("23.4", "25.0", "48.6"),
            "l": peer("52.2", "55.1", "50.9"),
            "x": peer("98.4", "103.3", "51.9"),
        },
    },
    scales={"laptop": SCALES["detection"]["laptop"].changed({"train.epochs": 4, "train.weak_epochs": 4})},
)
