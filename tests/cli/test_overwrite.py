"""What a call names for its results never takes the place of the user's files; the same call again replaces its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from made_calls import call, fails, train_arguments
from made_runs import make_config, make_task
from made_sets import write_set
from PIL import Image

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.models.checkpoints import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    task, config = make_task(**{"model.exp_on_reg": True}), to_dict(make_config(**{"model.exp_on_reg": True}))
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    return path


@pytest.fixture
def made(tmp_path):
    return write_set(tmp_path / "set", train=4, val=2)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict(weights, *more):
    return ["predict", *more, "--checkpoint", weights, "--input-size", 64, "--device", "cpu", "--score-threshold", 0.01]


def evaluate(weights, made, *more):
    annotations = made / "annotations" / "instances_val.json"
    options = ["--images", made / "val", "--annotations", annotations, "--workers", 0, "--progress", "silent"]
    return ["eval", "--checkpoint", weights, "--input-size", 64, "--device", "cpu", *options, *more]


def test_drawings_never_replace_the_images(capsys, weights, made):
    before = contents(made)
    fails(capsys, *predict(weights, made / "val", "--out", made / "val"), words=["1.png", "name another place"])
    assert contents(made) == before
    assert call(capsys, *predict(weights, made / "val", "--out", made / "drawn"))[0] == 0
    drawn = contents(made / "drawn")
    assert call(capsys, *predict(weights, made / "val", "--out", made / "drawn"))[0] == 0  # again
    fails(capsys, *predict(weights, made / "drawn", "--out", made / "drawn"), words=["1.png"])
    fails(capsys, *predict(weights, made / "drawn" / "1.png", "--out", made / "drawn"), words=["1.png"])
    assert contents(made / "drawn").keys() == drawn.keys()
    Image.new("RGB", (8, 8)).save(made / "drawn" / "2.png")
    mine = (made / "drawn" / "2.png").read_bytes()
    fails(capsys, *predict(weights, made / "val", "--out", made / "drawn"), words=["2.png"])
    assert (made / "drawn" / "2.png").read_bytes() == mine


@pytest.mark.parametrize("option", ["--json", "--predictions", "--curves"])
def test_eval_never_replaces_inputs_or_other_files(capsys, weights, made, option):
    mine = made / "notes.png"
    mine.write_text("mine")
    annotations = made / "annotations" / "instances_val.json"
    before = contents(made) | {weights: weights.read_bytes()}
    for path in (mine, annotations, made / "val" / "1.png", weights):
        fails(capsys, *evaluate(weights, made, option, path), words=[str(path), "name another place"])
    assert contents(made) | {weights: weights.read_bytes()} == before


def test_results_are_replaced_by_the_same_call_and_by_no_other(capsys, weights, made, tmp_path):
    outputs = ["--json", tmp_path / "a.json", "--predictions", tmp_path / "b.json", "--curves", tmp_path / "c.png"]
    for _ in range(2):
        assert call(capsys, *evaluate(weights, made, *outputs))[0] == 0
    fails(capsys, *evaluate(weights, made, "--json", tmp_path / "b.json"), words=["b.json"])
    fails(capsys, *predict(weights, made / "val", "--json", tmp_path / "a.json"), words=["a.json"])
    both = ["--json", tmp_path / "d.json", "--predictions", tmp_path / "set" / ".." / "d.json"]
    fails(capsys, *evaluate(weights, made, *both), words=["named for more than one result"])


def test_result_goes_to_the_standard_output(weights, made, capfd):
    assert call(capfd, *predict(weights, made / "val" / "1.png", "--json", "/dev/stdout"))[0] == 0


def test_full_device_is_a_sentence_and_stays(capsys, weights, made):
    fails(capsys, *predict(weights, made / "val" / "1.png", "--json", "/dev/full"), words=["No space left"])
    assert Path("/dev/full").is_char_device()


def test_training_never_replaces_what_a_folder_holds(capsys, made, tmp_path):
    for name in ("results.json", "best.safetensors"):
        (tmp_path / name).mkdir()
        mine = tmp_path / name / name
        mine.write_text("mine")
        for more in ([], ["--resume", "auto"]):
            fails(capsys, *train_arguments(made, mine.parent), "--progress", "silent", *more, words=[name])
        assert contents(mine.parent) == {mine: b"mine"}


def test_corrected_annotations_replace_their_own_former_file_alone(tmp_path, made):
    from rtmdet_lab.analysis.corrections import Correction, write_corrected_coco
    from rtmdet_lab.core.errors import DataError, StorageError

    source, target = made / "annotations" / "instances_val.json", tmp_path / "corrected.json"
    for label in ("wide", "tall"):
        write_corrected_coco(source, [Correction(1, 1, label=label)], target)
    os.link(source, tmp_path / "link.json")
    with pytest.raises(DataError, match="is the annotation itself"):
        write_corrected_coco(source, [], tmp_path / "link.json")
    content = json.loads(target.read_text())
    target.write_text(json.dumps(content))  # edited
    with pytest.raises(StorageError, match="name another place"):
        write_corrected_coco(source, [], target)


def test_executed_notebook_replaces_no_other_notebook(capsys, tmp_path):
    mine = tmp_path / "mine.ipynb"
    mine.write_text('{"cells": []}')
    fails(capsys, "notebook", "00_quickstart", mine, words=["mine.ipynb", "name another place"])
    assert mine.read_text() == '{"cells": []}'
