"""What a training reports, as lines of text: how a process that trains elsewhere reaches the reporter people look at."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from rtmdet_lab.engine.console import Record, Reporter

MARK = "\x1e"  # begins such a line (ASCII's record separator): libraries print what they like in between


class EventLines:
    """A reporter that writes every call as one line of JSON."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout

    def start(self, epochs: int, batches: int, first_epoch: int, title: str) -> None:
        self.tell("start", epochs=epochs, batches=batches, first_epoch=first_epoch, title=title)

    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None:
        self.tell("step", epoch=epoch, batch=batch, losses=losses, lr=lr)

    def validating(self, done: int, total: int) -> None:
        self.tell("validating", done=done, total=total)

    def epoch(self, record: Record, history: list[Record]) -> None:
        self.tell("epoch", record=record, history=history)

    def note(self, message: str) -> None:
        self.tell("note", message=message)

    def close(self) -> None:
        self.tell("close")

    def tell(self, event: str, **details: Any) -> None:
        """Writes an event; where nobody reads any more, asks the training to save its state and stop."""
        try:
            # Line and end in one piece: other processes write to the same place.
            self.stream.write(f"{MARK}{json.dumps({'event': event, **details})}\n")
            self.stream.flush()
        except BrokenPipeError:
            os.kill(os.getpid(), signal.SIGTERM)


def read_events(line: str) -> list[dict[str, Any]]:
    """Returns the events of a line: none in any other text, several where processes wrote at once."""
    events = []
    for text in line.split(MARK)[1:]:
        with contextlib.suppress(json.JSONDecodeError):  # another process wrote into it
            event, _ = json.JSONDecoder().raw_decode(text)
            if isinstance(event, dict) and "event" in event:
                events.append(event)
    return events


def replay(event: Mapping[str, Any], reporter: Reporter) -> bool:
    """Hands an event to a reporter; returns False for one that is not a reporter's."""
    details = {name: value for name, value in event.items() if name != "event"}
    if event["event"] not in ("start", "step", "validating", "epoch", "note", "close"):
        return False
    getattr(reporter, event["event"])(**details)
    return True
