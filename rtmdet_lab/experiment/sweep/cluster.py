"""Runs a sweep on several machines: as tasks of a Ray cluster, or as jobs of Slurm through submitit.

Workers share the output folder and nothing else. A machine that is lost takes its runs with it; they are started again
elsewhere and go on from the state the lost one saved. Both libraries are extras, imported when asked for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.engine.interrupt import InterruptRequest
from rtmdet_lab.experiment.sweep.local import reason_of, worker_command, worker_environment
from rtmdet_lab.experiment.sweep.plan import RunOrder, finished_record
from rtmdet_lab.experiment.sweep.progress import Tracker
from rtmdet_lab.experiment.sweep.worker import DONE, FAILED, LOG_NAME, TAKEN

LOST_NODE_RETRIES = 10  # per run; beside the retries for runs that fail by themselves
POLL_S = 1.0
SILENCE_S = 60.0  # after which the process that talks to Ray is believed to hang
STOP_S = 10.0
HEAD_WAIT_S = 30 * 60.0
TAKEN_WAIT_S = 5.0


def run_ray(
    runs: Sequence[RunOrder],
    tracker: Tracker,
    *,
    gpus_per_run: float = 0.0,
    cpus_per_run: float = 1.0,
    address: str = "auto",
) -> int | None:
    """Brings every run to its end on a Ray cluster; returns the signal that stopped the sweep early, or None.

    A cluster that is lost, as when its head starts again, is joined again; what ran there goes on from its last state.

    Args:
        gpus_per_run, cpus_per_run: what Ray reserves for a run.
        address: of the cluster; "auto" takes the one this machine belongs to, "local" starts one here.

    Raises:
        SettingError: Ray is not installed, there is no cluster, or it did not come back.
    """
    ray = _extra("ray")
    if ray.is_initialized():
        address = ray.get_runtime_context().gcs_address
    options = {"num_cpus": cpus_per_run, "num_gpus": gpus_per_run, "max_retries": LOST_NODE_RETRIES}
    left, joined, lost_at = list(runs), False, 0.0
    with InterruptRequest() as request:
        while left:
            order = {"runs": tuple(left), "work": _work_in_process, "options": options, "address": address}
            reason = "no answer"
            with RayDriver(order) as driver:
                for event in driver.events():
                    if request.signum:
                        return request.signum
                    if "joined" in event:
                        joined, lost_at = True, 0.0
                        address = address if address == "local" else event["joined"]
                    elif "ended" in event:
                        run = order["runs"][event["ended"]]
                        left.remove(run)
                        tracker.ended(run, event["code"], event["reason"] or reason_of(run))
                    reason = event.get("absent", reason)
                    tracker.running(tracker.begun(left))
            if not left:
                break
            if not joined:
                raise SettingError(
                    f"no Ray cluster at {address!r} ({reason}): start one with `ray start --head`, or name it with --address"
                )
            if not lost_at:
                lost_at = time.monotonic()
                tracker.note(f"lost    the Ray cluster at {address}: waiting for it, {len(left)} runs to go")
            if time.monotonic() - lost_at > HEAD_WAIT_S:
                raise SettingError(
                    f"the Ray cluster at {address} did not come back within {HEAD_WAIT_S / 60:.0f} minutes: start it and "
                    f"repeat the command, which goes on with the {len(left)} runs that are left"
                )
            time.sleep(POLL_S)
    return None


class RayDriver:
    """Context with the process that talks to Ray, told to stop at its end."""

    def __init__(self, order: dict[str, Any]) -> None:
        from ray import cloudpickle

        command = [sys.executable, "-m", "rtmdet_lab.experiment.sweep.ray_driver"]
        environment = worker_environment(order["runs"][0])
        if order["address"] == "local" and "RAY_AUTH_MODE" not in environment:
            # A cluster of this machine alone listens on all of its addresses, and who may talk to it runs commands.
            environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # A session of its own: Ctrl-C reaches this process, which then ends that one in order.
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        with contextlib.suppress(BrokenPipeError):  # it is dead already, which the reader sees
            self.process.stdin.write(cloudpickle.dumps(order))
            self.process.stdin.flush()

    def __enter__(self) -> RayDriver:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yields what the process tells, at least an empty event a second, until it ends or falls silent."""
        heard = time.monotonic()
        while time.monotonic() - heard < SILENCE_S:
            try:
                line = self.lines.get(timeout=POLL_S)
            except queue.Empty:
                yield {}
                continue
            if line is None:
                return
            with contextlib.suppress(ValueError):  # a line that death cut short
                yield json.loads(line)
            heard = time.monotonic()  # whoever took the line may have needed long for it
        self.process.kill()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)


def run_slurm(
    runs: Sequence[RunOrder],
    tracker: Tracker,
    *,
    folder: Path,
    executor: Literal["slurm", "local", "debug"] = "slurm",
    gpus_per_run: float = 0.0,
    cpus_per_run: float = 1.0,
    jobs: int = 0,
    options: dict[str, Any] | None = None,
) -> int | None:
    """Brings every run to its end as jobs of a Slurm cluster; returns the signal that stopped the waiting, or None.

    Stopping the sweep leaves the jobs in the queue: a later sweep waits for their runs or takes over what they left.

    Args:
        folder: for submitit's files and the logs of the jobs; must be seen by all machines.
        executor: "local" and "debug" run the jobs here, in processes or in this one.
        jobs: runs at once, 0 for as many as the cluster gives.
        options: of submitit's executor, such as ``slurm_partition`` or ``timeout_min``.

    Raises:
        SettingError: submitit is not installed, or there is no Slurm here.
    """
    submitit = _extra("submitit")
    try:
        chosen = submitit.AutoExecutor(folder=folder / ".slurm", cluster=executor)
        parameters: dict[str, Any] = {
            "name": "rtmdet-lab",
            "cpus_per_task": max(int(cpus_per_run), 1),
            "timeout_min": 24 * 60,
        }
        if gpus_per_run:
            parameters["gpus_per_node"] = int(gpus_per_run)
        if jobs and executor == "slurm":
            parameters["slurm_array_parallelism"] = jobs
        chosen.update_parameters(**{**parameters, **(options or {})})
        with chosen.batch():
            handles = [chosen.submit(_work_until_free, run) for run in runs]
    except (RuntimeError, NotImplementedError, FileNotFoundError, TypeError, NameError, ValueError) as error:
        raise SettingError(f"cannot submit to {executor} ({str(error).splitlines()[0]}): check the options") from error
    waiting = list(zip(handles, runs, strict=True))
    with InterruptRequest() as request:
        while waiting:
            if request.signum:
                return request.signum
            for handle, run in [pair for pair in waiting if pair[0].done()]:
                waiting.remove((handle, run))
                try:
                    tracker.ended(run, handle.result(), reason_of(run))
                except Exception as error:  # submitit wraps whatever ended the job
                    tracker.ended(run, FAILED, str(error).strip().splitlines()[-1])
            tracker.running(tracker.begun([run for _, run in waiting]))
            time.sleep(0.0 if executor == "debug" else POLL_S)
    return None


def _work_in_process(run: RunOrder) -> int:
    """Works on a run in a process of its own, as a local sweep does; its output goes to the run's log."""
    Path(run.folder).mkdir(parents=True, exist_ok=True)
    with (Path(run.folder) / LOG_NAME).open("a") as log:
        result = subprocess.run(worker_command(run), env=worker_environment(run), stdout=log, stderr=log, check=False)
    return result.returncode


def _work_until_free(run: RunOrder) -> int:
    """Works on a run; where another worker has it, waits until that one is done or gone."""
    while (code := _work_in_process(run)) == TAKEN:
        if finished_record(run) is not None:
            return DONE
        time.sleep(TAKEN_WAIT_S)
    return code


def _extra(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = {"submitit": "slurm"}.get(name, name)
        raise SettingError(f"{name} is not installed: pip install 'rtmdet-lab[{extra}]'") from None
