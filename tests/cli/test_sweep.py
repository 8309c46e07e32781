"""``rtmdet-lab sweep``."""

from __future__ import annotations

import json
import os

import pytest
from made_calls import call, fails
from made_sweeps import fake_command, write_experiment, write_record

from rtmdet_lab.cli import sweep
from rtmdet_lab.experiment.sweep import local, worker
from rtmdet_lab.experiment.sweep.plan import plan


def test_dry_run_lists_what_would_run_and_how_long_and_runs_nothing(capsys, tmp_path):
    path = write_experiment(tmp_path, "a", "b")
    write_record(plan(path, "smoke", [0], tmp_path / "out")[0])
    arguments = ["sweep", path, "--scale", "smoke", "--seeds", 0, 1, "--out", tmp_path / "out", "--dry-run"]
    code, out, _ = call(capsys, *arguments, "--json", tmp_path / "plan.json")
    assert code == 0
    assert "3 of 4 to run" in out
    listed = json.loads((tmp_path / "plan.json").read_text())
    assert [(one["row"], one["seed"], one["state"]) for one in listed] == [
        ("a", 0, "done"),
        ("b", 0, "to run"),
        ("a", 1, "to run"),
        ("b", 1, "to run"),
    ]
    assert not (tmp_path / "out" / "data").exists()


@pytest.mark.parametrize(
    ("asked", "usable", "jobs", "expected"), [(None, 8, 3, "2"), (None, 2, 4, "1"), (None, 4, 1, "4"), ("3", 8, 2, "3")]
)
def test_runs_share_the_processors_unless_threads_are_set(asked, usable, jobs, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(usable)), raising=False)
    (run,) = plan("kernel_size", "smoke", [0], tmp_path, rows=["5x5"], threads=sweep._threads(jobs))
    assert local.worker_environment(run)["OMP_NUM_THREADS"] == expected


@pytest.mark.slow
def test_runs_what_is_missing_and_says_what_failed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "worker_command", fake_command(tmp_path))
    path = write_experiment(tmp_path, "a", "fails")
    arguments = ["sweep", path, "--scale", "smoke", "--out", tmp_path / "out", "--jobs", 2]
    code, out, _ = call(capsys, *arguments, "--json", tmp_path / "state.json")
    assert code == 1
    assert "2 runs, 0 done before, 2 to go" in out
    assert "1 of 2 runs done, 1 failed" in out
    states = {one["row"]: (one["state"], one["error"]) for one in json.loads((tmp_path / "state.json").read_text())}
    assert states["a"] == ("done", None)
    assert "it broke" in states["fails"][1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["kernel_sise"], ["did you mean 'kernel_size'"]),
        (["kernel_size", "--scale", "big"], ["smoke, laptop or paper"]),
        (["kernel_size", "--rows", "4x4"], ["no row '4x4'"]),
        (["kernel_size", "--jobs", 0], ["--jobs is 0"]),
        (["kernel_size", "--retries", -1], ["--retries is -1"]),
        (["kernel_size", "--set", "train.ema=yes"], ["train.ema"]),
        (["kernel_size", "--scale", "paper"], ["--data"]),
    ],
)
def test_mistakes_are_one_sentence(capsys, arguments, words, tmp_path):
    fails(capsys, "sweep", *arguments, "--out", tmp_path, words=words)


def test_output_that_cannot_be_written_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(capsys, "sweep", "kernel_size", "--scale", "smoke", "--out", tmp_path / "file", words=[str(tmp_path / "file")])


def test_notebook_without_parameters_is_named_before_any_run(capsys, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setattr(worker, "shipped_folder", lambda name: tmp_path / name)
    arguments = ["sweep", "kernel_size", "--scale", "smoke", "--out", tmp_path / "out"]
    fails(capsys, *arguments, words=["30_train.ipynb does not exist", "checkout"])
    cells = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "notebooks" / "30_train.ipynb").write_text(json.dumps(cells))
    fails(capsys, *arguments, words=["no parameters cell"])
    assert not (tmp_path / "out" / "kernel_size").exists()
