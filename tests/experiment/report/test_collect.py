"""The records of one table are found however deep they lie; what is left out is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_sweeps import write_experiment, write_record

from rtmdet_lab.experiment.report.collect import collect, describe_scale
from rtmdet_lab.experiment.sweep.plan import plan
from rtmdet_lab.experiment.table import load_table


def make(folder, *rows, seeds=(0, 1)):
    path = write_experiment(folder, *(rows or ("a", "b")))
    runs = plan(path, "smoke", seeds, folder / "out")
    for number, run in enumerate(runs):
        write_record(run, 0.1 * number)
    return path, runs


def found(path, folder, scale="smoke"):
    return collect(load_table(path), "own", folder, scale)


def test_runs_are_grouped_by_row_and_ordered_by_seed(tmp_path):
    path, _ = make(tmp_path, seeds=(5, 0, 3))
    result = found(path, tmp_path)
    assert {row: [run.record.seed for run in runs] for row, runs in result.rows.items()} == {"a": [0, 3, 5], "b": [0, 3, 5]}
    assert result.left_out == []


def test_other_experiments_and_scales_are_passed_over(tmp_path):
    path, runs = make(tmp_path)
    for name, changes in (("other", {"experiment": "other"}), ("bigger", {"scale": "laptop"})):
        record = json.loads((Path(runs[0].folder) / "results.json").read_text()) | changes
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(record))
    result = found(path, tmp_path)
    assert len(result.runs) == 4
    assert result.left_out == []


def test_damaged_foreign_and_outdated_records_are_named_and_left_out(tmp_path):
    path, runs = make(tmp_path)
    (Path(runs[0].folder) / "results.json").write_text("{")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.json").write_text('{"accuracy": 3}')
    path.write_text(path.read_text().replace('"b": {"model.kernel_size": 5}', '"b": {"model.kernel_size": 9}'))
    result = found(path, tmp_path)
    assert [run.record.seed for run in result.rows["a"]] == [1]
    assert result.rows["b"] == []
    text = "\n".join(result.left_out)
    assert len(result.left_out) == 4
    for words in (
        "is not valid JSON",
        "foreign/results.json is not a run record",
        "model.kernel_size is 5, but the row has 9",
    ):
        assert words in text


def test_row_that_is_gone_and_seed_run_twice_are_named(tmp_path):
    path, runs = make(tmp_path, "a", "b", "c")
    write_experiment(tmp_path, "a", "b")
    twin = tmp_path / "elsewhere"
    twin.mkdir()
    record = json.loads((Path(runs[0].folder) / "results.json").read_text())
    record["metrics"]["AP"] = 0.75
    (twin / "results.json").write_text(json.dumps(record))
    os.utime(Path(runs[0].folder) / "results.json", (1, 1))
    result = found(path, tmp_path)
    assert result.rows["a"][0].record.metrics["AP"] == 0.75, "the newer one counts"
    text = "\n".join(result.left_out)
    assert "row 'c' does not exist any more" in text
    assert f"the same row and seed as {twin}, which is newer" in text


def test_the_scale_is_told_from_the_records(tmp_path):
    path, _ = make(tmp_path)
    assert describe_scale(found(path, tmp_path)) == "smoke scale: 2 epochs of 24 images at 64 pixels, made"
    assert describe_scale(found(path, tmp_path / "nothing")) == "smoke scale"


# Only what learned and was scored in the same way is one row -------------------------------------------------------------


def change(run, **changes):
    """Changes a record: sections of its config, its data or its environment."""
    path = Path(run.folder) / "results.json"
    record = json.loads(path.read_text())
    for name, values in changes.items():
        target = record[name] if name in record else record["config"][name]
        target |= values
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"train": "others"}}, "train set 24 images of others"),
        ({"data": {"val_images": 9}}, "val set 9 images of made"),
        ({"data": {"val_print": "abcdef"}}, "val set 8 images of made, abcdef"),
        ({"environment": {"results_version": 1}}, "results of version 1"),
        ({"train": {"epochs": 4}}, "train.epochs 4"),
        ({"train": {"score_of": "best"}}, "train.score_of best"),
        ({"test": {"nms_iou": 0.5, "max_per_image": 100}}, "test.nms_iou 0.5, test.max_per_image 100"),
        ({"augment": {"hsv": False}}, "augment.hsv False"),
    ],
)
def test_runs_that_learned_or_were_scored_otherwise_have_a_row_of_their_own(tmp_path, changes, words):
    path, runs = make(tmp_path, seeds=(0, 1, 2))
    change(runs[0], **changes)
    result = found(path, tmp_path)
    assert list(result.rows) == ["a", f"a ({words})", "b"]
    assert [run.record.seed for run in result.rows["a"]] == [1, 2]
    assert [run.record.seed for run in result.rows[f"a ({words})"]] == [0]
    assert len(result.runs) == 5
    assert result.left_out == []


def test_repeated_data_are_other_learning_and_paths_and_workers_are_not(tmp_path):
    path, runs = make(tmp_path)
    record = json.loads((Path(runs[0].folder) / "results.json").read_text())
    record["config"]["data"] |= {"repeat": 3, "train_images": "/elsewhere"}
    record["config"]["train"] |= {"workers": 7, "keep_every": 1, "val_interval": 2}
    (Path(runs[0].folder) / "results.json").write_text(json.dumps(record))
    assert list(found(path, tmp_path).rows) == ["a", "a (data.repeat 3)", "b"]


def test_rows_are_compared_on_the_data_that_most_of_them_saw(tmp_path):
    path, runs = make(tmp_path, "a", "b", "c")
    for run in runs[:3]:  # seed 0
        change(run, data={"val": "first"})
    change(runs[3], data={"val": "first"})
    result = found(path, tmp_path)
    assert [run.record.data["val"] for run in result.runs] == ["first"] * 4
    assert set(result.apart.values()) == {"b", "c"}
    assert describe_scale(result) == "smoke scale: 2 epochs of 24 images at 64 pixels, made"


def test_records_from_before_the_score_was_a_setting_are_read_and_stand_apart(tmp_path):
    path, runs = make(tmp_path)
    old = json.loads((Path(runs[0].folder) / "results.json").read_text())
    del old["config"]["train"]["score_of"]
    (Path(runs[0].folder) / "results.json").write_text(json.dumps(old))
    result = found(path, tmp_path)
    assert list(result.rows) == ["a", "a (train.score_of best)", "b"]
