"""Training and evaluation on two processes are those of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[1] / "support" / "shared.py"
pytestmark = pytest.mark.slow  # each process imports PyTorch first


def train(folder: Path, processes: int, restarts: int = 0, at: tuple[int, int] | None = None, signum: int = 0) -> dict:
    """Trains what shared.py trains, with a signal at step ``at`` (epoch, batch), and returns what it tells."""
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", f"--max-restarts={restarts}"]
    command = [sys.executable, *(launcher if processes > 1 else []), str(SHARED), str(folder)]
    stop = {"stop": {"at": list(at), "signal": signum} if at else {}}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, json.dumps(stop)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "told.json").read_text())


def assert_same_losses(steps: list, others: list) -> None:
    assert [step[:2] for step in steps] == [step[:2] for step in others]
    for (*_, losses), (*_, other) in zip(steps, others, strict=True):
        assert losses == pytest.approx(other, rel=1e-5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), 1)


def test_two_processes_train_and_score_as_one(tmp_path, alone):
    both = train(tmp_path, 2)
    assert len(both["steps"]) == 20
    assert_same_losses(both["steps"], alone["steps"])
    assert both["metrics"] == alone["metrics"]


def test_run_goes_on_with_another_number_of_processes(tmp_path, alone):
    steps = train(tmp_path, 2, at=(1, 2), signum=signal.SIGTERM)["steps"]  # of one process: both stop
    steps += train(tmp_path, 1, at=(3, 1), signum=signal.SIGTERM)["steps"]
    end = train(tmp_path, 2)
    assert_same_losses(steps + end["steps"], alone["steps"])
    assert end["metrics"] == alone["metrics"]


def test_killed_process_is_started_again_from_the_last_state(tmp_path, alone):
    end = train(tmp_path, 2, restarts=1, at=(2, 3), signum=signal.SIGKILL)
    assert_same_losses(end["steps"], [step for step in alone["steps"] if step[0] >= 2])
    assert end["metrics"] == alone["metrics"]
