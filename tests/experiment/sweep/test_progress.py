"""Progress and time left come from the files runs leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_sweeps import write_epochs, write_experiment, write_record

from rtmdet_lab.experiment.sweep.plan import plan
from rtmdet_lab.experiment.sweep.progress import START_S, Tracker, epochs_done, estimate_s


@pytest.fixture
def runs(tmp_path):
    return plan(write_experiment(tmp_path, "a", "b", "c", "d"), "smoke", [0], tmp_path / "out")


def test_epochs_are_counted_and_a_line_half_written_is_not(runs):
    assert epochs_done(runs[0]) == (0, 0.0)
    write_epochs(runs[0], 3, seconds=2.0)
    with (Path(runs[0].folder) / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "sec')
    assert epochs_done(runs[0]) == (3, 6.0)


def test_estimate_follows_the_epochs_measured(runs):
    """Two epochs took 20 s: a run of two takes 12 + 1.15 * 20 = 35 s, four of them on two places 70 s."""
    guess = estimate_s(runs, runs, 2)
    write_epochs(runs[0], 2, seconds=10.0)
    assert estimate_s(runs, runs[1:2], 1) == pytest.approx(START_S + 23.0)
    assert estimate_s(runs, runs[1:], 3) == pytest.approx(START_S + 23.0)
    assert estimate_s(runs, runs[1:], 1) == pytest.approx(3 * (START_S + 23.0))
    assert estimate_s(runs, runs[1:3], 8) == pytest.approx(START_S + 23.0), "no more places than runs"
    assert estimate_s(runs, [], 1) == 0.0
    assert 0 < guess < estimate_s(runs, runs, 2) * 10


def test_lines_say_what_runs_what_is_done_and_what_failed(runs, capsys):
    tracker = Tracker(runs, 2, interval_s=1000)
    write_record(runs[0], 0.375)
    tracker.ended(runs[0], 0)
    tracker.ended(runs[1], 1, "ValueError: no")
    write_epochs(runs[2], 1)
    tracker.running([runs[2]])
    assert "epoch" not in capsys.readouterr().out.replace("epochs", ""), "not before its time"
    tracker.running([runs[2]], force=True)
    line = capsys.readouterr().out
    assert "1/4 done, 1 failed" in line
    assert "c, seed 0: epoch 1/2" in line
    assert "left" in line
    tracker.summary()
    out = capsys.readouterr().out
    assert "1 of 4 runs done, 1 failed" in out
    assert "b, seed 0: ValueError: no" in out
