"""Events reach the reporter of another process unchanged."""

from __future__ import annotations

import io
import signal

import pytest

from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.events import EventLines, read_events, replay
from rtmdet_lab.engine.interrupt import InterruptRequest


class Calls(Silent):
    def __init__(self):
        self.made = []

    def __getattribute__(self, name):
        if name in ("start", "step", "validating", "epoch", "note", "close"):
            return lambda *given, **named: self.made.append((name, given, named))
        return super().__getattribute__(name)


def test_every_call_arrives():
    stream = io.StringIO()
    events = EventLines(stream)
    record = {"epoch": 0, "losses": {"loss_cls": 0.5}}
    events.start(3, 10, 0, "a set with\ntwo lines")
    events.step(0, 1, {"loss_cls": 0.25}, 0.004)
    events.validating(1, 2)
    events.epoch(record, [record])
    events.note("skipped: 1.jpg")
    events.close()
    calls = Calls()
    lines = stream.getvalue().split("\n")[:-1]  # splitlines would split at the mark as well
    assert len(lines) == 6
    assert all(replay(event, calls) for line in lines for event in read_events(line))
    assert calls.made == [
        ("start", (), {"epochs": 3, "batches": 10, "first_epoch": 0, "title": "a set with\ntwo lines"}),
        ("step", (), {"epoch": 0, "batch": 1, "losses": {"loss_cls": 0.25}, "lr": 0.004}),
        ("validating", (), {"done": 1, "total": 2}),
        ("epoch", (), {"record": record, "history": [record]}),
        ("note", (), {"message": "skipped: 1.jpg"}),
        ("close", (), {}),
    ]


@pytest.mark.parametrize("line", ["", "plain text", "\x1e", "\x1e{broken", "\x1e[1]", '\x1e{"other": 1}'])
def test_other_text_is_no_event(line):
    assert read_events(line) == []


def test_event_after_text_without_a_line_end_is_found():
    assert read_events('Done.\x1e{"event": "close"}') == [{"event": "close"}]


def test_events_of_two_processes_on_one_line_are_both_found():
    line = '\x1e{"event": "close"}\x1e{"event": "note", "message": "a {b} c"} and text\x1e{"event": "ste'
    assert read_events(line) == [{"event": "close"}, {"event": "note", "message": "a {b} c"}]


def test_an_event_is_written_in_one_piece():
    class Pieces(io.StringIO):
        def write(self, text):
            pieces.append(text)

    pieces = []
    EventLines(Pieces()).note("hello")
    assert len(pieces) == 1
    assert pieces[0].endswith("\n")


def test_what_is_no_report_is_left_to_the_caller():
    assert not replay({"event": "refused", "message": "no"}, Silent())


def test_training_nobody_listens_to_is_asked_to_stop():
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with InterruptRequest() as request:
        EventLines(Gone()).note("hello")
        assert request.signum == signal.SIGTERM
