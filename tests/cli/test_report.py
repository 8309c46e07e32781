"""``rtmdet-lab report``."""

from __future__ import annotations

import json

from made_calls import call, fails

OWN = """
from rtmdet_lab import ExperimentConfig, Table

TABLE = Table("t", "c.", ExperimentConfig(), {"s": {}, "l": {"model.size": "l"}}, {"s": {"params_M": "9.99"}}, "nowhere")
"""


def test_printed_and_measured_numbers_stand_side_by_side(capsys, tmp_path):
    code, out, err = call(capsys, "report", "--static", "kernel_size", "assigners", "--json", tmp_path / "r.json")
    assert (code, err) == (0, "")
    rows = json.loads((tmp_path / "r.json").read_text())["experiments"]
    assert len(rows["kernel_size"]) == 6
    assert rows["assigners"] == []
    assert "50.80" in out
    assert "50.801" in out
    assert "no parameters or multiply-adds published" in out
    assert "6 printed numbers compared, 0 differ" in out


def test_a_number_that_differs_is_a_problem_found(capsys, tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    code, out, _ = call(capsys, "report", "--static", tmp_path / "own.py")
    assert code == 1
    assert "differs" in out


def test_unknown_experiment(capsys):
    assert "did you mean 'kernel_size'" in fails(capsys, "report", "--static", "kernelsize")


def test_static_comparison_of_nothing_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("rtmdet_lab.experiment.table.table_names", list)
    assert "no experiments here to compare: name the path" in fails(capsys, "report", "--static")
