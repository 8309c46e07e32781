"""Tiny trainings in processes of their own, which are really killed.

The processes are forked from one that has imported PyTorch once and computed nothing: each is there at once, and every
process computes with one thread, so that their sums are equal to the last bit.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from made_runs import make_task
from sources import Squares

from rtmdet_lab.core import files
from rtmdet_lab.core.errors import UserError
from rtmdet_lab.engine import console, loop, state
from rtmdet_lab.engine.ema import ModelEMA
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.models import checkpoints

PRELOAD = ["rtmdet_lab.engine.loop", "rtmdet_lab.tasks.factory", "torch.utils.tensorboard", "hotcoco", "cv2"]
STARTED_NAME = "started"  # a file that says that a process has begun to train
ERROR_NAME = "error.txt"
EPOCHS = {"train.epochs": 3, "train.weak_epochs": 1, "train.val_interval": 1}


def start(folder: Path, moment: str = "", count: int = 1, **settings: Any) -> multiprocessing.Process:
    """Starts a training in ``folder``, or goes on with it.

    Args:
        moment: the process kills itself when it comes there for the ``count``-th time (:data:`MOMENTS`), or meets one of
            :data:`FAULTS`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    child = context.Process(target=_train, args=(str(folder), moment, count, EPOCHS | settings))
    child.start()
    return child


def run(folder: Path, moment: str = "", count: int = 1, timeout: float = 120, **settings: Any) -> int:
    """Returns the exit code of such a training: 0, -9 where it was killed, 2 after a UserError (see :func:`error_of`)."""
    child = start(folder, moment, count, **settings)
    child.join(timeout)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise AssertionError(f"the training in {folder} did not end within {timeout} s")
    return child.exitcode


def error_of(folder: Path) -> str:
    return (folder / ERROR_NAME).read_text()


def final(folder: Path) -> dict[str, Any]:
    """Returns what a finished run left: its whole state, and the weights it kept."""
    kept = {name: checkpoints.read_checkpoint(folder / f"{name}.safetensors").tensors for name in ("last", "best")}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {"state": torch.load(folder / state.STATE_NAME, weights_only=True), **kept, "log": lines}


class _Telling(console.Silent):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, *_: Any) -> None:
        (self.folder / STARTED_NAME).touch()


def _train(folder: str, moment: str, count: int, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # loader processes as in any other run, not as this one
    reporter = _Telling(Path(folder))
    Path(folder).mkdir(parents=True, exist_ok=True)
    if moment in FAULTS:
        FAULTS[moment](Path(folder), count)
    elif moment:
        owner, name, before = MOMENTS[moment]
        _die_at(reporter if owner is None else owner, name, count, before)
    try:
        sources = Squares(14), Squares(6, seed=1)
        loop.fit(make_task(**settings), *sources, Path(folder), resume="auto", reporter=reporter)
    except UserError as error:
        (Path(folder) / ERROR_NAME).write_text(str(error))
        sys.exit(2)  # as any program ends: its loader processes with it
    except TrainingInterrupted as stopped:
        sys.exit(stopped.exit_code)


def _die_at(owner: Any, name: str, count: int, before: bool) -> None:
    """Has this process killed before or after the ``count``-th call of a function."""
    function: Callable = getattr(owner, name)
    calls = 0

    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and before:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


# moment -> (owner of a function, its name, whether the process dies before it; otherwise after it). None is the reporter.
MOMENTS: dict[str, tuple[Any, str, bool]] = {
    "between step and average": (ModelEMA, "update", True),
    "after a backward pass": (TrainStep, "backward", False),
    "while a file is written": (os, "fsync", True),
    "between a file and its name": (os, "chmod", False),
    "between the states' names": (files, "_keep", False),
    "during validation": (None, "validating", True),
    "before the log": (loop.MetricsLog, "write", True),
    "after an epoch": (None, "epoch", False),
}


def _loader_dies(folder: Path, count: int) -> None:
    """Has the training's loader processes killed after the ``count``-th batch of the run."""
    _to_loaders(count, lambda worker: (worker.kill(), worker.join()))


def _loader_stopped(folder: Path, count: int) -> None:
    """Has them stopped, as by a debugger."""
    _to_loaders(count, lambda worker: os.kill(worker.pid, signal.SIGSTOP))


def _to_loaders(count: int, harm: Callable[[multiprocessing.Process], Any]) -> None:
    forward = TrainStep.forward
    calls = 0

    def killing(step: TrainStep, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            for worker in multiprocessing.active_children():
                harm(worker)
        return forward(step, *args)

    TrainStep.forward = killing


def _data_hang(folder: Path, count: int) -> None:
    """Has the ``count``-th image that any loader process reads never come."""
    load = Squares.load
    calls = 0

    def hanging(source: Squares, index: int) -> Any:
        nonlocal calls
        calls += 1
        if calls >= count and os.getpid() != owner:
            (folder / "hanging").touch()
            time.sleep(3600)
        return load(source, index)

    owner = os.getpid()
    Squares.load = hanging


def _clock_jumps(folder: Path, count: int) -> None:
    """Has the clock of the wall go an hour back or a day forth, in turns, whenever it is looked at."""
    real, jumps = time.time, itertools.cycle((-3600.0, 86400.0, 0.0))
    time.time = lambda: real() + next(jumps)


FAULTS: dict[str, Callable[[Path, int], None]] = {
    "a loader process dies": _loader_dies,
    "a loader process is stopped": _loader_stopped,
    "the data hang": _data_hang,
    "the clock jumps": _clock_jumps,
}
