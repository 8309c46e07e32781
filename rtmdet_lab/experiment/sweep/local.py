"""Runs a sweep on this machine: one process per run, as many side by side as asked."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rtmdet_lab.engine.interrupt import InterruptRequest
from rtmdet_lab.experiment.sweep.plan import RunOrder, finished_record
from rtmdet_lab.experiment.sweep.progress import Tracker
from rtmdet_lab.experiment.sweep.worker import DONE, ERROR_NAME, LOG_NAME, TAKEN

POLL_S = 0.2
WAIT_S = 60.0  # for children asked to stop: they finish an optimizer step and save their state


def run_local(runs: Sequence[RunOrder], jobs: int, tracker: Tracker) -> int | None:
    """Brings every run to its end; returns the signal that stopped the sweep early, or None.

    A run that another sweep has taken is waited for; should that one die, it is taken over.
    """
    waiting = list(runs)
    active: list[tuple[RunOrder, subprocess.Popen]] = []
    taken: list[RunOrder] = []
    with InterruptRequest() as request:
        try:
            while waiting or active or taken:
                if request.signum:
                    return request.signum
                while waiting and len(active) < jobs:
                    run = waiting.pop(0)
                    active.append((run, _start(run)))
                for pair in [pair for pair in active if pair[1].poll() is not None]:
                    active.remove(pair)
                    if pair[1].returncode == TAKEN:
                        taken.append(pair[0])
                    else:
                        tracker.ended(pair[0], pair[1].returncode, reason_of(pair[0]))
                if taken and not waiting and len(active) < jobs:
                    waiting += _look_again(taken, tracker)
                tracker.running([run for run, _ in active])
                time.sleep(POLL_S)
        finally:
            _stop([process for _, process in active])
    return None


def reason_of(run: RunOrder) -> str:
    """Returns what the last attempt of a run failed with, as its worker wrote it; else the last line of its log."""
    with contextlib.suppress(OSError):
        return (Path(run.folder) / ERROR_NAME).read_text().strip()
    with contextlib.suppress(OSError, IndexError):
        return (Path(run.folder) / LOG_NAME).read_text(errors="replace").strip().splitlines()[-1]
    return ""


def worker_command(run: RunOrder) -> list[str]:
    """Returns the command that works on a run, whose file it writes."""
    return [sys.executable, "-m", "rtmdet_lab.experiment.sweep.worker", str(run.write())]


def worker_environment(run: RunOrder) -> dict[str, str]:
    """Returns the environment of a worker: the package this one runs, and its share of the processor."""
    package = str(Path(__file__).parents[3])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if run.threads:
        environment["OMP_NUM_THREADS"] = str(run.threads)
    return environment


def _start(run: RunOrder) -> subprocess.Popen:
    command = worker_command(run)
    with (Path(run.folder) / LOG_NAME).open("a") as log:
        # A session of its own: Ctrl-C reaches this process, which then stops the workers in order.
        return subprocess.Popen(
            command, env=worker_environment(run), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _look_again(taken: list[RunOrder], tracker: Tracker) -> list[RunOrder]:
    """Removes what another sweep has finished, and returns one run to try once more."""
    for run in [run for run in taken if finished_record(run) is not None]:
        taken.remove(run)
        tracker.ended(run, DONE)
    time.sleep(2.0 if taken else 0.0)  # the other sweep is at work: no hurry
    return [taken.pop(0)] if taken else []


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """Asks workers and their kernels to stop, and makes those stop that do not in time."""
    for process in processes:
        _signal(process, signal.SIGTERM)
    end = time.monotonic() + WAIT_S
    for process in processes:
        try:
            process.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.wait()


def _signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
