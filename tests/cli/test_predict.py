"""``rtmdet-lab predict``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from rtmdet_lab.config import to_dict
from rtmdet_lab.models.checkpoints import save_weights

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_calls import call, fails
from made_runs import make_config, make_task
from made_sets import write_set


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    task = make_task(**{"model.exp_on_reg": True})
    config = to_dict(make_config(**{"model.exp_on_reg": True}))
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    return path


def arguments(weights, *images, options=()):
    more = ["--input-size", 64, "--score-threshold", 0.005, "--max-per-image", 3, "--device", "cpu"]
    return ["predict", *images, "--checkpoint", weights, *more, *options]


def test_detections_are_printed_written_and_drawn(capsys, made, weights, tmp_path):
    figures = plt.get_fignums()
    options = ["--json", tmp_path / "found.json", "--out", tmp_path / "drawn", "--batch-size", 3]
    code, out, _ = call(capsys, *arguments(weights, made / "val", made / "train" / "1.png", options=options))
    assert code == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert [Path(one["image"]).name for one in results] == ["1.png", "2.png", "3.png", "4.png", "1.png"]
    for one in results:
        assert 0 < len(one["detections"]) <= 3
        for found in one["detections"]:
            assert found["class"] in ("wide", "tall")
            assert found["score"] >= 0.005
            x1, y1, x2, y2 = found["box"]
            assert 0 <= x1 <= x2 <= 64
            assert 0 <= y1 <= y2 <= 64
        assert f"{one['image']}: {len(one['detections'])} objects" in out
    assert plt.get_fignums() == figures


def test_images_of_one_name_in_two_folders_are_both_drawn(capsys, made, weights, tmp_path):
    images = [made / "val" / "1.png", made / "train" / "1.png"]
    code, _, _ = call(capsys, *arguments(weights, *images, options=["--out", tmp_path / "drawn"]))
    assert code == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 2


def test_image_without_detections_is_listed(capsys, made, weights):
    code, out, _ = call(capsys, *arguments(weights, made / "val" / "1.png", options=["--score-threshold", 0.99]))
    assert code == 0
    assert "1.png: 0 objects" in out


def test_mistakes_are_one_sentence(capsys, made, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    good = made / "val" / "1.png"
    for call_arguments, words in (
        (arguments(weights, tmp_path / "gone.jpg"), ["gone.jpg", "does not exist"]),
        (arguments(weights, good, tmp_path / "text.jpg"), ["text.jpg", "not an image"]),
        (arguments(weights, tmp_path / "empty"), ["empty", "no image"]),
        (arguments(tmp_path / "gone.pth", good), ["gone.pth"]),
        (arguments(weights, good, options=["--input-size", 33]), ["multiple of 32"]),
        (arguments(weights, good, options=["--batch-size", 0]), ["batch_size"]),
        (arguments(weights, good, options=["--device", "tpu"]), ["tpu"]),
    ):
        fails(capsys, *call_arguments, words=words)


def test_output_folder_that_is_a_file_is_one_sentence(capsys, made, weights, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(capsys, *arguments(weights, made / "val", options=["--out", tmp_path / "file"]), words=[str(tmp_path / "file")])
