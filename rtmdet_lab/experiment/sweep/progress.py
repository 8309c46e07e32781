"""How far the runs of a sweep are, read from the files they leave: nothing else is shared with them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.escaping import for_terminal, say
from rtmdet_lab.engine.console import bar, minutes
from rtmdet_lab.engine.log import LOG_NAME, read_log
from rtmdet_lab.experiment.sweep.plan import SPEC_NAME, RunOrder, finished_record
from rtmdet_lab.experiment.sweep.worker import DONE

# Images a second of one run at laptop size on one processor core, until the sweep has measured its own.
ASSUMED_IMAGES_PER_S = 30.0
START_S = 12.0  # notebook, imports, data
LATE_S = 90.0  # how long a network folder may hide from one machine what another has written
SHOWN = 4  # runs in one line


def epochs_done(run: RunOrder) -> tuple[int, float]:
    """Returns the finished epochs of a run and the seconds they took."""
    try:
        seconds = [record["seconds"] for record in read_log(Path(run.folder) / LOG_NAME)]
    except (OSError, DataError):
        return 0, 0.0
    return len(seconds), sum(seconds)


def _order_written(run: RunOrder) -> int:
    """Returns when the file that a worker reads was written, in ns; 0 where there is none."""
    try:
        return (Path(run.folder) / SPEC_NAME).stat().st_mtime_ns
    except OSError:
        return 0


def estimate_s(runs: Sequence[RunOrder], pending: Sequence[RunOrder], jobs: int) -> float:
    """Returns the seconds the ``pending`` runs will take, ``jobs`` at a time.

    From the epochs that were trained already, in this sweep or before; until there are any, from the number of images.
    """
    measured = [epochs_done(run) for run in runs]
    epochs, seconds = sum(count for count, _ in measured), sum(spent for _, spent in measured)
    total = 0.0
    for run in pending:
        per_epoch = seconds / epochs if epochs else run.images / ASSUMED_IMAGES_PER_S
        total += START_S + 1.15 * per_epoch * max(run.epochs - epochs_done(run)[0], 0)  # the rest is validation
    return total / max(min(jobs, len(pending)), 1) if pending else 0.0


@dataclass
class Tracker:
    """Prints a line when something ends, and one with all that runs every ``interval_s`` seconds."""

    runs: Sequence[RunOrder]
    jobs: int
    interval_s: float = 15.0
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)  # name to reason
    last: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.orders = {run.folder: _order_written(run) for run in self.runs}

    def ended(self, run: RunOrder, code: int, reason: str = "") -> None:
        """Notes the end of a run; ``reason`` is why it failed. A worker that reports success is given time to be seen."""
        record, begin = finished_record(run), time.monotonic()
        while record is None and code == DONE and time.monotonic() - begin < LATE_S:
            time.sleep(0.5)
            record = finished_record(run)
        if record is not None:
            self.done.add(run.folder)
            self.failed.pop(run.folder, None)
            score = next(iter(record.metrics.items()), ("", float("nan")))
            self._print(f"done    {run.name}: {score[0]} {score[1]:.3f}, {minutes(record.seconds)} of training")
        else:
            why = f"ended by signal {-code}" if code < 0 else reason or f"exit code {code}"
            self.failed[run.folder] = why
            self._print(f"failed  {run.name}: {why}")

    def note(self, line: str) -> None:
        self._print(line)

    def begun(self, runs: Sequence[RunOrder]) -> list[RunOrder]:
        """Returns those of the ``runs`` that a worker has taken up since this object was made, wherever it works."""
        return [run for run in runs if _order_written(run) != self.orders[run.folder]]

    def running(self, active: Sequence[RunOrder], force: bool = False) -> None:
        """Prints how far the sweep is and which runs are worked on, unless it did so a moment ago."""
        now = time.monotonic()
        if now - self.last < self.interval_s and not force:
            return
        self.last = now
        pending = [run for run in self.runs if run.folder not in self.done and run.folder not in self.failed]
        left = minutes(estimate_s(self.runs, pending, self.jobs))
        share = sum(
            1.0 if run.folder in self.done else epochs_done(run)[0] / max(run.epochs, 1)
            for run in self.runs
            if run.folder not in self.failed
        ) / max(len(self.runs), 1)
        each = "; ".join(f"{run.name}: epoch {epochs_done(run)[0]}/{run.epochs}" for run in active[:SHOWN]) or "waiting"
        each += f"; and {len(active) - SHOWN} more" if len(active) > SHOWN else ""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        self._print(f"{bar(share)} {len(self.done)}/{len(self.runs)} done{failed}, about {left} left   {each}")

    def summary(self) -> None:
        self._print(
            f"{len(self.done)} of {len(self.runs)} runs done" + (f", {len(self.failed)} failed:" if self.failed else "")
        )
        for run in self.runs:
            if run.folder in self.failed:
                self._print(f"  {run.name}: {self.failed[run.folder]}")

    def _print(self, line: str) -> None:
        say(for_terminal(line))
