"""Runs are named by what decides their result: a repeated sweep finds them, a changed one does not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from made_sets import assert_one_sentence
from made_sweeps import changed, write_experiment, write_record

from rtmdet_lab.config.aliases import first_name
from rtmdet_lab.core.errors import DataError, SettingError, SettingTypeError, UnknownNameError
from rtmdet_lab.experiment.record import RECORD_NAME
from rtmdet_lab.experiment.sweep.plan import finished_record, plan, read_order, written_record
from rtmdet_lab.experiment.table import EXPERIMENTS_FOLDER


def folders(*arguments, **options):
    return [Path(run.folder).name for run in plan(*arguments, **options)]


def test_every_row_with_every_seed_and_a_result_of_every_row_early(tmp_path):
    runs = plan(write_experiment(tmp_path, "a", "b", "c"), "smoke", [4, 2, 4], tmp_path / "out")
    assert [(run.row, run.seed) for run in runs] == [("a", 4), ("b", 4), ("c", 4), ("a", 2), ("b", 2), ("c", 2)]
    assert len({run.folder for run in runs}) == 6
    assert all(Path(run.folder).parent == tmp_path / "out" / "own" / "smoke" for run in runs)
    assert len({run.data_dir for run in runs}) == 1, "all rows train on the same data"
    assert [(run.row, run.seed) for run in plan(write_experiment(tmp_path), "smoke", [0], tmp_path, rows=["b"])] == [
        ("b", 0)
    ]


def test_the_same_run_has_the_same_folder_whoever_asks(tmp_path, monkeypatch):
    first = folders("kernel_size", "smoke", [0], tmp_path)
    monkeypatch.chdir(EXPERIMENTS_FOLDER)
    assert folders("kernel_size.py", "smoke", [0], tmp_path / "elsewhere") == first
    assert folders(EXPERIMENTS_FOLDER / "kernel_size.py", "smoke", [1, 0], tmp_path)[5:] == first
    assert plan("kernel_size.py", "smoke", [0], tmp_path)[0].source == "kernel_size"


@pytest.mark.parametrize(
    "options",
    [{"overrides": {"train.lr": 0.5}}, {"overrides": {"loss.bbox_weight": 1.0}}, {"data_dir": "elsewhere"}],
    ids=str,
)
def test_what_changes_the_result_changes_the_folder(options, tmp_path):
    assert not set(folders("kernel_size", "smoke", [0], tmp_path, **options)) & set(
        folders("kernel_size", "smoke", [0], tmp_path)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"overrides": {"train.workers": 3}},
        {"overrides": {"train.keep_every": 1}},
        {"device": "cpu"},
        {"retries": 2},
        {"threads": 1},
    ],
    ids=str,
)
def test_what_does_not_change_it_leaves_the_folder(options, tmp_path):
    assert folders("kernel_size", "smoke", [0], tmp_path, **options) == folders("kernel_size", "smoke", [0], tmp_path)


def test_renamed_setting_changes_no_folder_and_finds_its_runs(tmp_path):
    # Folders that the version with the old names wrote.
    assert "two-stages-small-cache-seed0-b6872610ac" in folders("augmentation", "paper", [0], tmp_path, data_dir="/data")
    old = {"train.accumulate": 2, "train.freeze_norm": False}
    (run, *_) = plan("optimizer_recipe", "smoke", [0], tmp_path, data_dir="/data", overrides=old)
    assert Path(run.folder).name == "AdamW-cosine-seed0-50fae94fa9"
    write_record(run)
    settings = {first_name(name): value for name, value in run.settings.items()}
    before = dataclasses.replace(run, settings=settings)
    assert settings["train.accumulate"] == 2
    assert finished_record(before) is not None
    assert finished_record(dataclasses.replace(before, settings=settings | {"train.accumulate": 3})) is None


def test_edited_row_is_another_run_and_the_others_stay(tmp_path):
    path = write_experiment(tmp_path, "a", "b")
    before = folders(path, "smoke", [0], tmp_path)
    path.write_text(path.read_text().replace('"model.kernel_size": 5', '"model.kernel_size": 9'))
    after = folders(path, "smoke", [0], tmp_path)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_rows_of_like_names_have_folders_of_their_own(tmp_path):
    assert len(set(folders(write_experiment(tmp_path, "a b", "a-b", "a, b"), "smoke", [0], tmp_path))) == 3


def test_rows_a_scale_leaves_out_are_not_planned_and_refused_by_name(tmp_path):
    assert "pretrained backbone" not in {run.row for run in plan("optimizer_recipe", "laptop", [0], tmp_path)}
    with pytest.raises(SettingError, match=r"'pretrained backbone' has no laptop run: published weights"):
        plan("optimizer_recipe", "laptop", [0], tmp_path, rows=["pretrained backbone"])
    runs = plan("optimizer_recipe", "paper", [0], tmp_path, data_dir=tmp_path)
    assert "pretrained backbone" in {run.row for run in runs}


def test_a_run_survives_its_file(tmp_path):
    run = plan("kernel_size", "smoke", [3], tmp_path, overrides={"train.lr": 0.5})[0]
    assert read_order(run.write()) == run
    for text, words in (("{", "not valid JSON"), ('{"row": "a"}', "start the sweep again")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(DataError, match=words):
            read_order(tmp_path / "bad.json")


def test_only_the_record_of_this_very_run_counts(tmp_path):
    run = plan("kernel_size", "smoke", [3], tmp_path)[0]
    assert finished_record(run) is None
    write_record(run, 0.25)
    assert finished_record(run).metrics["AP"] == 0.25
    for other in (changed(run, seed=4), changed(run, row="5x5"), changed(run, scale="laptop")):
        assert finished_record(other) is None
    (Path(run.folder) / RECORD_NAME).write_text("{")
    assert finished_record(run) is None


def test_setting_of_a_later_version_changes_no_name(tmp_path):
    """At its default a setting is no part of the name: as if it were not there."""
    (run,) = plan("kernel_size", "smoke", [0], tmp_path, rows=["5x5"])
    assert "loss.bbox_weight" not in run.settings
    assert run.settings["train.epochs"] == 2
    write_record(run)
    path = Path(run.folder) / RECORD_NAME
    content = json.loads(path.read_text())
    del content["config"]["loss"]["bbox_weight"]
    path.write_text(json.dumps(content))
    assert finished_record(run) is not None


@pytest.mark.parametrize(("part", "name", "value"), [("loss", "bbox_weight", 9.0), ("train", "epochs", 3)])
def test_record_of_other_settings_does_not_count(part, name, value, tmp_path):
    """As after a default has changed."""
    (run,) = plan("kernel_size", "smoke", [0], tmp_path, rows=["5x5"])
    write_record(run)
    path = Path(run.folder) / RECORD_NAME
    content = json.loads(path.read_text())
    content["config"][part][name] = value
    path.write_text(json.dumps(content))
    assert written_record(run) is None


def test_classes_and_paths_of_the_data_are_not_compared(tmp_path):
    (run,) = plan("kernel_size", "smoke", [0], tmp_path, rows=["5x5"])
    record = write_record(run)
    record.config["model"]["num_classes"] = 6
    record.config["data"]["classes"] = ["a"] * 6
    record.config["data"]["train_images"] = "somewhere"
    record.write(Path(run.folder))
    assert finished_record(run) is not None


def test_run_whose_notebook_was_cut_off_is_not_finished(tmp_path):
    run = plan("kernel_size", "smoke", [3], tmp_path)[0]
    write_record(run, done=False)
    assert written_record(run) is not None
    assert finished_record(run) is None


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        (("kernel_sise", "smoke", [0]), {}, UnknownNameError, ["kernel_sise", "did you mean 'kernel_size'"]),
        (("kernel_size", "big", [0]), {}, SettingError, ["'big'", "smoke, laptop or paper"]),
        (("kernel_size", "smoke", [0]), {"rows": ["5x"]}, UnknownNameError, ["'5x'", "did you mean '5x5'"]),
        (
            ("kernel_size", "smoke", [0]),
            {"overrides": {"train.epoch": 3}},
            UnknownNameError,
            ["did you mean 'train.epochs'"],
        ),
        (("kernel_size", "smoke", [0]), {"overrides": {"train.ema": "false"}}, SettingTypeError, ["train.ema", "'false'"]),
        (("kernel_size", "smoke", [0]), {"overrides": {"model.kernel_size": 9}}, SettingError, ["what row '3x3' varies"]),
        (("kernel_size", "smoke", []), {}, SettingError, ["no seeds"]),
        (("kernel_size", "paper", [0]), {}, DataError, ["paper", "--data"]),
    ],
)
def test_mistakes_are_one_sentence(arguments, options, error, words, tmp_path):
    with pytest.raises(error) as caught:
        plan(*arguments, tmp_path, **options)
    assert_one_sentence(caught.value, *words)
