"""Processes that die beside a training, a batch system that ends it, and clocks that jump."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
from made_kills import STARTED_NAME, error_of, final, run, start
from made_runs import Squares, assert_same, train
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import DataError

LOADED = {"train.workers": 1}
LONG = {"train.epochs": 200}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder, **LOADED) == 0
    return final(folder)


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_loader_process_is_a_sentence_and_the_run_goes_on_bit_for_bit(tmp_path, whole):
    # In the second epoch, before its third batch: two steps of it are done by then.
    assert run(tmp_path, "a loader process dies", 7, **LOADED) == 2
    assert_one_sentence(error_of(tmp_path), "loader process", "memory", "--resume", "train.workers")
    assert run(tmp_path, **LOADED) == 0
    assert_same(whole, final(tmp_path))


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_the_state_within_ten_seconds_even_while_data_hang(tmp_path, whole, signum):
    child = start(tmp_path, "the data hang", 6, **LOADED)
    wait_for(lambda: (tmp_path / "hanging").exists())
    time.sleep(0.5)
    family = psutil.Process(child.pid).children(recursive=True)
    begin = time.monotonic()
    os.kill(child.pid, signum)
    child.join(30)
    assert child.exitcode == 128 + signum
    assert time.monotonic() - begin < 10  # what the batch system leaves us, not a measurement
    assert psutil.wait_procs(family, timeout=10)[1] == []
    assert run(tmp_path, **LOADED) == 0
    assert_same(whole, final(tmp_path))


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["the data hang", "a loader process is stopped"])
def test_loader_that_stands_still_is_a_sentence_and_the_run_goes_on_bit_for_bit(tmp_path, whole, fault):
    begin = time.monotonic()
    assert run(tmp_path, fault, 7, **LOADED) == 2
    assert time.monotonic() - begin < 60
    assert_one_sentence(error_of(tmp_path), "loader process", "stood still for 45 s", "--resume")
    assert run(tmp_path, **LOADED) == 0
    assert_same(whole, final(tmp_path))


@pytest.mark.alone
@pytest.mark.slow
def test_signal_ends_a_long_run_within_ten_seconds_and_leaves_no_process(tmp_path):
    child = start(tmp_path, **LOADED, **LONG)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists())
    family = psutil.Process(child.pid).children(recursive=True)
    assert family
    begin = time.monotonic()
    os.kill(child.pid, signal.SIGTERM)
    child.join(30)
    assert child.exitcode == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 10
    assert psutil.wait_procs(family, timeout=10)[1] == []


@pytest.mark.slow
def test_killed_training_leaves_no_loader_process(tmp_path):
    child = start(tmp_path, **LOADED, **LONG)
    wait_for(lambda: (tmp_path / STARTED_NAME).exists() and psutil.Process(child.pid).children())
    family = psutil.Process(child.pid).children(recursive=True)
    child.kill()
    child.join()
    assert psutil.wait_procs(family, timeout=20)[1] == []


class Damaged(Squares):
    def load(self, index):
        if index == 5:
            raise DataError("image 5.jpg is damaged")
        return super().load(index)


def test_run_that_stops_at_a_bad_image_lets_its_loader_processes_go_without_the_garbage_collector(tmp_path):
    before = set(multiprocessing.active_children())
    gc.disable()  # it would shut the loader down in an order in which each process is waited for
    try:
        with suppress(DataError):
            train(tmp_path, source=Damaged(8), **{"train.workers": 2})
        assert set(multiprocessing.active_children()) <= before
    finally:
        gc.enable()


@pytest.mark.slow
def test_clock_that_jumps_changes_nothing(tmp_path, whole):
    assert run(tmp_path, "the clock jumps", **LOADED) == 0
    found = final(tmp_path)
    assert_same(whole, found)
    assert all(0 < record["seconds"] < 600 for record in found["log"])
