"""The same sweep on several machines: Ray with a lost node, Slurm through submitit's executors for one machine."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from rtmdet_lab.errors import SettingError
from rtmdet_lab.sweep import cluster
from rtmdet_lab.sweep.plan import finished_record, plan
from rtmdet_lab.sweep.progress import Tracker

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_sets import assert_one_sentence
from made_sweeps import fake_command, write_experiment


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


@pytest.mark.slow
def test_ray_cluster_that_loses_a_node_completes_every_run(fake, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setattr(cluster, "_work_in_process", stand_in(fake))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    lost = nodes.add_node(num_cpus=1, object_store_memory=10**8)
    ray.init(address=nodes.address, log_to_driver=False)
    try:
        runs, tracker = make(fake, *(f"slow {number}" for number in range(5)))

        def kill_when_both_work() -> None:
            end = time.monotonic() + 60
            while time.monotonic() < end and sum((Path(run.folder) / "attempts.txt").exists() for run in runs) < 2:
                time.sleep(0.05)
            lost.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)

        killer = threading.Thread(target=kill_when_both_work)
        killer.start()
        assert cluster.run_ray(runs, tracker) is None
        killer.join()
        assert len(tracker.done) == 5
        assert not tracker.failed
        assert all(finished_record(run) is not None for run in runs)
        assert sum(node["Alive"] for node in ray.nodes()) == 1
    finally:
        ray.shutdown()
        nodes.shutdown()
