"""One run, one record."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import from_dict, to_dict, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.experiment import record
from rtmdet_lab.experiment.record import RunRecord, cpu_name, environment, git_revision, peak_memory_mb, read_record

EPOCH = {"epoch": 0, "stage": "weak", "step": 4, "lr": 0.1, "losses": {"loss_cls": 1.0}, "seconds": 2.0, "images_per_s": 4.0}


def make_record(**changes) -> RunRecord:
    return dataclasses.replace(
        RunRecord(
            model="rtmdet-tiny",
            config=to_dict(resolve(with_overrides(ExperimentConfig(), {"train.epochs": 2, "train.weak_epochs": 1}))),
            metrics={"AP": 0.25, "APs": -1.0},
            per_class=[{"class": "a", "AP": 0.25, "objects": 3}],
            data={"train": "a set", "train_images": 8, "val": "another", "val_images": 4},
            seed=3,
            seconds=12.5,
            params_M=4.9,
            macs_G=8.1,
            peak_memory_mb={"process": 300.0},
            history=[EPOCH],
            environment={"python": "3.12"},
        ),
        **changes,
    )


def test_record_goes_to_disk_and_back(tmp_path):
    record = make_record(scale="smoke", experiment="kernel_size", row="7x7")
    path = record.write(tmp_path / "run")
    assert path == tmp_path / "run" / "results.json"
    assert read_record(tmp_path / "run") == read_record(path) == record


def test_fields_that_were_not_given_have_defaults(tmp_path):
    record = make_record()
    assert (record.scale, record.experiment, record.row) == (None, None, None)
    content = {key: value for key, value in dataclasses.asdict(record).items() if key not in ("scale", "row", "history")}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_record(tmp_path).history == []


def test_record_of_a_class_without_objects_is_json_for_every_program(tmp_path):
    # Its AP is not a number, and NaN is not JSON: jq, JavaScript and most other readers refuse such a file.
    make_record(per_class=[{"class": "a", "AP": float("nan"), "objects": 0}]).write(tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)


def test_rewriting_replaces_the_whole_record(tmp_path):
    make_record(history=[{**EPOCH, "epoch": number} for number in range(200)]).write(tmp_path)
    make_record(seed=4).write(tmp_path)
    assert read_record(tmp_path).seed == 4
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError) as error:
        make_record().write(tmp_path / "file")
    assert_one_sentence(error.value, str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        ("", "empty"),
        ("{", "not valid JSON"),
        ("[1, 2]", "not a run record"),
        ("5", "not a run record"),
        ("null", "not a run record"),
        ('{"model": "x"}', "not a run record"),
        ('{"unknown": 1}', "not a run record"),
    ],
    ids=str,
)
def test_what_is_no_record_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    for given in (path, tmp_path):
        with pytest.raises(DataError) as error:
            read_record(given)
        message = assert_one_sentence(error.value, str(path), words)
        assert "__init__" not in message  # a name from inside the library tells a person nothing


def leaves(content, path=()):
    """Yields the path of every value of nested mappings and lists."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from leaves(value, (*path, key))


def with_value(content, path, value):
    content = json.loads(json.dumps(content))
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return content


CONTENT = dataclasses.asdict(make_record(history=[{**EPOCH, "metrics": {"AP": 0.1}}], environment={}))
STRANGE = [..., None, "text", [], {}, -1, 10**400, 1e999, True, "\ud800"]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:9])
def test_every_field_of_a_record_is_read_right_or_refused_by_name(tmp_path, value):
    path = tmp_path / "results.json"
    for place in leaves(CONTENT):
        path.write_text(json.dumps(with_value(CONTENT, place, value)))
        try:
            record = read_record(path)
        except DataError as error:
            assert_one_sentence(error, str(path))
            continue
        # What is accepted can be used: by the figures, the tables, and as the settings of another run.
        from_dict(record.config)
        sum(sum(epoch["losses"].values()) + epoch["lr"] + epoch["step"] for epoch in record.history)
        float(record.metrics.get("AP", 0)), record.data["train"] + record.data["val"], record.data["train_images"] + 1


def test_setting_of_a_newer_version_is_filled_in_and_unknown_one_refused(tmp_path):
    content = with_value(CONTENT, ("config", "train", "keep_every"), ...)
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert read_record(tmp_path).config["train"]["keep_every"] == 0
    (tmp_path / "results.json").write_text(json.dumps(with_value(CONTENT, ("config", "train", "wings"), 2)))
    with pytest.raises(DataError, match=r"config, no setting 'train\.wings'"):
        read_record(tmp_path)


def test_record_with_the_settings_names_of_an_earlier_version_is_read(tmp_path):
    record = make_record(effective={"train.accumulate": 3})
    record.config["train"]["accumulate"] = record.config["train"].pop("gradient_accumulation_steps") + 2
    record.write(tmp_path)
    read = read_record(tmp_path)
    assert read.config["train"]["gradient_accumulation_steps"] == 3
    assert read.effective == {"train.gradient_accumulation_steps": 3}


def test_score_that_is_no_number_comes_back_as_nan(tmp_path):
    make_record(metrics={"AP": float("nan"), "AP50": 0.5}).write(tmp_path)
    metrics = read_record(tmp_path).metrics
    assert metrics["AP"] != metrics["AP"]
    assert metrics["AP50"] == 0.5


def test_environment_names_what_a_number_depends_on():
    found = environment(torch.device("cpu"))
    assert (
        found["versions"]["torch"] == torch.__version__.partition("+")[0] or found["versions"]["torch"] in torch.__version__
    )
    assert {"torchvision", "numpy", "pycocotools", "rtmdet-lab"} <= set(found["versions"])
    assert found["device"] == "cpu"
    assert found["hardware"]["cpu"] == cpu_name() != ""
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert "gpu" not in found["hardware"]
    json.dumps(found)


def test_git_revision_is_none_where_there_is_no_checkout_or_no_git(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "__file__", str(tmp_path / "experiment/record.py"))
    assert git_revision() is None

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert git_revision() is None


def test_git_revision_tells_of_changed_code_and_not_of_saved_notebooks(monkeypatch, tmp_path):
    def git(*arguments):
        command = ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    try:
        git("init", "--quiet")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("git is not usable here")
    files = [
        tmp_path / name for name in ("package/experiment/record.py", "experiments/table.py", "notebooks/30_train.ipynb")
    ]
    for path in files:
        path.parent.mkdir(parents=True)
        path.write_text("")
    git("add", ".")
    git("commit", "--quiet", "-m", "x")
    monkeypatch.setattr(record, "__file__", str(files[0]))
    clean = git_revision()
    assert len(clean) == 12
    files[2].write_text("saved")
    (tmp_path / "notes.txt").write_text("mine")
    assert git_revision() == clean
    for path in files[:2]:
        path.write_text("changed")
        assert git_revision() == clean + "+changes"
        path.write_text("")
    (tmp_path / "package" / "new.py").write_text("")
    assert git_revision() == clean + "+changes"


def test_memory_is_in_mebibytes():
    peaks = peak_memory_mb(torch.device("cpu"))
    assert set(peaks) == {"process", "largest_worker"}
    assert 50 < peaks["process"] < 100_000  # torch alone is past 50


def test_record_from_before_the_score_was_a_setting_says_that_it_is_of_the_best_weights(tmp_path):
    path = make_record().write(tmp_path)
    content = json.loads(path.read_text())
    del content["config"]["train"]["score_of"]
    path.write_text(json.dumps(content))
    assert read_record(path).config["train"]["score_of"] == "best"
