"""A killed training goes on as if nothing had been: processes are really killed, at named and at random moments."""

from __future__ import annotations

import itertools
import os
import random
import time
from pathlib import Path

import psutil
import pytest
from made_kills import STARTED_NAME, final, run, start
from made_runs import assert_same

KILLED = -9
KILLS = int(os.environ.get("RTMDET_LAB_KILLS", 2))  # of the random ones; `make soak` asks for more


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0
    return final(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("between step and average", 6),  # in the second epoch
        ("while a file is written", 2),
        ("between the states' names", 2),
        ("during validation", 2),
        ("before the log", 1),
        ("after an epoch", 2),  # the stages change here
    ],
)
def test_killed_run_ends_with_the_same_files_bit_for_bit(tmp_path, whole, moment, count):
    assert run(tmp_path, moment, count) == KILLED
    assert run(tmp_path) == 0
    assert_same(whole, final(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("moment", ["while a file is written", "between a file and its name"])
def test_run_killed_while_it_writes_ends_with_the_same_files(tmp_path, whole, moment, count):
    assert run(tmp_path, moment, count) == KILLED
    assert run(tmp_path) == 0
    assert_same(whole, final(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_randomly_killed_run_ends_with_the_same_files(tmp_path, workers):
    seed = int(os.environ.get("RTMDET_LAB_SEED", random.randrange(2**32)))
    rng = random.Random(seed)
    settings = {"train.workers": workers, "train.epochs": max(KILLS, 3), "train.weak_epochs": 1}
    begin = time.monotonic()
    assert run(tmp_path / "whole", **settings) == 0
    seconds = time.monotonic() - begin
    kills = []
    for number in itertools.count():  # a run that ends before it was killed often enough has a successor
        folder = tmp_path / str(number)
        code = KILLED
        while code == KILLED:
            pause = rng.uniform(0, 2 * seconds / KILLS) if len(kills) < KILLS else 240.0
            code = killed_after(folder, pause, settings)
            kills += [number] * (code == KILLED)
        assert code == 0, seed
        assert_same(final(tmp_path / "whole"), final(folder))
        if len(kills) == KILLS:
            break
    print(f"RTMDET_LAB_SEED={seed}, {workers} loader processes: runs {kills} were killed, each ended with the same files")


def killed_after(folder: Path, seconds: float, settings: dict) -> int:
    """Returns the exit code of a training that goes on in ``folder`` and is killed so long after it began to train."""
    (folder / STARTED_NAME).unlink(missing_ok=True)
    child = start(folder, **settings)
    while not (folder / STARTED_NAME).exists() and child.is_alive():
        time.sleep(0.001)
    child.join(seconds)
    if child.exitcode is None:
        loaders = psutil.Process(child.pid).children(recursive=True)
        child.kill()
        child.join()
        assert psutil.wait_procs(loaders, timeout=30)[1] == []
    return child.exitcode
