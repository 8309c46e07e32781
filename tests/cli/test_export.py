"""``rtmdet-lab export``: mistakes in the call, and one export from a run folder to the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from made_calls import call
from made_exports import CLASSES, TINY, finder, made_images

from rtmdet_lab.config.overrides import to_dict, with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.models.checkpoints import save_weights


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    model = finder("detection")
    settings = {f"model.{name}": value for name, value in TINY.items()}
    config = with_overrides(ExperimentConfig(), {"model.size": "s", "model.num_classes": 3, **settings})
    save_weights(folder / "best.safetensors", model.state_dict(), model="rtmdet-s", classes=CLASSES, config=to_dict(config))
    (folder / "images").mkdir()
    for number, image in enumerate(made_images(4)):
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image[..., ::-1])
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "onxx"], "did you mean 'onnx'"),
        (["--to", "onnx", "--precision", "int8"], "--calibration"),
        (["--to", "onnx", "--calibration", "."], "--precision int8"),
        (["--to", "onnx", "--precision", "int8", "--calibration", "nowhere"], "no calibration folder nowhere"),
        (["--to", "onnx", "--annotations", "a.json"], "name the folder"),
        (["--to", "onnx", "--images", "nowhere/x"], "nowhere"),
        (["--to", "onnx", "--input-size", "100"], "multiple of 32"),
        (["--to", "torchscript", "--output", "detections"], "without NMS"),
    ],
)
def test_mistakes_are_told_in_a_sentence_and_write_nothing(capsys, run_folder, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "export", str(run_folder), *arguments)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("*.*"))


def test_a_folder_without_weights_is_refused(capsys, tmp_path):
    code, _, err = call(capsys, "export", str(tmp_path), "--to", "onnx")
    assert code == 2
    assert "holds no weights" in err


def test_a_run_folder_becomes_a_file_that_is_compared_at_once(capsys, run_folder, tmp_path):
    out, result = tmp_path / "model.torchscript", tmp_path / "result.json"
    arguments = ["--to", "torchscript", "--out", str(out), "--input-size", "128", "--score-threshold", "0.3"]
    arguments += ["--images", str(run_folder / "images"), "--json", str(result)]
    code, shown, _ = call(capsys, "export", str(run_folder), *arguments)
    assert code == 0
    assert "4 images:" in shown
    found = json.loads(result.read_text())
    assert found["files"] == [str(out)]
    assert found["classes"] == list(CLASSES)
    difference = found["difference"]
    assert difference["detections"] == difference["exported"] == difference["matched"] > 50
    assert difference["boxes_px"] < 0.05
    code, _, err = call(capsys, "export", str(run_folder), *arguments)
    assert code == 2
    assert "--overwrite" in err
