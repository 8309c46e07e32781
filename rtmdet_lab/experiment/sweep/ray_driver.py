"""Holds a sweep's connection to a Ray cluster, in a process of its own (``-m rtmdet_lab.experiment.sweep.ray_driver``).

When the head of a cluster goes away, Ray ends the processes that are connected to it, or lets them wait for ever. This one
is watched by :func:`rtmdet_lab.experiment.sweep.cluster.run_ray`, which starts another when it ends or falls silent.

The orders come through the standard input, which then stays open: where it closes, the tasks are cancelled. What happens is
told in lines of JSON: ``{"joined": address}``, ``{"absent": reason}``, ``{"ended": number of the run, "code": ...,
"reason": ...}``, and ``{}`` as a sign of life.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from rtmdet_lab.experiment.sweep.worker import FAILED, TAKEN

POLL_S = 1.0
LOOK_S = 5.0  # between looks at whether the cluster is still the one that was joined
TAKEN_WAIT_S = 5.0
LOST = 4  # exit code


def main() -> int:
    """Brings the runs of the orders to their end; returns the exit code."""
    import ray
    from ray import cloudpickle

    orders = cloudpickle.load(sys.stdin.buffer)
    tell = _teller()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which closes the input
    told_to_stop = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(told_to_stop,), daemon=True).start()
    try:
        ray.init(address=orders["address"], log_to_driver=False)
    except Exception as error:  # of Ray's many
        reason = str(error).strip().splitlines()
        tell(absent=reason[0] if reason else type(error).__name__)
        return LOST
    tell(joined=ray.get_runtime_context().gcs_address)
    return _bring_to_end(ray, orders["runs"], orders["work"], orders["options"], tell, told_to_stop)


def _bring_to_end(
    ray: Any,
    runs: list[Any],
    work: Callable[[Any], int],
    options: dict[str, Any],
    tell: Callable[..., None],
    told_to_stop: threading.Event,
) -> int:
    def work_here(run: Any) -> int:
        code = work(run)
        if code == TAKEN:  # by another sweep, or by a worker of a machine believed lost
            time.sleep(TAKEN_WAIT_S)
        return code

    task = ray.remote(**options)(work_here)
    waiting = {task.remote(run): number for number, run in enumerate(runs)}
    here, looked = ray.get_runtime_context().get_node_id(), time.monotonic()

    def is_lost() -> bool:
        """Whether this is no longer the cluster that was joined: a head that was started again knows none of its nodes."""
        return not any(node["NodeID"] == here and node["Alive"] for node in ray.nodes())

    while waiting:
        if told_to_stop.is_set():
            for reference in waiting:
                ray.cancel(reference, force=True)
            return LOST
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_S)
        if time.monotonic() - looked > LOOK_S:
            if is_lost():
                return LOST
            looked = time.monotonic()
        for reference in ready:
            number = waiting.pop(reference)
            code, reason = _result(ray, reference)
            if reason and is_lost():
                return LOST
            if code == TAKEN:
                waiting[task.remote(runs[number])] = number
            else:
                tell(ended=number, code=code, reason=reason)
        tell()
    return 0


def _result(ray: Any, reference: Any) -> tuple[int, str]:
    """Returns the exit code of a task that ended, and what Ray says where it did not end by itself."""
    try:
        return ray.get(reference), ""
    except ray.exceptions.RayError as error:
        return FAILED, f"{type(error).__name__}: the machine was lost too often"


def _teller() -> Callable[..., None]:
    """Returns what writes a line; everything else that is printed here, and Ray prints pages, goes nowhere."""
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.dup2(nowhere, sys.stderr.fileno())
    return lambda **event: print(json.dumps(event), file=lines, flush=True)


def _wait_for_end_of_input(told_to_stop: threading.Event) -> None:
    sys.stdin.buffer.read()
    told_to_stop.set()


if __name__ == "__main__":
    sys.exit(main())
