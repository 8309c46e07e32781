"""A sweep in which one run needs more memory than there is: the others are done, and its reason is a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_calls import finished
from made_sets import assert_one_sentence
from made_sweeps import OWN

from rtmdet_lab.experiment.sweep.plan import finished_record, plan
from rtmdet_lab.experiment.sweep.worker import ERROR_NAME

SHORTER = {"train.epochs": 1, "train.weak_epochs": 1}


@pytest.mark.slow
def test_run_for_which_the_memory_is_too_small_does_not_stop_the_others(tmp_path):
    sizes = {"fits": 64, "too large": 640_000, "fits, too": 96}  # canvases of terabytes, which no system promises
    rows = ", ".join(f'"{row}": {{"augment.input_size": {size}}}' for row, size in sizes.items())
    path = tmp_path / "own.py"
    path.write_text(OWN.format(rows=rows))
    options = ["--scale", "smoke", "--seeds", "0", "--jobs", "1", "--out", tmp_path / "out", "--device", "cpu"]
    changes = [part for name, value in SHORTER.items() for part in ("--set", f"{name}={value}")]
    code, out, err = finished("sweep", path, *options, *changes, timeout=300)
    runs = {run.row: run for run in plan(path, "smoke", [0], tmp_path / "out", overrides=SHORTER)}
    assert {row for row, run in runs.items() if finished_record(run)} == {"fits", "fits, too"}, out + err
    assert code == 1
    assert "Traceback" not in out + err
    reason = (Path(runs["too large"].folder) / ERROR_NAME).read_text()
    assert_one_sentence(reason, "memory", "640000 x 640000", "augment.input_size")
