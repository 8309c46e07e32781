"""Processes that work for another one: they end with it, and none that stands still is waited for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from rtmdet_lab.core import children
from rtmdet_lab.core.children import ChildError, life_of, map_in_processes, patience
from rtmdet_lab.core.errors import SettingError, StorageError

pytestmark = pytest.mark.lengthy


def square(number: int) -> int:
    return number * number


def kill_itself(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def stop_itself(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGSTOP)
    return number


def wait_forever(number: int) -> int:
    if number == 5:
        time.sleep(3600)
    return number


def refuse(number: int) -> int:
    if number == 5:
        raise StorageError("cannot write a.png: the disk is full")
    return number


def family() -> set[int]:
    return {process.pid for process in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_jobs(workers):
    assert list(map_in_processes(square, range(40), workers, 4, "square")) == [number**2 for number in range(40)]
    assert list(map_in_processes(square, [], workers, 4, "square")) == []


def test_killed_process_is_a_sentence_and_no_other_stays():
    before = family()
    with pytest.raises(ChildError, match=r"cannot square: one of 2 processes was killed.*--workers"):
        list(map_in_processes(kill_itself, range(40), 2, 4, "square"))
    assert family() <= before


@pytest.mark.parametrize("job", [stop_itself, wait_forever])
def test_process_that_stands_still_is_a_sentence(job, monkeypatch):
    monkeypatch.setattr(children, "PATIENCE_S", 1.0)
    monkeypatch.setattr(children, "POLL_S", 0.1)
    before = family()
    with pytest.raises(ChildError, match=r"stood still for 1 s"):
        list(map_in_processes(job, range(40), 2, 4, "square"))
    assert family() <= before


def test_sentence_of_a_job_arrives_as_it_is():
    before = family()
    with pytest.raises(StorageError, match="the disk is full"):
        list(map_in_processes(refuse, range(400), 2, 4, "square"))
    assert family() <= before


def test_processes_end_with_whoever_stops_reading():
    before = family()
    results = map_in_processes(wait_forever, range(40), 2, 4, "square")
    assert next(results) == 0
    results.close()
    assert family() <= before


PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from test_children import map_in_processes, wait_forever
for number in map_in_processes(wait_forever, range(40), 2, 1, "wait"):
    print(number, flush=True)
"""


@pytest.mark.parametrize("signum", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_processes_end_when_their_parent_is_killed(signum):
    code = PROGRAM.format(folder=str(Path(__file__).parent))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"0\n"
    processes = psutil.Process(parent.pid).children(recursive=True)
    assert processes
    os.kill(parent.pid, signum)
    parent.wait()
    assert psutil.wait_procs(processes, timeout=10)[1] == []
    parent.stdout.close()


def test_life_of_a_process_goes_on_while_it_runs_and_not_while_it_is_stopped():
    child = subprocess.Popen(
        [sys.executable, "-c", "import time\nprint(flush=True)\nwhile True: time.sleep(0.01)"], stdout=-1
    )
    child.stdout.readline()
    first = life_of(child.pid)
    time.sleep(0.1)
    assert life_of(child.pid)[1:] != first[1:]
    child.send_signal(signal.SIGSTOP)
    while life_of(child.pid)[0] != "T":
        time.sleep(0.01)
    stopped = life_of(child.pid)
    time.sleep(0.1)
    assert life_of(child.pid) == stopped
    child.kill()
    child.wait()
    child.stdout.close()
    assert life_of(child.pid) is None


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", "9"])
def test_patience_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("RTMDET_LAB_PATIENCE", text)
    with pytest.raises(SettingError, match="RTMDET_LAB_PATIENCE"):
        patience()


def test_patience_is_a_setting_of_the_environment(monkeypatch):
    monkeypatch.delenv("RTMDET_LAB_PATIENCE", raising=False)
    assert patience() == 45
    monkeypatch.setenv("RTMDET_LAB_PATIENCE", "300")
    assert patience() == 300
