"""One call, several processes: what they report, refuse and save arrives where the call was made."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from rtmdet_lab.config import ExperimentConfig, with_overrides
from rtmdet_lab.errors import DataError, SettingError
from rtmdet_lab.experiment import run
from rtmdet_lab.training.interrupt import TrainingInterrupted
from rtmdet_lab.training.processes import LOG_NAME, ProcessError

sys.path.insert(0, str(Path(__file__).parent / "support"))
from made_runs import Recorder
from made_sets import TINY, data_settings, write_set


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


@pytest.mark.parametrize("number", [0, -1])
def test_number_of_processes_is_positive(made, tmp_path, number):
    with pytest.raises(SettingError, match=f"num_processes is {number}"):
        run(config_of(made), tmp_path, reporter=Recorder(), num_processes=number)


def test_processes_that_cannot_start_are_told_of(made, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ProcessError, match=f"exit code 1: see .*{LOG_NAME}"):
        run(config_of(made), tmp_path, reporter=Recorder(), num_processes=2)
