"""Real runs, stopped and killed at a random moment and started again: finished ones untouched, the rest completed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from made_sweeps import write_experiment

from rtmdet_lab.experiment.sweep import local
from rtmdet_lab.experiment.sweep.plan import finished_record, plan
from rtmdet_lab.experiment.sweep.stopping import STOPPED
from rtmdet_lab.experiment.sweep.worker import LOCK_NAME


@pytest.mark.slow
def test_killed_sweep_goes_on_where_it_was(tmp_path):
    path = write_experiment(tmp_path, "3", "5", "7")
    options = ["--scale", "smoke", "--seeds", "0", "1", "2", "3", "--jobs", "3", "--out", str(tmp_path / "out")]
    shorter = ["--set", "train.epochs=1", "--set", "train.weak_epochs=1", "--device", "cpu"]
    command = [sys.executable, "-m", "rtmdet_lab.cli", "sweep", str(path), *options, *shorter]
    runs = plan(path, "smoke", range(4), tmp_path / "out", overrides={"train.epochs": 1, "train.weak_epochs": 1})

    def finished():
        return {run.folder: (Path(run.folder) / "results.json").read_bytes() for run in runs if finished_record(run)}

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("MPLBACKEND", None)
    first = subprocess.Popen(command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
    while not finished():
        assert first.poll() is None
        time.sleep(0.2)
    time.sleep(random.uniform(0, 8))
    # The sweep and its workers at once, as when a machine goes down; kernels end when they miss their parent.
    workers = subprocess.run(["pgrep", "-f", f"sweep.worker {tmp_path}"], capture_output=True, text=True, check=False)
    for number in [first.pid, *map(int, workers.stdout.split())]:
        os.kill(number, signal.SIGKILL)
    first.wait()
    before = finished()
    assert 0 < len(before) < 12

    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert f"{len(before)} done before, {12 - len(before)} to go" in second.stdout
    after = finished()
    assert len(after) == 12
    assert {folder: after[folder] for folder in before} == before
    records = list((tmp_path / "out").rglob("results.json"))
    assert len(records) == 12
    for run in runs:
        assert {"run.ipynb", "results.json", "best.safetensors", "predictions.json", "metrics.jsonl"} <= {
            one.name for one in Path(run.folder).iterdir()
        }
        assert (Path(run.folder) / "figures" / "history.png").exists()
        assert finished_record(run).effective == {"model.kernel_size": int(run.row)}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "left alone"])
def test_worker_that_must_stop_saves_the_state_inside_its_epoch(how, tmp_path):
    """Epochs of 120 batches: without its answer to the signal the state would be that of the end of one."""
    path = write_experiment(tmp_path, "3", "5")
    long = {"data.repeat": 5, "train.batch_size": 1, "train.epochs": 9, "train.weak_epochs": 9}
    (run,) = plan(path, "smoke", [0], tmp_path / "out", rows=["5"], overrides=long, device="cpu", threads=1)
    command = local.worker_command(run)
    if how == "left alone":  # by a sweep that was killed
        command = ["bash", "-c", '"$@" & wait', "sweep", *command]
    folder = Path(run.folder)
    with (folder / "worker.log").open("w") as log:
        process = subprocess.Popen(
            command, env=local.worker_environment(run), stdout=log, stderr=log, start_new_session=True
        )
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None, (folder / "worker.log").read_text()
        time.sleep(0.1)
    time.sleep(1.0)
    if how == "stopped":
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == STOPPED
    else:
        process.kill()
        process.wait()
        with FileLock(folder / LOCK_NAME).acquire(timeout=60):
            pass
    assert "TrainingInterrupted: stopped in epoch" in (folder / "error.txt").read_text()
    assert 0 < torch.load(folder / "last.state", weights_only=False)["batch"] < 120
    assert "TrainingInterrupted" in (folder / "run.ipynb").read_text(), "as any failing cell"
