"""Processes that this one starts: they end with it, and one that stands still is not waited for.

Linux tells of each process how often it ran. One that is stopped, or waits for something that never comes, does not run at
all; a slow one does. So no limit on how long work may take is needed.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from rtmdet_lab.core.errors import SettingError, UserError

Job = TypeVar("Job")
Result = TypeVar("Result")

PATIENCE_NAME = "RTMDET_LAB_PATIENCE"  # environment variable: seconds a process may stand still
PATIENCE_S = 45.0
SHORTEST_S = 10.0  # an idle loader process runs every 5 s
POLL_S = 1.0
ENDING = (signal.SIGTERM, signal.SIGHUP)  # what ends a process in order, besides Ctrl-C


class ChildError(UserError, RuntimeError):
    """A process that worked for this one was killed, or stood still."""


def patience() -> float:
    """Returns the seconds that a process may stand still while it is waited for."""
    text = os.environ.get(PATIENCE_NAME)
    if not text:
        return PATIENCE_S
    with contextlib.suppress(ValueError):
        if SHORTEST_S <= float(text) < float("inf"):
            return float(text)
    raise SettingError(f"{PATIENCE_NAME} is {text!r}, but must be a number of seconds, at least {SHORTEST_S:.0f}")


class Stopped(KeyboardInterrupt):
    """A signal asked this program to end. ``exit_code`` is 128 + signal, as of a program that it ended."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


@contextlib.contextmanager
def ending_in_order() -> Iterator[None]:
    """Context in which SIGTERM and SIGHUP raise :class:`Stopped`, as Ctrl-C raises: processes and half-written files go.

    A second signal ends this process at once. Outside the main thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A SIGHUP that ``nohup`` ignores stays ignored.
    before = {signum: signal.getsignal(signum) for signum in ENDING if signal.getsignal(signum) != signal.SIG_IGN}

    def stop(signum: int, _: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        raise Stopped(signum)

    for signum in before:
        signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def begin_child() -> None:
    """To be called first in a process of ``multiprocessing``: its parent answers Ctrl-C, whose end is also the end here."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent decides and ends us
    for signum in ENDING:
        signal.signal(signum, signal.SIG_DFL)  # a fork inherits what the parent does
    parent = multiprocessing.parent_process()
    assert parent is not None, "begin_child belongs into a process of multiprocessing"
    forked = os.getppid() == parent.pid  # not by a server of forks, nor is the parent gone already

    def watch() -> None:
        while os.getppid() == parent.pid if forked else parent.is_alive():
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    gc.freeze()  # a collection would write to every object inherited from the parent, and so copy its memory


class Watch:
    """Context whose thread notices which of some processes stand still while :meth:`waiting`, and ends them.

    Time in which this process itself is stopped (Ctrl-Z) does not count.

    Args:
        pids: returns the processes to watch, whenever it is asked.
        idle_runs: also a process that has nothing to do runs now and then, as a loader's. Otherwise only one that is
            stopped stands still, or all of them when none of them runs.
        end: what to do with those that stand still; by default they are killed.
    """

    def __init__(
        self, pids: Callable[[], Iterable[int]], idle_runs: bool = False, end: Callable[[list[int]], None] | None = None
    ) -> None:
        self.limit = patience()
        self.still: list[int] = []  # those that were ended
        self._pids, self._idle_runs, self._end = pids, idle_runs, end or kill
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Context in which something is expected of the processes."""
        self._waiting.set()
        try:
            yield
        finally:
            self._waiting.clear()

    @property
    def sentence(self) -> str:
        """What happened, as the beginning of a sentence."""
        several = len(self.still) > 1
        which = f"process{'es' if several else ''} {', '.join(map(str, self.still))}"
        return (
            f"{which} stood still for {self.limit:.0f} s (stopped, or waiting for what never came) and "
            f"{'were' if several else 'was'} ended"
        )

    def _look(self) -> None:
        seen: dict[int, tuple[str, ...]] = {}
        seconds: dict[int, float] = {}  # since a process last ran
        while not self._closed.wait(POLL_S):
            if not self._waiting.is_set():
                seconds.clear()
                continue
            now = {pid: life_of(pid) for pid in self._pids()}
            for pid, life in now.items():
                alike = life is not None and life == seen.get(pid)
                seconds[pid] = seconds.get(pid, 0.0) + POLL_S if alike else 0.0
            seen = {pid: life for pid, life in now.items() if life is not None}
            late = [pid for pid in now if seconds[pid] >= self.limit]
            stopped = [pid for pid in late if seen[pid][0] in "Tt"]
            if not self._idle_runs and (stopped or len(late) < len(now)):
                late = stopped
            if late:
                self.still = late
                self._end(late)
                return


def life_of(pid: int) -> tuple[str, ...] | None:
    """Returns the state of a process's main thread, then numbers that grow whenever it runs; None where nobody says."""
    folder = Path(f"/proc/{pid}/task/{pid}")
    try:
        # The name in parentheses may hold anything.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        status = (folder / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    switches = [line.split()[-1] for line in status if "ctxt_switches" in line]
    if fields[0] == "Z" or not switches:
        return None
    return fields[0], fields[11], fields[12], *switches


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process has started and that have not ended; none where the system does not say."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def map_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, chunk: int, what: str
) -> Generator[Result, None, None]:
    """Yields ``function(job)`` of each job in order, from so many processes (1: this one).

    However this ends, so do the processes.

    Args:
        chunk: jobs that a process takes at once.
        what: what the processes do, for messages, such as "read images".

    Raises:
        ChildError: a process was killed or stood still.
    """
    if workers <= 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    pool = ProcessPoolExecutor(min(workers, len(jobs)), initializer=_begin_pool)
    watch = Watch(lambda: list(pool._processes or ()))
    try:
        try:  # forks: before the watch has its thread
            parts = (jobs[first : first + chunk] for first in range(0, len(jobs), chunk))
            waiting = deque(pool.submit(_run_part, function, part) for part in parts)
        except OSError as error:
            raise ChildError(f"cannot {what} in {workers} processes ({error.strerror}): use fewer --workers") from error
        with watch:
            while waiting:
                with watch.waiting():
                    results = waiting.popleft().result()
                yield from results
    except BrokenProcessPool as error:
        reason = watch.sentence if watch.still else f"one of {workers} processes was killed, as where memory runs out"
        raise ChildError(f"cannot {what}: {reason}; run it again, with fewer --workers where it happens again") from error
    except BaseException:  # nobody waits for what is under way
        kill(list(pool._processes or ()))
        raise
    finally:
        pool.shutdown()  # nothing is cancelled: the pool's thread trips over a cancelled part when its processes are gone


def _run_part(function: Callable[[Job], Result], part: Sequence[Job]) -> list[Result]:
    return [function(job) for job in part]


def _begin_pool() -> None:
    import cv2

    begin_child()
    cv2.setNumThreads(0)  # OpenCV's own threads do not survive a fork, and the processes fill the cores already
