"""A stopped run goes on exactly where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made_runs import assert_same
from made_sets import assert_one_sentence
from sources import Squares

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import CheckpointError, SettingError, StorageError
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.engine.state import STATE_NAME
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.tasks.factory import build_task

SETTINGS = {
    "model.size": "nano",
    "model.num_classes": 2,
    "model.width": 0.125,
    "model.depth": 0.167,
    "augment.input_size": 64,
    "augment.mosaic_cache": 6,
    "augment.mixup_cache": 4,
    "augment.mixup_prob": 1.0,
    "train.epochs": 3,
    "train.weak_epochs": 1,
    "train.batch_size": 4,
    "train.val_interval": 1,
    "train.warmup_steps": 2,
    "train.lr": 0.001,
    "train.workers": 0,
}
SHORT = {"train.epochs": 2, "train.weak_epochs": 1}


def make_task(**extra):
    torch.manual_seed(0)
    return build_task(with_overrides(ExperimentConfig(), SETTINGS | extra))


def run(folder: Path, stop_after: tuple[int, int] | None = None, resume=False, **extra):
    """Trains in ``folder``; ``stop_after`` (epoch, batch) sends this process a SIGINT there."""

    class Stopper(Silent):
        def step(self, epoch, batch, losses, lr):
            if stop_after == (epoch, batch):
                os.kill(os.getpid(), signal.SIGINT)

        def validating(self, done, total):
            if stop_after == ("validation", done):
                os.kill(os.getpid(), signal.SIGINT)

    task = make_task(**extra)
    return fit(task, Squares(14), Squares(6, seed=1), folder, resume=resume, reporter=Stopper())


def final_state(folder: Path) -> dict:
    return torch.load(folder / STATE_NAME, weights_only=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return final_state(folder)


@pytest.mark.parametrize(
    "moment",
    [(0, 1), ("validation", 1), *(pytest.param(moment, marks=pytest.mark.slow) for moment in ((0, 4), (2, 3)))],
    ids=lambda moment: f"{moment[0]}-{moment[1]}",
)
def test_interrupted_run_ends_with_the_same_weights_bit_for_bit(tmp_path, whole, moment):
    with pytest.raises(TrainingInterrupted) as stopped:
        run(tmp_path, stop_after=moment)
    assert stopped.value.exit_code == 130
    run(tmp_path, resume=True)
    assert_same(whole, final_state(tmp_path))


@pytest.mark.slow
def test_interrupted_run_with_workers_and_accumulation_ends_with_the_same_weights(tmp_path):
    extra = {"train.workers": 1, "train.gradient_accumulation_steps": 2, "train.epochs": 2, "train.weak_epochs": 0}
    run(tmp_path / "whole", **extra)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path / "parts", stop_after=(0, 2), **extra)
    run(tmp_path / "parts", resume="auto", **extra)
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "parts"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "workers"),
    [
        pytest.param(signal.SIGINT, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow),
        (signal.SIGTERM, 1),
    ],
)
def test_signal_inside_a_group_of_batches_is_answered_after_the_batch(tmp_path, monkeypatch, signum, workers):
    settings = {"train.workers": workers, "train.gradient_accumulation_steps": 3, "train.batch_size": 2}
    extra = settings | {"train.epochs": 2, "train.weak_epochs": 0}
    run(tmp_path / "whole", **extra)
    task, losses = make_task(**extra), []
    criterion = task.criterion

    def with_signal(*inputs):
        losses.append(criterion(*inputs))
        if len(losses) == 5:  # the second batch of the second group
            os.kill(os.getpid(), signum)
        return losses[-1]

    monkeypatch.setattr(task, "criterion", with_signal)
    with pytest.raises(TrainingInterrupted) as stopped:
        fit(task, Squares(14), Squares(6, seed=1), tmp_path / "parts", reporter=Silent())
    assert stopped.value.exit_code == 128 + signum
    assert len(losses) == 5
    parts = final_state(tmp_path / "parts")
    assert (parts["batch"], parts["step"]) == (3, 1)
    run(tmp_path / "parts", resume="auto", **extra)
    assert_same(final_state(tmp_path / "whole"), final_state(tmp_path / "parts"))


def test_metrics_log_has_each_epoch_once_after_a_resume(tmp_path):
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, stop_after=(1, 1), **SHORT)
    (tmp_path / "metrics.jsonl").open("a").write('{"step": 10')  # a line that a kill cut short
    history = run(tmp_path, resume=True, **SHORT)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == len(history) == 2


def test_finished_run_is_not_trained_again(tmp_path):
    run(tmp_path, **SHORT)
    before = (tmp_path / "last.safetensors").stat().st_mtime_ns
    assert len(run(tmp_path, resume="auto", **SHORT)) == 2
    assert (tmp_path / "last.safetensors").stat().st_mtime_ns == before


def test_folder_with_a_run_is_refused_unless_resumed(tmp_path):
    run(tmp_path, **{"train.epochs": 1, "train.weak_epochs": 0})
    with pytest.raises(StorageError, match="already holds a run"):
        run(tmp_path)


def test_resume_with_other_settings_names_them(tmp_path):
    run(tmp_path, **{"train.epochs": 1, "train.weak_epochs": 0})
    with pytest.raises(CheckpointError, match=r"train\.lr is 0\.002, was 0\.001"):
        run(tmp_path, resume=True, **{"train.epochs": 1, "train.weak_epochs": 0, "train.lr": 0.002})


def test_set_that_has_another_number_of_images_is_refused_wherever_the_run_stopped(tmp_path):
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, stop_after=(0, 4), **SHORT)  # between two epochs, where every batch of the next one is there
    for images in (13, 15, 5):
        with pytest.raises(CheckpointError) as error:
            fit(make_task(**SHORT), Squares(images), Squares(6, seed=1), tmp_path, resume=True, reporter=Silent())
        assert_one_sentence(error.value, str(tmp_path), f"{images} images", "the old set")
    run(tmp_path, resume=True, **SHORT)


@pytest.mark.parametrize("task", ["detection", "instance"])
def test_batch_of_a_single_value_per_channel_is_a_sentence(task):
    made = make_task(task=task)
    step = TrainStep(made, batches=1)
    with pytest.raises(SettingError) as error:
        step(torch.zeros(1, 3, 32, 32), [])
    assert_one_sentence(error.value, "32 x 32 pixels", "train.batch_size", "augment.input_size")
    made.model(torch.zeros(1, 3, 33, 32))
    step.norm_eval = True
    step.begin_epoch()
    made.model(torch.zeros(1, 3, 32, 32))


def test_resume_without_a_run_and_from_a_damaged_state_say_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"no last\.state"):
        run(tmp_path, resume=True)
    (tmp_path / STATE_NAME).write_bytes(b"PK\x03\x04 not a state")
    with pytest.raises(CheckpointError, match="is damaged"):
        run(tmp_path, resume=True)


@pytest.mark.slow
def test_killed_process_loses_at_most_the_epoch_it_was_in(tmp_path, whole):
    # Sums depend on the number of threads: the process that is killed must have as many as this one.
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch; torch.set_num_threads({torch.get_num_threads()})
import test_resume
test_resume.run(test_resume.Path({str(tmp_path)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent)
    deadline = time.monotonic() + 60
    while not (tmp_path / STATE_NAME).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    run(tmp_path, resume="auto")
    assert_same(whole, final_state(tmp_path))
