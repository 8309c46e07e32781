"""What a running training shows, and where."""

from __future__ import annotations

import io
import re
import sys
import types

import pytest

from rtmdet_lab.engine import console
from rtmdet_lab.engine.console import LiveCurves, PlainText, Silent, TerminalBar, bar, choose_reporter, describe, minutes

RECORD = {
    "epoch": 4,
    "stage": "weak",
    "step": 50,
    "lr": 0.001,
    "losses": {"loss_cls": 0.5, "loss_bbox": 1.25},
    "seconds": 2.0,
    "images_per_s": 41.7,
}
METRICS = {"AP": 0.3125, "AP50": 0.5, "AP75": 0.25}
LOSSES = {"loss_cls": 0.5, "loss_bbox": 1.25}


class Clock:
    """Stands for the time module: seconds pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def started(clock, epochs=10, batches=10, first_epoch=0, interval_s=5.0):
    stream = io.StringIO()
    plain = PlainText(stream, interval_s)
    plain.start(epochs, batches, first_epoch, "training a model")
    return plain, stream


def test_plain_lines_come_every_few_seconds(clock):
    plain, stream = started(clock)
    for batch in range(1, 11):
        clock.now += 1
        plain.step(0, batch, LOSSES, 0.001)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "training a model"
    assert len(lines) == 3  # after 5 and after 10 seconds
    # 10 of 100 batches took 10 seconds: 90 seconds left.
    assert lines[2] == (
        "[##------------------]  10 %  epoch 1/10  batch 10/10  loss_cls 0.500  loss_bbox 1.250  lr 1.00e-03  1:30 left"
    )


def test_time_left_after_a_resume_counts_only_what_was_done_since(clock):
    plain, stream = started(clock, first_epoch=5, interval_s=2.0)
    for batch in range(6, 11):  # resumed after 5 batches of the sixth epoch: 45 batches to go
        clock.now += 2
        plain.step(5, batch, LOSSES, 0.001)
    # Five batches took 10 seconds, 40 are left: 80 seconds.
    assert stream.getvalue().splitlines()[-1].endswith("1:20 left")


def test_time_left_never_runs_below_zero_or_divides_by_zero(clock):
    plain, stream = started(clock, epochs=1, batches=1, interval_s=0.0)
    plain.step(0, 1, LOSSES, 0.001)
    assert stream.getvalue().splitlines()[-1].endswith("0:00 left")


def test_epoch_line_names_stage_losses_metrics_and_speed():
    assert describe(RECORD, 10) == "epoch 5/10 (weak)  loss_cls 0.500  loss_bbox 1.250  42 images/s"
    assert describe(RECORD | {"metrics": METRICS}, 10) == (
        "epoch 5/10 (weak)  loss_cls 0.500  loss_bbox 1.250  AP 0.312  AP50 0.500  42 images/s"
    )


def test_notes_and_validation_are_lines_too(clock):
    plain, stream = started(clock)
    plain.note("skipped: image a.jpg is empty (0 bytes)")
    clock.now += 6
    plain.validating(3, 20)
    clock.now += 1
    plain.validating(4, 20)
    plain.epoch(RECORD, [RECORD])
    assert stream.getvalue().splitlines()[1:] == [
        "note: skipped: image a.jpg is empty (0 bytes)",
        "validating: batch 3/20",
        describe(RECORD, 10),
    ]


def test_plain_lines_go_to_the_current_standard_output(capsys):
    PlainText().note("hello")
    assert capsys.readouterr().out == "note: hello\n"


@pytest.mark.parametrize(
    ("share", "expected"), [(0, "[----------]"), (0.299, "[##--------]"), (0.3, "[###-------]"), (1, "[##########]")]
)
def test_bar(share, expected):
    assert bar(share, 10) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0:00"), (59.9, "0:59"), (60, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_minutes(seconds, expected):
    assert minutes(seconds) == expected


def test_terminal_bar_counts_batches_from_where_the_run_begins(capsys):
    shown = TerminalBar()
    shown.start(4, 10, 2, "training a model")
    assert (shown.progress.n, shown.progress.total) == (20, 40)
    shown.step(2, 7, LOSSES, 0.001)
    assert shown.progress.n == 27
    assert "epoch 3/4" in shown.progress.desc
    assert "loss_bbox=1.250" in shown.progress.postfix
    shown.validating(1, 3)
    shown.epoch(RECORD, [RECORD])
    shown.note("hello")
    shown.close()
    output = capsys.readouterr()
    assert "training a model" in output.out
    assert "epoch 5/4 (weak)" in output.out
    assert "note: hello" in output.out
    assert "validating 1/3" in output.err


def test_reporters_may_be_closed_before_they_start():
    for reporter in (Silent(), PlainText(), TerminalBar(), LiveCurves()):
        reporter.close()


def test_live_curves_run_without_a_browser(capsys):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    live = LiveCurves()
    live.start(4, 10, 0, "training a model")
    live.step(1, 5, LOSSES, 0.001)
    assert live.bar.value == pytest.approx(0.375)
    live.note("image <a> & co")
    assert "image &lt;a&gt; &amp; co" in live.notes.value  # where the next progress line does not replace it
    live.validating(1, 3)
    live.epoch(RECORD | {"metrics": METRICS}, [RECORD | {"metrics": METRICS}])
    live.close()
    assert plt.get_fignums() == before


@pytest.fixture
def bare(monkeypatch):
    """An environment without notebook and terminal."""
    for name in ("JPY_SESSION_NAME", "VSCODE_PID", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    return monkeypatch


def kernel(bare) -> None:
    """Makes this process look like a running kernel."""
    bare.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object(), user_ns={})
    bare.setitem(sys.modules, "IPython", ipython)


def test_plain_lines_in_a_log_file(bare):
    assert type(choose_reporter()) is PlainText


def test_bar_in_a_terminal(bare):
    bare.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert type(choose_reporter()) is TerminalBar


def test_live_curves_in_jupyterlab(bare):
    kernel(bare)
    bare.setenv("JPY_SESSION_NAME", "/home/me/notebooks/30_train.ipynb")
    bare.setenv("JPY_PARENT_PID", "1")
    assert type(choose_reporter()) is LiveCurves


def test_live_curves_in_visual_studio_code(bare):
    kernel(bare)
    bare.setenv("VSCODE_PID", "1")
    assert type(choose_reporter()) is LiveCurves


def test_plain_lines_in_a_terminal_of_visual_studio_code(bare):
    bare.setenv("VSCODE_PID", "1")
    assert type(choose_reporter()) is PlainText


def test_plain_lines_under_papermill(bare):
    kernel(bare)
    bare.setenv("JPY_PARENT_PID", "1")  # every kernel has a parent; only a server's session has a name
    assert type(choose_reporter()) is PlainText


def test_plain_lines_in_a_command_started_from_a_notebook_cell(bare):
    # `!rtmdet-lab train ...`: the child inherits the session's name, but is no kernel and cannot show widgets.
    bare.setenv("JPY_SESSION_NAME", "/home/me/notebooks/30_train.ipynb")
    assert type(choose_reporter()) is PlainText


@pytest.mark.parametrize(
    ("kind", "expected"), [("live", LiveCurves), ("bar", TerminalBar), ("plain", PlainText), ("silent", Silent)]
)
def test_kind_can_be_asked_for(kind, expected):
    assert type(choose_reporter(kind)) is expected


def test_every_reporter_can_do_what_the_loop_asks(bare):
    methods = [name for name in vars(console.Reporter) if not re.match("_", name)]
    for kind in (Silent, PlainText, TerminalBar, LiveCurves):
        assert all(callable(getattr(kind, name, None)) for name in methods)
