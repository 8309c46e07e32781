"""One call, several processes: what they report, refuse and save arrives where the call was made."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from pathlib import Path

import pytest
from made_runs import Recorder
from made_sets import TINY, assert_one_sentence, data_settings, write_set
from made_sockets import descendants, listening

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.children import children_of
from rtmdet_lab.core.distributed import SECRET, checked, one_machine_environment, sign
from rtmdet_lab.core.errors import DataError, SettingError, StorageError
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.engine.processes import LOG_NAME, ProcessError
from rtmdet_lab.experiment.run import run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


def config_of(folder: Path, **changes) -> ExperimentConfig:
    # More epochs than go by until a signal arrives, one validation.
    settings = {
        "train.epochs": 12,
        "train.weak_epochs": 1,
        "train.val_interval": 12,
        "train.batch_size": 2,
        "train.workers": 0,
    }
    return with_overrides(ExperimentConfig(), TINY | data_settings(folder) | settings | changes)


@pytest.mark.slow
def test_stopped_run_on_two_processes_goes_on_and_leaves_its_record(made, tmp_path):
    stopper = Recorder(stop=(1, 1), signals=[signal.SIGTERM])
    with pytest.raises(TrainingInterrupted, match="continue with --resume") as stopped:
        run(config_of(made), tmp_path, device="cpu", reporter=stopper, num_processes=2)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    reporter = Recorder()
    record = run(config_of(made), tmp_path, device="cpu", resume="auto", reporter=reporter, num_processes=2)
    assert 0 < len(reporter.records) < 12
    assert [one["epoch"] for one in record.history] == list(range(12))
    assert record.metrics["AP"] == record.history[-1]["metrics"]["AP"]
    assert reporter.records[-1] == record.history[-1]
    assert (tmp_path / LOG_NAME).exists()


@pytest.mark.slow
def test_what_processes_refuse_is_raised_here_in_one_sentence(made, tmp_path):
    with pytest.raises(DataError, match="batch_size 3 does not divide over 2 processes"):
        run(config_of(made, **{"train.batch_size": 3}), tmp_path, device="cpu", reporter=Recorder(), num_processes=2)


@pytest.mark.slow
def test_image_that_one_process_cannot_read_ends_all_of_them(tmp_path):
    folder = write_set(tmp_path / "set")
    config = config_of(folder)
    damaged = sorted(Path(config.data.train_images).iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(DataError, match=damaged.name):
        run(config, tmp_path / "run", device="cpu", reporter=Recorder(), num_processes=2)


class Stopping(Recorder):
    """Has the last of the training processes stopped, as by a debugger, at the first step."""

    stopped = None

    def step(self, **details) -> None:
        super().step(**details)
        if self.stopped is None:
            agent = next(pid for pid in children_of(os.getpid()) if children_of(pid))
            self.stopped = children_of(agent)[-1]
            os.kill(self.stopped, signal.SIGSTOP)


@pytest.mark.slow
def test_process_that_stands_still_ends_the_others_with_a_sentence_that_names_it(made, tmp_path, monkeypatch):
    monkeypatch.setenv("RTMDET_LAB_PATIENCE", "10")
    before = descendants(os.getpid())
    reporter = Stopping()
    with pytest.raises(ProcessError) as caught:
        run(config_of(made, **{"train.epochs": 200}), tmp_path, device="cpu", reporter=reporter, num_processes=2)
    assert_one_sentence(caught.value, f"training process {reporter.stopped} stood still for 10 s", "--resume")
    assert set(descendants(os.getpid())) <= set(before)


class Onlooker(Recorder):
    """Notes on which addresses this process and those it started listen, whenever it is told anything of a step."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses = set()

    def step(self, **details) -> None:
        super().step(**details)
        self.addresses |= listening(descendants(os.getpid()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux lists its sockets there")
def test_processes_of_one_machine_listen_to_that_machine_alone(made, tmp_path):
    onlooker = Onlooker()
    config = config_of(made, **{"train.epochs": 2, "train.val_interval": 1})
    run(config, tmp_path, device="cpu", reporter=onlooker, num_processes=2)
    assert onlooker.addresses == {"127.0.0.1"}  # gloo's own


def test_listeners_are_found():
    with socket.create_server(("", 0)), socket.create_server(("::1", 0), family=socket.AF_INET6):
        assert {"0.0.0.0", "::1"} <= listening([os.getpid()])


def test_what_another_process_pickled_is_opened_with_the_secret_of_the_run_alone(tmp_path, monkeypatch):
    for name, value in one_machine_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    signed = sign(pickle.dumps({"AP": 0.5}))
    assert pickle.loads(checked(signed)) == {"AP": 0.5}
    monkeypatch.setenv(SECRET, one_machine_environment(tmp_path)[SECRET])
    for strange in (signed, sign(b"")[:-1], b"", pickle.dumps({})):
        with pytest.raises(StorageError, match="not signed with this run's secret"):
            checked(strange)


@pytest.mark.parametrize("number", [0, -1])
def test_number_of_processes_is_positive(made, tmp_path, number):
    with pytest.raises(SettingError, match=f"num_processes is {number}"):
        run(config_of(made), tmp_path, reporter=Recorder(), num_processes=number)


def test_processes_that_cannot_start_are_told_of(made, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProcessError, match=f"exit code 1: see .*{LOG_NAME}"):
        run(config_of(made), tmp_path, reporter=Recorder(), num_processes=2)
