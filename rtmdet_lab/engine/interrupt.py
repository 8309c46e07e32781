"""Turns Ctrl-C, SIGTERM and a closed terminal's SIGHUP into a request that the training loop answers at a safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # signals that ask a program to end


class TrainingInterrupted(KeyboardInterrupt):
    """The run was stopped by a signal after its state was saved. ``exit_code`` is 128 + signal (130 for Ctrl-C)."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signum


class StopWaiting(BaseException):
    """A signal came while the loop waited, where nothing is lost by leaving at once."""


class InterruptRequest:
    """Context in which the signals of :data:`ASKING` are noted in ``signum``; a second SIGINT interrupts at once.

    Outside the main thread signals cannot be caught, and nothing changes.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._waiting = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> InterruptRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = catch(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Context in which a signal raises :class:`StopWaiting`: what is waited for may never come."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum == signal.SIGINT == signum:
            raise KeyboardInterrupt
        self.signum = signum
        if self._waiting:
            raise StopWaiting


def catch(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Gives all signals of :data:`ASKING` a handler and returns those they had. A SIGHUP that ``nohup`` ignores stays so."""
    caught = [signum for signum in ASKING if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN]
    return {signum: signal.signal(signum, handler) for signum in caught}
