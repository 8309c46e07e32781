"""A sweep on one machine: nothing is run twice, nothing finished is lost, no failure stops the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from made_sweeps import fake_command, write_experiment, write_record

from rtmdet_lab.experiment.sweep import local, worker
from rtmdet_lab.experiment.sweep.plan import finished_record, plan
from rtmdet_lab.experiment.sweep.progress import Tracker
from rtmdet_lab.experiment.sweep.stopping import KernelStop
from rtmdet_lab.experiment.sweep.worker import LOCK_NAME, TAKEN


@pytest.fixture(autouse=True)
def fake(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "worker_command", fake_command(tmp_path))
    monkeypatch.setattr(local, "POLL_S", 0.02)


def attempts(run) -> int:
    path = Path(run.folder) / "attempts.txt"
    return len(path.read_text().split()) if path.exists() else 0


def sweep(tmp_path, *rows, seeds=(0,), jobs=2, retries=0):
    runs = plan(write_experiment(tmp_path, *rows), "smoke", seeds, tmp_path / "out", retries=retries)
    tracker = Tracker(runs, jobs, interval_s=0.05)
    assert local.run_local(runs, jobs, tracker) is None
    return runs, tracker


@pytest.mark.slow
def test_a_failure_stops_no_other_and_keeps_its_notebook(tmp_path, capsys):
    runs, tracker = sweep(tmp_path, "a", "fails", "c")
    assert [finished_record(run) is not None for run in runs] == [True, False, True]
    assert len(tracker.done) == 2
    (reason,) = tracker.failed.values()
    assert "RuntimeError: it broke" in reason
    assert "details" not in reason
    assert (Path(runs[1].folder) / "run.ipynb").exists()
    out = capsys.readouterr().out
    assert "failed  fails, seed 0: RuntimeError: it broke" in out
    assert "done    a, seed 0: AP 0.250" in out


@pytest.mark.slow
def test_failing_runs_are_tried_again_as_asked(tmp_path):
    runs, tracker = sweep(tmp_path, "fails", "breaks once", retries=2)
    assert [attempts(run) for run in runs] == [3, 2]
    assert len(list(Path(runs[0].folder).glob("failed-*.ipynb"))) == 2  # and the last one as run.ipynb
    assert list(tracker.failed) == [runs[0].folder]
    assert not (Path(runs[1].folder) / "error.txt").exists()


@pytest.mark.slow
def test_a_repeated_sweep_runs_what_is_missing(tmp_path):
    runs, _ = sweep(tmp_path, "a", "fails", "c")
    before = Path(runs[0].folder, "results.json").read_bytes()
    again, tracker = sweep(tmp_path, "a", "fails", "c")
    assert [attempts(run) for run in again] == [1, 2, 1]
    assert Path(runs[0].folder, "results.json").read_bytes() == before
    assert len(tracker.done) == 2


@pytest.mark.slow
def test_two_sweeps_at_once_do_no_run_twice(tmp_path):
    """The second one finds every run taken or done, waits for the taken ones, and counts them all."""
    path = write_experiment(tmp_path, *(f"slow {number}" for number in range(4)))
    runs = plan(path, "smoke", [0], tmp_path / "out")
    trackers = [Tracker(runs, 2, interval_s=0.05) for _ in range(2)]
    threads = [threading.Thread(target=local.run_local, args=(runs, 2, tracker)) for tracker in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [attempts(run) for run in runs] == [1] * 4
    assert all(len(tracker.done) == 4 and not tracker.failed for tracker in trackers)


@pytest.mark.slow
def test_run_of_another_worker_is_left_to_it(tmp_path):
    (run,) = plan(write_experiment(tmp_path, "a", "b"), "smoke", [0], tmp_path / "out", rows=["a"])
    Path(run.folder).mkdir(parents=True)
    with FileLock(Path(run.folder) / LOCK_NAME):
        result = subprocess.run(local.worker_command(run), env=local.worker_environment(run), check=False)
    assert result.returncode == TAKEN
    assert attempts(run) == 0


def test_worker_that_is_killed_or_says_nothing_has_a_reason(tmp_path, monkeypatch):
    (run,) = plan(write_experiment(tmp_path, "a", "b"), "smoke", [0], tmp_path / "out", rows=["a"])
    run.write()
    for script, words in (
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9"),
        ("raise ImportError('no torch')", "ImportError: no torch"),
    ):
        monkeypatch.setattr(local, "worker_command", lambda run, script=script: [sys.executable, "-c", script])
        tracker = Tracker([run], 1)
        local.run_local([run], 1, tracker)
        assert tracker.failed == {run.folder: words}


def test_folder_that_cannot_be_locked_is_named(tmp_path, monkeypatch, capsys):
    (run,) = plan(write_experiment(tmp_path, "a", "b"), "smoke", [0], tmp_path / "out", rows=["a"])

    def refuse(*arguments, **options):
        raise NotImplementedError

    monkeypatch.setattr(worker.FileLock, "acquire", refuse)
    assert worker.work(run, KernelStop()) == worker.FAILED
    assert f"{run.folder} lies on a file system without locks" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_worker_frees_its_run_at_once(tmp_path):
    (run,) = plan(write_experiment(tmp_path, "slow", "b"), "smoke", [0], tmp_path / "out", rows=["slow"])
    process = local._start(run)
    while attempts(run) == 0:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    tracker = Tracker([run], 1)
    local.run_local([run], 1, tracker)
    assert tracker.done == {run.folder}
    assert attempts(run) == 2


@pytest.mark.slow
def test_stopping_the_sweep_stops_its_workers_and_keeps_what_is_done(tmp_path):
    names = [f"slow {number}" for number in range(6)]
    runs = plan(write_experiment(tmp_path, *names), "smoke", [0], tmp_path / "out")
    write_record(runs[0])
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    tracker = Tracker(runs, 1)
    assert local.run_local(runs, 1, tracker) == signal.SIGTERM
    assert finished_record(runs[0]) is not None
    assert sum(finished_record(run) is not None for run in runs) < 6
    alive = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False).stdout.split()
    assert alive == []
