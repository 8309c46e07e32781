"""Budgets scale down what rows share, never what they differ in."""

from __future__ import annotations

import pytest

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.experiment.scale import BUDGETS, Budget, check_budget
from rtmdet_lab.experiment.table import PaperItem, experiment_names, load_experiment


def make(rows, **base):
    return PaperItem("a", "b.", with_overrides(ExperimentConfig(), base), rows, {}, "ours")


@pytest.mark.parametrize(
    ("weak", "full", "epochs", "expected"),
    [(20, 300, 30, 2), (20, 300, 3, 1), (0, 300, 3, 0), (300, 300, 7, 7), (20, 20, 5, 5)],
)
def test_weak_epochs_keep_their_share(weak, full, epochs, expected):
    config = with_overrides(ExperimentConfig(), {"train.epochs": full, "train.weak_epochs": weak})
    assert Budget("laptop", {"train.epochs": epochs}).apply(config).train.weak_epochs == expected


def test_weak_epochs_a_budget_names_are_taken():
    budget = Budget("laptop", {"train.epochs": 6, "train.weak_epochs": 4})
    assert budget.apply(ExperimentConfig()).train.weak_epochs == 4


def test_the_full_recipe_changes_nothing_but_the_weights_that_it_starts_from():
    for task, budgets in BUDGETS.items():
        for size in ("s", "l"):
            config = with_overrides(ExperimentConfig(), {"task": task, "model.size": size})
            starts = {"model.pretrained_backbone": size == "s" or task == "rotated"}
            assert budgets["paper"].apply(config) == with_overrides(resolve(config), starts)
        assert budgets["paper"].data is None


def test_start_from_imagenet_is_the_budgets_unless_the_row_or_the_user_says_otherwise():
    paper, config = BUDGETS["detection"]["paper"], ExperimentConfig()  # of size s
    assert paper.apply(config).model.pretrained_backbone is True
    assert BUDGETS["detection"]["smoke"].apply(config).model.pretrained_backbone is False
    assert paper.apply(config, {"model.pretrained_backbone": False}).model.pretrained_backbone is False
    assert paper.apply(config, {"train.init_weights": "rtmdet-s-coco"}).model.pretrained_backbone is False
    assert make({"l": {"model.size": "l"}, "m": {"model.size": "m"}}).config("l").model.pretrained_backbone is False


def test_rows_with_another_backbone_make_all_rows_start_from_nothing():
    item = make({"a": {}, "b": {"model.kernel_size": 7}})
    assert [item.config(row).model.pretrained_backbone for row in item.rows] == [False, False]
    item = make({"a": {}, "b": {"assigner.kind": "simota"}})
    assert [item.config(row).model.pretrained_backbone for row in item.rows] == [True, True]


def test_epochs_given_alone_scale_the_weak_ones_of_a_row_on_every_budget():
    item = make({"all weak": {"train.epochs": 6, "train.weak_epochs": 6}, "none": {"train.weak_epochs": 0}, "own": {}})
    found = {row: item.config(row, "paper", {"train.epochs": 12}).train.weak_epochs for row in ("none", "own")}
    assert found == {"none": 0, "own": 1}
    assert make({"a": {}, "b": {"model.kernel_size": 7}}).config("a", "laptop", {"train.epochs": 8}).train.weak_epochs == 8


def test_rate_left_alone_follows_a_batch_that_is_changed_on_top():
    item = make({"a": {}, "b": {"model.kernel_size": 7}})
    assert item.config("a", "paper", {"train.batch_size": 64}).train.lr == pytest.approx(0.001)


def test_sizes_shrink_by_one_factor_and_stay_apart():
    item = make({size: {"model.size": size} for size in ("tiny", "s", "m", "l", "x")})
    budget = item.budget("laptop")
    widths = [item.config(row, "laptop").model.width for row in item.rows]
    assert widths == sorted(set(widths))
    assert widths[3] == pytest.approx(budget.size_factor, abs=1 / 64)  # l has width 1
    assert item.config("l", "laptop").model.depth == budget.size_factor
    assert {"model.width", "model.depth"} <= set(make({"a": {}, "b": {"model.kernel_size": 7}}).budget("laptop").settings)


@pytest.mark.parametrize(
    "rows",
    [
        {"a": {"model.width": 0.5}, "b": {"model.width": 0.25}},
        {"a": {"train.epochs": 3, "train.weak_epochs": 0}, "b": {"train.epochs": 6, "train.weak_epochs": 0}},
        {"a": {"train.lr": 0.1}, "b": {"train.lr": 0.2}},
        {"a": {"augment.input_size": 96}, "b": {"augment.input_size": 128}},
    ],
    ids=lambda rows: next(iter(rows["a"])),
)
@pytest.mark.parametrize("name", ["smoke", "laptop"])
def test_what_rows_vary_is_left_alone(rows, name):
    item = make(rows)
    item.check_budget(name)
    for row, overrides in rows.items():
        config = item.config(row, name)
        assert config == with_overrides(config, overrides)


def test_rows_that_a_budget_makes_equal_are_named():
    rows = {"3": {"model.backbone.stage_blocks": [3, 6, 6, 3]}, "4": {"model.backbone.stage_blocks": [4, 6, 6, 3]}}
    item = make(rows)
    item.check_budget("smoke")  # the counts differ; that they build the same network is found when it is built
    budgets = {"smoke": Budget("smoke", {"train.epochs": 2, "train.weak_epochs": 2, "train.schedule": "constant"})}
    base = with_overrides(ExperimentConfig(), {"train.lr": 0.1})
    rows = {"a": {}, "b": {"train.lr": 0.1, "seed": 0}}
    with pytest.raises(SettingError, match="'a' and 'b' build the same run"):
        PaperItem("a", "b.", base, rows, {}, "ours", budgets=budgets)


def test_taking_a_setting_out():
    budget = Budget("laptop", {"train.epochs": 2, "train.lr": 0.1}).changed(
        {"train.lr": None, "train.ema": False}, size_factor=0.5
    )
    assert budget.settings == {"train.epochs": 2, "train.ema": False}
    assert budget.size_factor == 0.5


def test_unknown_budget_is_refused():
    assert check_budget("smoke") == "smoke"
    with pytest.raises(SettingError, match="'big', but must be smoke, laptop or paper"):
        check_budget("big")


@pytest.mark.parametrize("name", experiment_names())
def test_every_row_of_every_table_runs_on_every_budget(name):
    item = load_experiment(name)
    for budget in ("smoke", "laptop", "paper"):
        item.check_budget(budget)
        assert set(item.budget(budget).skip) < set(item.rows)
        if budget != "paper":
            assert all(reason for reason in item.budget(budget).skip.values())
            assert item.budget(budget).data["train"] <= (24 if budget == "smoke" else 600)
        else:
            assert all(item.config(row, "paper") == item.config(row) for row in item.rows)
