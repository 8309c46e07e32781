"""A killed training goes on as if nothing had been: processes are really killed, at named and at random moments."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_kills import STARTED_NAME, assert_same, final, run, start

KILLED = -9
KILLS = int(os.environ.get("RTMDET_LAB_KILLS", 2))  # of the random ones; `make soak` asks for more


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0
    return final(folder)


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("between step and average", 6),  # in the second epoch
        ("while a file is written", 2),
        pytest.param("between the states' names", 2, marks=pytest.mark.slow),
        ("during validation", 2),
        pytest.param("before the log", 1, marks=pytest.mark.slow),
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
def test_randomly_killed_runs_end_with_the_same_files(tmp_path, whole, workers):
    seed = int(os.environ.get("RTMDET_LAB_SEED", random.randrange(2**32)))
    print(f"RTMDET_LAB_SEED={seed}")
    rng = random.Random(seed)
    settings = {"train.workers": workers}
    begin = time.monotonic()
    assert run(tmp_path / "undisturbed", **settings) == 0
    seconds = time.monotonic() - begin
    killed = number = 0
    while killed < KILLS:
        number += 1
        folder = tmp_path / str(number)
        kills_here = 0
        while True:
            (folder / STARTED_NAME).unlink(missing_ok=True)
            child = start(folder, **settings)
            while not (folder / STARTED_NAME).exists() and child.is_alive():
                time.sleep(0.001)
            # Every start gets somewhat further in the mean, so that a run with many kills comes to its end, too.
            child.join(rng.uniform(0, seconds * (1 + kills_here) / 2) if killed < KILLS else 120)
            if child.exitcode is not None:
                break
            child.kill()
            child.join()
            killed, kills_here = killed + 1, kills_here + 1
        assert child.exitcode == 0
        assert_same(_without_workers(whole), _without_workers(final(folder)))
        print(f"run {number}: {kills_here} kills")


def _without_workers(found: dict) -> dict:
    state = found["state"]
    config = {**state["config"], "train": {**state["config"]["train"], "workers": None}}
    return {**found, "state": {**state, "config": config}}
