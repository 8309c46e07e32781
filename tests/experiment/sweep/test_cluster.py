"""The same sweep on several machines: Ray with nodes and heads that go away, Slurm through submitit's local executors."""

from __future__ import annotations

import contextlib
import functools
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from made_database import free_port
from made_sets import assert_one_sentence
from made_sweeps import fake_command, write_experiment, write_record

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.experiment.sweep import cluster
from rtmdet_lab.experiment.sweep.plan import finished_record, plan
from rtmdet_lab.experiment.sweep.progress import Tracker


@pytest.fixture
def fake(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "worker_command", fake_command(tmp_path))
    monkeypatch.setattr(cluster, "TAKEN_WAIT_S", 0.2)
    return tmp_path


def make(folder, *rows, retries=0):
    runs = plan(write_experiment(folder, *rows), "smoke", [0], folder / "out", retries=retries)
    return runs, Tracker(runs, 1, interval_s=0.5)


@pytest.mark.parametrize("extra", ["ray", "slurm"])
def test_missing_extra_is_named_with_its_command(extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, {"slurm": "submitit"}.get(extra, extra), None)
    runs, tracker = make(tmp_path, "a", "b")
    with pytest.raises(SettingError) as caught:
        cluster.run_ray(runs, tracker) if extra == "ray" else cluster.run_slurm(runs, tracker, folder=tmp_path)
    assert_one_sentence(caught.value, f"pip install 'rtmdet-lab[{extra}]'")


def test_slurm_that_is_not_here_is_one_sentence(fake):
    pytest.importorskip("submitit")
    runs, tracker = make(fake, "a", "b")
    with pytest.raises(SettingError) as caught:
        cluster.run_slurm(runs, tracker, folder=fake)
    assert_one_sentence(caught.value, "cannot submit to slurm")


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["local", "debug"])
def test_jobs_of_submitit_leave_the_same_records(executor, fake):
    pytest.importorskip("submitit")
    runs, tracker = make(fake, "a", "fails", "c")
    with pytest.MonkeyPatch.context() as patch:
        if executor == "local":
            patch.setattr(cluster, "_work_until_free", stand_in(fake))
        assert cluster.run_slurm(runs, tracker, folder=fake, executor=executor) is None
    assert [finished_record(run) is not None for run in runs] == [True, False, True]
    assert len(tracker.done) == 2
    assert "it broke" in tracker.failed[runs[1].folder]


def stand_in(folder: Path):
    """Returns what a job calls, with the stand-in's command inside; a local function goes to other processes by value."""
    script = str(folder / "fake_worker.py")

    def work(run) -> int:
        import subprocess
        import sys

        return subprocess.run([sys.executable, script, str(run.write())], check=False).returncode

    return work


class FakeRay:
    """Stands for the library where no cluster is needed."""

    @staticmethod
    def is_initialized() -> bool:
        return False


def fake_drivers(monkeypatch, *sequences):
    """Each process that would talk to Ray tells one of the sequences instead; returns the orders they got."""
    orders, left = [], list(sequences)

    class FakeDriver:
        def __init__(self, order):
            orders.append(order)
            self.told = left.pop(0) if left else [{"absent": "connection refused"}]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def events(self):
            for event in self.told:
                if "ended" in event:
                    write_record(orders[-1]["runs"][event["ended"]])
                yield event

    monkeypatch.setattr(cluster, "RayDriver", FakeDriver)
    monkeypatch.setattr(cluster, "_extra", lambda name: FakeRay)
    monkeypatch.setattr(cluster, "POLL_S", 0.01)
    return orders


JOINED = {"joined": "10.0.0.1:6379"}


def done(number):
    return {"ended": number, "code": 0, "reason": ""}


def test_lost_cluster_is_joined_again_with_the_runs_that_are_left(fake, monkeypatch, capsys):
    away = [{"absent": "connection refused"}]
    orders = fake_drivers(monkeypatch, [JOINED, done(1), {}], away, away, [JOINED, {}, done(0)], [JOINED, done(0)])
    runs, tracker = make(fake, "a", "b", "c")
    assert cluster.run_ray(runs, tracker) is None
    assert [[run.row for run in order["runs"]] for order in orders] == [["a", "b", "c"], *[["a", "c"]] * 3, ["c"]]
    assert [order["address"] for order in orders] == ["auto", *["10.0.0.1:6379"] * 4]
    assert tracker.done == {run.folder for run in runs}
    lost = [line for line in capsys.readouterr().out.splitlines() if "lost" in line]
    assert len(lost) == 2  # once each time it goes away, not at every attempt
    assert "10.0.0.1:6379" in lost[0]
    assert "2 runs" in lost[0]


def test_cluster_that_never_was_and_one_that_does_not_come_back_are_sentences(fake, monkeypatch):
    runs, tracker = make(fake, "a", "b")
    fake_drivers(monkeypatch)
    with pytest.raises(SettingError) as caught:
        cluster.run_ray(runs, tracker, address="10.0.0.1:6379")
    assert_one_sentence(caught.value, "10.0.0.1:6379", "connection refused", "ray start --head", "--address")
    fake_drivers(monkeypatch, [JOINED, done(0)])
    monkeypatch.setattr(cluster, "HEAD_WAIT_S", 0.1)
    with pytest.raises(SettingError) as caught:
        cluster.run_ray(runs, tracker)
    assert_one_sentence(caught.value, "10.0.0.1:6379", "repeat the command", "1 runs")


@pytest.mark.parametrize("behaviour", ["ends", "is silent"])
def test_process_that_ends_or_hangs_is_not_waited_for(behaviour, fake, monkeypatch):
    pytest.importorskip("ray")
    script = fake / "python"
    rest = {"ends": "", "is silent": "exec sleep 600"}[behaviour]
    script.write_text(f'#!/bin/sh\necho \'{{"joined": "here"}}\'\necho \'{{"ended\'\n{rest}\n')
    script.chmod(0o755)
    monkeypatch.setattr(cluster.sys, "executable", str(script))
    monkeypatch.setattr(cluster, "SILENCE_S", 1.0)
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    runs, _ = make(fake, "a")
    with cluster.RayDriver({"runs": tuple(runs), "work": len, "options": {}, "address": "auto"}) as driver:
        assert [event for event in driver.events() if event] == [{"joined": "here"}]
    assert driver.process.returncode is not None


@pytest.mark.slow
def test_process_is_not_blamed_for_the_time_its_listener_takes(fake, monkeypatch):
    pytest.importorskip("ray")
    script = fake / "python"
    script.write_text("#!/bin/sh\nfor number in 1 2 3; do echo '{\"ended\": 1}'; done\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setattr(cluster.sys, "executable", str(script))
    monkeypatch.setattr(cluster, "SILENCE_S", 1.0)
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    runs, _ = make(fake, "a")
    told = []
    with cluster.RayDriver({"runs": tuple(runs), "work": len, "options": {}, "address": "auto"}) as driver:
        for event in driver.events():
            told += [event] if event else []
            time.sleep(1.2 if event else 0.0)
    assert len(told) == 3


def test_results_that_a_network_folder_shows_late_are_waited_for(tmp_path, monkeypatch, capsys):
    runs, tracker = make(tmp_path, "late", "never")
    timer = threading.Timer(0.8, write_record, [runs[0]])
    timer.start()
    tracker.ended(runs[0], 0)
    timer.join()
    assert tracker.done == {runs[0].folder}
    monkeypatch.setattr("rtmdet_lab.experiment.sweep.progress.LATE_S", 0.3)
    tracker.ended(runs[1], 0)
    assert list(tracker.failed) == [runs[1].folder]


def test_only_runs_a_worker_has_taken_up_are_shown(tmp_path, capsys):
    runs = plan(write_experiment(tmp_path, *"abcdefgh"), "smoke", [0], tmp_path / "out")
    runs[1].write()  # by an earlier sweep
    tracker = Tracker(runs, 1)
    assert tracker.begun(runs) == []
    for run in (runs[0], *runs[2:]):
        run.write()
    assert tracker.begun(runs) == [runs[0], *runs[2:]]
    tracker.running(tracker.begun(runs), force=True)
    line = capsys.readouterr().out
    assert "d, seed 0" in line
    assert "b, seed 0" not in line
    assert "and 3 more" in line


@pytest.fixture
def two_nodes(fake, monkeypatch):
    """A cluster of two nodes with one processor each; yields it and the node that is not the head."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(cluster, "_work_in_process", stand_in(fake))
    seldom = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
    system = {**seldom, "health_check_timeout_ms": 500}
    head = {"num_cpus": 1, "object_store_memory": 10**8, "_system_config": system}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield nodes, nodes.add_node(num_cpus=1, object_store_memory=10**8)
    finally:
        nodes.shutdown()


def attempts(runs) -> int:
    return sum((Path(run.folder) / "attempts.txt").exists() for run in runs)


def in_background(action, runs, number):
    """Calls ``action`` once so many runs were begun."""

    def wait_and_act() -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end and attempts(runs) < number:
            time.sleep(0.05)
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.mark.slow
def test_ray_cluster_that_loses_a_node_completes_every_run(fake, two_nodes):
    nodes, lost = two_nodes
    runs, tracker = make(fake, *(f"slow {number}" for number in range(4)))
    kill = functools.partial(lost.kill_all_processes, check_alive=False, allow_graceful=False, wait=True)
    killer = in_background(kill, runs, 2)
    assert cluster.run_ray(runs, tracker, address=nodes.address) is None
    killer.join()
    assert len(tracker.done) == 4
    assert not tracker.failed
    assert all(finished_record(run) is not None for run in runs)


@pytest.mark.slow
def test_node_that_stands_still_for_a_while_costs_no_run(fake, two_nodes):
    nodes, slow = two_nodes
    runs, tracker = make(fake, *(f"slow {number}" for number in range(4)))

    def stand_still() -> None:
        raylet = psutil.Process(slow.all_processes["raylet"][0].process.pid)
        family = [raylet, *raylet.children(recursive=True)]
        for process in family:
            process.suspend()
        time.sleep(10)  # several times what the head needs to believe it lost
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()

    stalled = in_background(stand_still, runs, 2)
    assert cluster.run_ray(runs, tracker, address=nodes.address) is None
    stalled.join()
    assert len(tracker.done) == 4
    assert not tracker.failed


@pytest.mark.slow
def test_head_that_starts_again_goes_on_with_the_sweep(fake, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.setattr(cluster, "_work_in_process", stand_in(fake))
    port = free_port()
    program = [sys.executable, "-m", "ray.scripts.scripts"]
    start = ["start", "--head", "--block", f"--port={port}", "--num-cpus=1", "--include-dashboard=false"]
    start += ["--disable-usage-stats", f"--object-store-memory={10**8}"]
    heads = []

    def begin() -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        heads.append(subprocess.Popen(program + start, start_new_session=True, **quiet))
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.2)

    def end() -> None:
        head = psutil.Process(heads[-1].pid)
        for process in [head, *head.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        heads[-1].wait()

    def restart() -> None:
        end()
        begin()

    try:
        begin()
        time.sleep(3)
        runs, tracker = make(fake, *(f"slow {number}" for number in range(3)))
        restarted = in_background(restart, runs, 2)
        assert cluster.run_ray(runs, tracker, address=f"127.0.0.1:{port}") is None
        restarted.join()
        assert len(tracker.done) == 3
        assert not tracker.failed
        assert "lost    the Ray cluster" in capsys.readouterr().out
    finally:
        end()
