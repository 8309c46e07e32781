"""RTMDet-R on the ships of HRSC2016: 36 epochs over three passes of the data, at 800 pixels and a rate of its own."""

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.scale import SCALES
from rtmdet_lab.experiment.table import Comparison, Table

TABLE = Table(
    title="Rotated boxes on HRSC2016",
    claim="A larger RTMDet-R is better on ships.",
    base=with_overrides(
        ExperimentConfig(),
        {"task": "rotated", "model.num_classes": 1, "augment.input_size": 800, "data.repeat": 3, "train.lr": 0.002},
    ),
    rows={"tiny": {"model.size": "tiny"}, "l": {"model.size": "l"}},
    published={"tiny": {"params_M": "4.88", "macs_G": "12.54", "AP50": "90.6", "area_AP50": "97.1"}},
    source=(
        "released model table (primary), random rotation: AP50 with precision read at 11 recalls (VOC 2007) and by the area "
        "under the curve (VOC 2012); of R-l only the settings are published"
    ),
    input_size=800,
    notes={
        "tiny": {
            "params_M": "fits the 15 classes of DOTA",
            "macs_G": "fits the 15 classes of DOTA, and other operations beside convolutions",
        }
    },
    comparisons=(Comparison("l", "tiny"),),
    scales={
        name: SCALES["rotated"][name].changed({"data.repeat": 1, "train.epochs": epochs})
        for name, epochs in (("smoke", 2), ("laptop", 3))
    },
)
