"""Runs a sweep on several machines: as tasks of a Ray cluster, or as jobs of Slurm through submitit.

Workers share the output folder and nothing else. A machine that is lost takes its runs with it; they are started again
elsewhere and go on from the state the lost one saved. Both libraries are extras, imported when asked for.
"""

from __future__ import annotations

import importlib
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rtmdet_lab.errors import SettingError
from rtmdet_lab.sweep.local import reason_of, worker_command, worker_environment
from rtmdet_lab.sweep.plan import Run, finished_record
from rtmdet_lab.sweep.progress import Tracker
from rtmdet_lab.sweep.worker import DONE, FAILED, LOG_NAME, TAKEN
from rtmdet_lab.training.interrupt import InterruptRequest

LOST_NODE_RETRIES = 10  # per run; beside the retries for runs that fail by themselves
POLL_S = 1.0
TAKEN_WAIT_S = 5.0


def run_ray(
    runs: Sequence[Run], tracker: Tracker, *, gpus_per_run: float = 0.0, cpus_per_run: float = 1.0, address: str = "auto"
) -> int | None:
    """Brings every run to its end on a Ray cluster; returns the signal that stopped the sweep early, or None.

    Args:
        gpus_per_run, cpus_per_run: what Ray reserves for a run.
        address: of the cluster; "auto" takes the one this machine belongs to, "local" starts one here.

    Raises:
        SettingError: Ray is not installed, or there is no cluster.
    """
    ray = _extra("ray")
    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False)
        except ConnectionError:
            raise SettingError(
                f"no Ray cluster at {address!r}: start one with `ray start --head`, or name it with --address"
            ) from None
    options = {"num_cpus": cpus_per_run, "num_gpus": gpus_per_run, "max_retries": LOST_NODE_RETRIES}
    work = _work_in_process

    def work_here(run: Run) -> int:
        return work(run)

    task = ray.remote(**options)(work_here)
    waiting = {task.remote(run): run for run in runs}
    try:
        with InterruptRequest() as request:
            while waiting:
                if request.signum:
                    for reference in waiting:
                        ray.cancel(reference, force=True)
                    return request.signum
                ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
                for reference in ready:
                    run = waiting.pop(reference)
                    try:
                        code = ray.get(reference)
                        reason = reason_of(run)
                    except ray.exceptions.RayError as error:
                        code, reason = FAILED, f"{type(error).__name__}: the machine was lost too often"
                    if code == TAKEN and finished_record(run) is None:
                        waiting[task.remote(run)] = run  # of another sweep, or of a machine believed lost
                    else:
                        tracker.ended(run, code, reason)
                tracker.running(list(waiting.values()))
    finally:
        if own:
            ray.shutdown()
    return None


def run_slurm(
    runs: Sequence[Run],
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
            tracker.running([run for _, run in waiting])
            time.sleep(0.0 if executor == "debug" else POLL_S)
    return None


def _work_in_process(run: Run) -> int:
    """Works on a run in a process of its own, as a local sweep does; its output goes to the run's log."""
    Path(run.folder).mkdir(parents=True, exist_ok=True)
    with (Path(run.folder) / LOG_NAME).open("a") as log:
        result = subprocess.run(worker_command(run), env=worker_environment(run), stdout=log, stderr=log, check=False)
    return result.returncode


def _work_until_free(run: Run) -> int:
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
