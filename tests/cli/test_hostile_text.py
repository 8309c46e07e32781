"""Texts of weight files, annotations and names that would act where they are shown, through every verb that shows them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from made_calls import call, train_arguments
from made_dota import SHIP, write_dota
from made_runs import make_config, make_task
from made_sets import write_set

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.models.checkpoints import save_weights

NAMES = ("$\\frac{x$\x1b[2J\x1b]0;title\x07", "../../../evil\r\u202e<script>alert(1)</script>")


def strange_set(folder: Path) -> Path:
    """Writes a set whose classes, title and one image have names of a stranger."""
    write_set(folder)
    for split in ("train", "val"):
        path = folder / "annotations" / f"instances_{split}.json"
        content = json.loads(path.read_text())
        content["info"] = {"description": "set\x1b[31m\x9b2J\u2066"}
        for category, name in zip(content["categories"], NAMES, strict=True):
            category["name"] = name
        image = content["images"][0]
        (folder / split / image["file_name"]).rename(folder / split / "$a\x1b[1A\u202e$.png")
        image["file_name"] = "$a\x1b[1A\u202e$.png"
        path.write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return strange_set(tmp_path_factory.mktemp("set"))


def weights_of(path: Path, **settings) -> Path:
    task, config = make_task(**settings), to_dict(make_config(**settings))
    prefix = {"rotated": "rtmdet-r-tiny"}.get(settings.get("task"), "rtmdet-nano")
    save_weights(path, task.model.state_dict(), model=prefix, classes=NAMES, config=config)
    return path


def calls(capsys, *arguments) -> str:
    """Returns what a call that must succeed prints, after looking for what would act on a terminal."""
    code, out, err = call(capsys, *arguments)
    assert code == 0, err
    for text in (out, err.replace("\r", "\n").replace("\x1b[A", "")):  # tqdm's bars move the cursor
        assert not [letter for letter in text if not letter.isprintable() and letter not in "\n\t"], repr(text)
    return out


def test_eval(capsys, made, tmp_path):
    weights = weights_of(tmp_path / "best.safetensors", **{"model.exp_on_reg": True})
    options = ["--images", made / "val", "--annotations", made / "annotations" / "instances_val.json", "--workers", 0]
    outputs = ["--json", tmp_path / "scores.json", "--curves", tmp_path / "curves.png", "--progress", "plain"]
    out = calls(capsys, "eval", "--checkpoint", weights, "--input-size", 64, "--device", "cpu", *options, *outputs)
    assert "set\\x1b[31m" in out
    assert "\\x1b[2J" in out
    assert [row["class"] for row in json.loads((tmp_path / "scores.json").read_text())["per_class"]] == list(NAMES)


def test_predict(capsys, made, tmp_path):
    weights = weights_of(tmp_path / "best.safetensors", **{"model.exp_on_reg": True})
    options = ["--input-size", 64, "--score-threshold", 0.005, "--max-per-image", 3, "--device", "cpu"]
    out = calls(capsys, "predict", made / "val", "--checkpoint", weights, "--out", tmp_path / "drawn", *options)
    assert "$a\\x1b[1A\\u202e$.png" in out
    assert len(list((tmp_path / "drawn").iterdir())) == 4


def test_submission_has_no_paths(capsys, tmp_path):
    settings = {"task": "rotated", "model.size": "tiny", "model.exp_on_reg": True}
    settings |= {"augment.mosaic_cache": None, "augment.mixup_cache": None}
    weights = weights_of(tmp_path / "best.safetensors", **settings)
    images, _ = write_dota(tmp_path, {"a": [SHIP]})
    archive = tmp_path / "task1.zip"
    options = ["--tile", 64, "--overlap", 16, "--max-per-image", 2, "--device", "cpu", "--submission", archive]
    calls(capsys, "predict", images, "--checkpoint", weights, "--score-threshold", 0.005, *options)
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
    assert len(set(names)) == 2
    assert not [name for name in names if "/" in name or "\\" in name or not name.isprintable()]


def test_check_and_train(capsys, made, tmp_path):
    arguments = [made / "val", made / "annotations" / "instances_val.json", "--workers", 1]
    assert "\\x1b]0;title" in calls(capsys, "data", "check", *arguments)
    out = calls(capsys, *train_arguments(made, tmp_path / "run"), "--progress", "plain")
    assert "set\\x1b[31m" in out
