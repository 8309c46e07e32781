"""One run on several processes of this machine: starts ``torchrun`` and shows what the first process reports.

On several machines ``torchrun`` is started by whoever hands them out (docs/results/scaling.md); the processes are the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rtmdet_lab.core import errors
from rtmdet_lab.core.children import Watch, children_of, kill
from rtmdet_lab.core.distributed import one_machine_environment
from rtmdet_lab.core.errors import SettingError, UserError
from rtmdet_lab.core.escaping import say
from rtmdet_lab.core.files import require_writable, write_json
from rtmdet_lab.engine.console import Reporter
from rtmdet_lab.engine.events import read_events, replay
from rtmdet_lab.engine.interrupt import TrainingInterrupted, catch

LOG_NAME = "processes.log"  # what the processes write to standard error
RESTARTS = 3  # times that all processes begin again, from the last state, after one was killed


class ProcessError(UserError, RuntimeError):
    """A process of the training ended without saying why."""


def require_processes(processes: int) -> None:
    """Raises SettingError unless there is at least one process."""
    if processes < 1:
        raise SettingError(f"num_processes is {processes}, but must be at least 1")


def run_processes(work: dict[str, Any], out_dir: Path, processes: int, reporter: Reporter) -> None:
    """Runs ``python -m rtmdet_lab.experiment.launch`` on several processes and returns when all have done their work.

    Ctrl-C, SIGTERM and SIGHUP are passed on: the processes save their state and stop.

    Args:
        work: arguments of :func:`rtmdet_lab.experiment.run`, as JSON knows them.

    Raises:
        UserError: the one that the processes met.
        TrainingInterrupted: a signal; the state was saved.
        ProcessError: a process was killed more often than it is restarted, or broke.
    """
    require_processes(processes)
    require_writable(out_dir)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max((os.cpu_count() or 1) // processes, 1))
    with tempfile.TemporaryDirectory() as folder, (out_dir / LOG_NAME).open("ab") as log:
        write_json(Path(folder) / "work.json", work)
        # torchrun, too, meets in a file: by itself it opens a port on all addresses.
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={folder}/agent", "--rdzv-conf=store_type=file"]
        options = [*meeting, "--local-addr=127.0.0.1", f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}"]
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            *options,
            "-m",
            "rtmdet_lab.experiment.launch",
            f"{folder}/work.json",
        ]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": threads, **one_machine_environment(Path(folder))},
            start_new_session=True,  # a Ctrl-C in a terminal would otherwise reach everybody twice
        )
        failure: BaseException | None = None
        done = False
        try:
            with passed_on(process), _watched(process) as watch, watch.waiting():
                for line in process.stdout:
                    events = read_events(line)
                    if not events:
                        say(line, end="")
                    for event in events:
                        if event["event"] == "done":
                            done = True  # whatever a signal that came too late makes of the exit code
                        elif not replay(event, reporter) and failure is None:
                            failure = _failure(event, out_dir / LOG_NAME)
                            if not isinstance(failure, TrainingInterrupted):
                                process.terminate()  # or it would be tried again
                code = process.wait()
        finally:
            reporter.close()
            if process.poll() is None:  # something went wrong here: nothing trains on unseen
                process.terminate()
                process.wait()
        if watch.still:  # the others say no more than that they miss it
            raise ProcessError(f"training {watch.sentence}, and the others with it: continue with --resume")
        if failure is not None:
            raise failure
        if code and not done:
            raise ProcessError(
                f"the training processes ended with exit code {code}: see {out_dir / LOG_NAME}, continue with --resume"
            )


def _watched(process: subprocess.Popen) -> Watch:
    """Returns a watch over the training processes, children of ``process``: the others wait for one that stands still."""

    def end(pids: list[int]) -> None:
        process.terminate()  # first, or torchrun would begin them again
        time.sleep(1.0)
        kill(pids)  # a stopped one does not answer

    return Watch(lambda: children_of(process.pid), end=end)


def _failure(event: dict[str, Any], log: Path) -> BaseException:
    if event["event"] == "interrupted":
        return TrainingInterrupted(event["message"], event["signum"])
    kind = getattr(errors, event.get("kind", ""), None)
    if event["event"] == "refused":
        return (kind or UserError)(event["message"])
    return ProcessError(f"a training process broke ({event['message']}): see {log}")


@contextmanager
def passed_on(process: subprocess.Popen) -> Iterator[None]:
    """Passes signals that ask for the end on to ``process``; elsewhere than in the main thread they cannot be caught."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # torchrun answers SIGHUP by closing the processes without their having saved.
    previous = catch(lambda number, _: process.send_signal(signal.SIGTERM if number == signal.SIGHUP else number))
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
