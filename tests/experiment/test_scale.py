"""Scales scale down what rows share, never what they differ in."""

from __future__ import annotations

import pytest

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.experiment.scale import SCALES, Scale, check_scale, quick_recipe
from rtmdet_lab.experiment.table import Table, load_table, table_names


def make(rows, **base):
    return Table("a", "b.", with_overrides(ExperimentConfig(), base), rows, {}, "ours")


@pytest.mark.parametrize(
    ("weak", "full", "epochs", "expected"),
    [(20, 300, 30, 2), (20, 300, 3, 1), (0, 300, 3, 0), (300, 300, 7, 7), (20, 20, 5, 5)],
)
def test_weak_epochs_keep_their_share(weak, full, epochs, expected):
    config = with_overrides(ExperimentConfig(), {"train.epochs": full, "train.weak_epochs": weak})
    assert Scale("laptop", {"train.epochs": epochs}).apply(config).train.weak_epochs == expected


def test_weak_epochs_a_scale_names_are_taken():
    scale = Scale("laptop", {"train.epochs": 6, "train.weak_epochs": 4})
    assert scale.apply(ExperimentConfig()).train.weak_epochs == 4


def test_the_full_recipe_changes_nothing_but_the_weights_that_it_starts_from():
    for task, scales in SCALES.items():
        for size in ("s", "l"):
            config = with_overrides(ExperimentConfig(), {"task": task, "model.size": size})
            starts = {"model.pretrained_backbone": size == "s" or task == "rotated"}
            assert scales["paper"].apply(config) == with_overrides(resolve(config), starts)
        assert scales["paper"].data is None


def test_start_from_imagenet_is_the_scales_unless_the_row_or_the_user_says_otherwise():
    paper, config = SCALES["detection"]["paper"], ExperimentConfig()  # of size s
    assert paper.apply(config).model.pretrained_backbone is True
    assert SCALES["detection"]["smoke"].apply(config).model.pretrained_backbone is False
    assert paper.apply(config, {"model.pretrained_backbone": False}).model.pretrained_backbone is False
    assert paper.apply(config, {"train.init_weights": "rtmdet-s-coco"}).model.pretrained_backbone is False
    assert make({"l": {"model.size": "l"}, "m": {"model.size": "m"}}).config("l").model.pretrained_backbone is False


def test_rows_with_another_backbone_make_all_rows_start_from_nothing():
    table = make({"a": {}, "b": {"model.kernel_size": 7}})
    assert [table.config(row).model.pretrained_backbone for row in table.rows] == [False, False]
    table = make({"a": {}, "b": {"assigner.kind": "simota"}})
    assert [table.config(row).model.pretrained_backbone for row in table.rows] == [True, True]


def test_epochs_given_alone_scale_the_weak_ones_of_a_row_on_every_scale():
    table = make({"all weak": {"train.epochs": 6, "train.weak_epochs": 6}, "none": {"train.weak_epochs": 0}, "own": {}})
    found = {row: table.config(row, "paper", {"train.epochs": 12}).train.weak_epochs for row in ("none", "own")}
    assert found == {"none": 0, "own": 1}
    assert make({"a": {}, "b": {"model.kernel_size": 7}}).config("a", "laptop", {"train.epochs": 8}).train.weak_epochs == 8


def test_rate_left_alone_follows_a_batch_that_is_changed_on_top():
    table = make({"a": {}, "b": {"model.kernel_size": 7}})
    assert table.config("a", "paper", {"train.batch_size": 64}).train.lr == pytest.approx(0.001)


def test_sizes_shrink_by_one_factor_and_stay_apart():
    table = make({size: {"model.size": size} for size in ("tiny", "s", "m", "l", "x")})
    scale = table.scale("laptop")
    widths = [table.config(row, "laptop").model.width for row in table.rows]
    assert widths == sorted(set(widths))
    assert widths[3] == pytest.approx(scale.size_factor, abs=1 / 64)  # l has width 1
    assert table.config("l", "laptop").model.depth == scale.size_factor
    assert {"model.width", "model.depth"} <= set(make({"a": {}, "b": {"model.kernel_size": 7}}).scale("laptop").settings)


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
    table = make(rows)
    table.check_scale(name)
    for row, overrides in rows.items():
        config = table.config(row, name)
        assert config == with_overrides(config, overrides)


def test_rows_that_a_scale_makes_equal_are_named():
    rows = {"3": {"model.backbone.stage_blocks": [3, 6, 6, 3]}, "4": {"model.backbone.stage_blocks": [4, 6, 6, 3]}}
    table = make(rows)
    table.check_scale("smoke")  # the counts differ; that they build the same network is found when it is built
    scales = {"smoke": Scale("smoke", {"train.epochs": 2, "train.weak_epochs": 2, "train.schedule": "constant"})}
    base = with_overrides(ExperimentConfig(), {"train.lr": 0.1})
    rows = {"a": {}, "b": {"train.lr": 0.1, "seed": 0}}
    with pytest.raises(SettingError, match="'a' and 'b' build the same run"):
        Table("a", "b.", base, rows, {}, "ours", scales=scales)


def test_taking_a_setting_out():
    scale = Scale("laptop", {"train.epochs": 2, "train.lr": 0.1}).changed(
        {"train.lr": None, "train.ema": False}, size_factor=0.5
    )
    assert scale.settings == {"train.epochs": 2, "train.ema": False}
    assert scale.size_factor == 0.5


def test_unknown_scale_is_refused():
    assert check_scale("smoke") == "smoke"
    with pytest.raises(SettingError, match="'big', but must be smoke, laptop or paper"):
        check_scale("big")


@pytest.mark.parametrize("name", table_names())
def test_every_row_of_every_table_runs_on_every_scale(name):
    table = load_table(name)
    for scale in ("smoke", "laptop", "paper"):
        table.check_scale(scale)
        assert set(table.scale(scale).skip) < set(table.rows)
        if scale != "paper":
            assert all(reason for reason in table.scale(scale).skip.values())
            assert table.scale(scale).data["train"] <= (24 if scale == "smoke" else 600)
        else:
            assert all(table.config(row, "paper") == table.config(row) for row in table.rows)


@pytest.mark.parametrize("task", ["detection", "instance", "rotated"])
def test_quick_recipe_is_the_laptop_scale_of_its_task(task):
    laptop = SCALES[task]["laptop"].settings
    names = ("augment.input_size", "train.batch_size", "train.lr")
    size, batch_size, lr = (laptop[name] for name in names)
    recipe = quick_recipe(task, size, epochs=laptop["train.epochs"], batch_size=batch_size, lr=lr)
    assert {name: laptop[name] for name in recipe} == recipe
    assert with_overrides(ExperimentConfig(), {"task": task, **recipe}).train.warmup_steps == 50
