"""Every experiment file loads, and builds what the paper printed."""

from __future__ import annotations

import re

import pytest

from rtmdet_lab.analysis.complexity import count_params
from rtmdet_lab.config import ExperimentConfig, differences, with_overrides
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.paper_items import compare_static, experiment_names, load_experiment
from rtmdet_lab.presets import resolve
from rtmdet_lab.training.schedule import is_validated

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


def test_first_step_is_the_recipe_of_yolox_and_learning_rates_follow_the_batch_on_every_budget():
    item = load_experiment("step_by_step")
    yolox = item.config("YOLOX-s")
    train, loss = yolox.train, yolox.loss
    assert (train.optimizer, train.momentum, train.weight_decay, train.decay_norm_and_bias) == ("sgd", 0.9, 5e-4, False)
    assert (train.schedule, train.lr_floor, train.weak_epochs) == ("cosine", 0.05, 15)
    assert (loss.bbox, loss.bbox_weight, loss.quality_weighting) == ("iou", 5.0, False)
    for budget in ("smoke", "laptop", "paper"):
        for row in item.rows:
            if row in item.budget(budget).skip:
                continue
            config = item.config(row, budget)
            rule = 0.01 / 64 if row == "YOLOX-s" else 0.004 / 256
            assert config.train.lr == pytest.approx(rule * config.train.batch_size * config.train.accumulate)
            assert config.train.weight_decay == (5e-4 if row == "YOLOX-s" else 0.05)
    last = item.config("pretrained backbone")
    published = resolve(with_overrides(ExperimentConfig(), {"model.size": "s", "model.pretrained_backbone": True}))
    assert dict(differences(last, published)) == {}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", ["smoke", "laptop", "paper"])
def test_all_rows_of_a_table_are_looked_at_equally_often(name, budget):
    item = load_experiment(name)
    rows = [item.config(row, budget).train for row in item.rows if row not in item.budget(budget).skip]
    assert len({sum(is_validated(epoch, train) for epoch in range(train.epochs)) for train in rows}) == 1
    assert {train.score_of for train in rows} == {"last"}
