"""Locks: one at a time, no waiting in vain, and no trace where a lock cannot be had."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.core import locking
from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.core.locking import locked


@pytest.fixture
def held(tmp_path):
    """A lock that a process has until it is killed."""
    path = tmp_path / "a.lock"
    code = (
        f"from filelock import FileLock; lock = FileLock({str(path)!r}); lock.acquire(); print('held', flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    holder.stdout.readline()
    yield path, holder
    holder.kill()
    holder.wait()


def test_lock_is_for_one_at_a_time_and_free_again(tmp_path):
    order, path = [], tmp_path / "a.lock"

    def work(name):
        with locked(path, "work"):
            order.append(name)
            time.sleep(0.1)
            order.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(list(group)) for _, group in itertools.groupby(order)] == [2, 2, 2]


def test_one_that_brings_nothing_is_not_waited_for(held, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE_S", 0.6)
    with pytest.raises(StorageError) as error, locked(held[0], "drawing data"):
        pass
    assert_one_sentence(error.value, str(held[0]), "drawing data", "end it")


def test_one_that_makes_progress_is_waited_for_and_one_that_dies_frees_it(held, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE_S", 0.6)
    path, holder = held
    threading.Timer(2.0, holder.kill).start()
    with locked(path, "drawing data", itertools.count().__next__):
        assert holder.wait(5) != 0


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder that nobody can write into")
def test_lock_that_cannot_be_had_is_a_sentence(tmp_path):
    for path in (tmp_path / "none" / ("n" * 300), Path("/proc/a.lock")):
        with pytest.raises(StorageError) as error, locked(path, "work"):
            pass
        assert_one_sentence(error.value, "a file of your own")
