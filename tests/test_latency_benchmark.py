"""benchmarks/latency.py: a row per precision and way, ratios to the first, and the numbers a network must move."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("latency_benchmark", ROOT / "benchmarks/latency.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_numbers_moved_are_weights_and_twice_what_convolutions_give(script):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1))
    weights = 4 * 3 * 9 + 2 * 4 + 2
    assert script.numbers_moved(model, torch.zeros(5, 3, 6, 8)) == weights + 2 * 5 * 6 * 8 * (4 + 2)


def test_each_precision_and_way_is_a_row_and_the_first_is_what_others_are_compared_with(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "speed", lambda dtype, device: script.Speed(1e12, 1e11))
    monkeypatch.setattr(script, "timed", lambda run, device: run() is not None and 0.25)
    command = "latency --models rtmdet-nano --batches 2 --input-size 64 --turns 2 --ways trained prepared --device cpu"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--json", str(tmp_path / "rows.json")])
    script.main()
    result = json.loads((tmp_path / "rows.json").read_text())
    assert [(row["precision"], row["way"]) for row in result["rows"]] == [
        ("fp32", "trained"),
        ("fp32", "prepared"),
        ("bf16", "trained"),
        ("bf16", "prepared"),
    ]
    for row in result["rows"]:
        assert (row["ms"], row["images/s"], row["to fp32 trained"]) == (250, 8, 1)
        assert row["published ms"] is None  # of one image alone
        assert row["of the floor"] > 0
    floors = {row["precision"]: row["of the floor"] for row in result["rows"]}
    assert floors["bf16"] < floors["fp32"]  # half the bytes


def test_published_time_stands_beside_one_image_of_a_published_model(script, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(script, "speed", lambda dtype, device: script.Speed(1e12, 1e11))
    monkeypatch.setattr(script, "timed", lambda run, device: 0.001)
    options = "--models rtmdet-tiny --input-size 64 --turns 1 --ways trained --precisions fp32 --device cpu"
    monkeypatch.setattr(sys, "argv", ["latency", *options.split(), "--json", str(tmp_path / "rows.json")])
    script.main()
    (row,) = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert row["published ms"] == "0.98"
    assert "0.98" in capsys.readouterr().out


def test_speeds_of_this_machine_are_positive(script):
    found = script.speed(torch.float32, torch.device("cpu"))
    assert found.operations > 1e8
    assert found.bytes > 1e7
