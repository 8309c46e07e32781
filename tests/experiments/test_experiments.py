"""Every experiment file loads, and builds what the paper printed."""

from __future__ import annotations

import re

import pytest

from rtmdet_lab.analysis.complexity import count_params
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.paper_items import compare_static, experiment_names, load_experiment

NAMES = experiment_names()
# The reasons printed numbers may differ, each reviewed: what is not in here must agree.
KNOWN = {
    ("detection_sizes", "tiny", "params_M"),
    ("detection_sizes", "tiny", "macs_G"),
    ("detection_sizes", "m", "macs_G"),
    ("instance_sizes", "tiny", "macs_G"),
    ("backbone_neck_ratio", "s balanced", "macs_G"),
    ("head_sharing", "fully shared", "params_M"),
    ("figure1_tradeoff", "tiny", "params_M"),
    ("figure1_tradeoff", "tiny", "macs_G"),
    ("figure1_tradeoff", "m", "macs_G"),
}


def test_the_tables_are_there():
    assert {"detection_sizes", "instance_sizes", "rotated_sizes", "kernel_size", "stage_blocks", "basic_blocks"} <= set(
        NAMES
    )
    assert {"figure1_tradeoff", "cache_speed", "step_by_step", "optimizer_recipe"} <= set(NAMES)
    assert {"backbone_neck_ratio", "head_sharing", "soft_label_costs", "assigners", "augmentation"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_it_claims_and_where_its_numbers_are_from(name):
    item = load_experiment(name)
    assert item.claim.endswith(".")
    assert item.source
    assert len(item.rows) >= 2
    for numbers in item.published.values():
        assert set(numbers) <= {"AP", "params_M", "macs_G", "latency_ms", "load_ms"}
        assert all(re.fullmatch(r"\d+(\.\d+)?", value) for value in numbers.values())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_the_printed_ones(name):
    found = {(name, one.row, one.name): one for one in compare_static(load_experiment(name))}
    unequal = {key for key, one in found.items() if one.verdict not in ("equal", "within 0.5 %")}
    assert unequal == {key for key in KNOWN if key[0] == name}
    assert all(found[key].note for key in unequal)


def test_no_knob_of_the_architecture_is_without_effect():
    """Rows that vary the network build networks of different sizes."""
    for name in ("kernel_size", "stage_blocks", "backbone_neck_ratio", "head_sharing", "basic_blocks"):
        item = load_experiment(name)
        sizes = [count_params(RTMDet(item.config(row).model, "detection")) for row in item.rows]
        assert len(set(sizes)) == len(sizes), name
