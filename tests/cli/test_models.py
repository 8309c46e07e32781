"""``rtmdet-lab models``."""

from __future__ import annotations

import json

import pytest
from made_calls import call, fails

from rtmdet_lab.config.presets import model_names


def test_all_models_and_weights_are_listed(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("RTMDET_LAB_CACHE", str(tmp_path))
    code, out, err = call(capsys, "models", "--json", tmp_path / "models.json")
    assert (code, err) == (0, "")
    result = json.loads((tmp_path / "models.json").read_text())
    assert [row["model"] for row in result["models"]] == model_names()
    assert {row["model"]: round(row["params_M"], 3) for row in result["models"]}["rtmdet-s"] == 8.887
    assert any(row["weights"] == "rtmdet-tiny-coco" and row["url"].endswith(".pth") for row in result["weights"])
    assert all(name in out for name in model_names())
    assert str(tmp_path) in out


def test_one_model_by_part(capsys, tmp_path):
    code, out, _ = call(capsys, "models", "rtmdet-tiny", "--json", tmp_path / "tiny.json")
    assert code == 0
    parts = {row["part"]: row["params_M"] for row in json.loads((tmp_path / "tiny.json").read_text())["parts"]}
    # paper.md 1.2: 2.35 + 2.19 + 0.36 = 4.896 M
    assert {name: round(value, 2) for name, value in parts.items()} == {
        "backbone": 2.35,
        "neck": 2.19,
        "bbox_head": 0.36,
        "total": 4.90,
    }
    assert parts["total"] == pytest.approx(parts["backbone"] + parts["neck"] + parts["bbox_head"])
    assert "rtmdet-tiny, 80 classes, 640 x 640 pixels" in out


def test_settings_and_classes_change_the_count(capsys, tmp_path):
    def total(*arguments):
        call(capsys, "models", "rtmdet-tiny", *arguments, "--json", tmp_path / "x.json")
        return json.loads((tmp_path / "x.json").read_text())["total"]

    plain = total()
    assert total("--set", "kernel_size=7")["params_M"] > plain["params_M"]
    assert total("--set", "backbone.channel_attention=false")["params_M"] < plain["params_M"]
    assert total("--num-classes", 1)["params_M"] < plain["params_M"]
    assert total("--input-size", 320)["MACs_G"] == pytest.approx(plain["MACs_G"] / 4, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rtmdet-tny"], ["'rtmdet-tny'", "did you mean 'rtmdet-tiny'?"]),
        (["yolo"], ["'yolo'", "rtmdet-s"]),
        (["rtmdet-s", "--set", "kernal_size=7"], ["kernal_size", "did you mean 'kernel_size'?"]),
        (["rtmdet-s", "--set", "kernel_size=seven"], ["kernel_size", "whole number", "'seven'"]),
        (["rtmdet-s", "--set", "kernel_size=4"], ["kernel_size", "odd"]),
        (["rtmdet-s", "--set", "kernel_size"], ["NAME=VALUE"]),
        (["rtmdet-s", "--set", "block=darkent"], ["block", "did you mean 'darknet'?"]),
        (["rtmdet-s", "--num-classes", "0"], ["num_classes", "at least 1"]),
        (["rtmdet-s", "--input-size", "0"], ["0"]),
        (["rtmdet-s", "--json", "/dev/null/x.json"], ["/dev/null/x.json"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_one_sentence(capsys, arguments, words):
    message = fails(capsys, "models", *arguments, words=words)
    assert "  " not in message
