"""Tiny trainings, and a reporter that keeps what it is told."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from made_sets import TINY
from sources import Squares

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.tasks.factory import build_task

# No randomness between the file and the network.
STILL = {
    "augment.mosaic": False,
    "augment.mixup": False,
    "augment.hsv": False,
    "augment.flip_prob": 0.0,
    "augment.resize_range": (1.0, 1.0),
}


def make_config(**changes):
    return with_overrides(ExperimentConfig(), TINY | {"model.num_classes": 2, "train.warmup_steps": 2} | changes)


def make_task(**changes):
    torch.manual_seed(0)
    return build_task(make_config(**changes))


class Recorder(Silent):
    """Keeps what a run reports; ``stop`` (event, number) -> signals to send to this process then."""

    def __init__(self, stop=None, signals=(signal.SIGINT,)) -> None:
        self.steps, self.notes, self.records, self.closed = [], [], [], 0
        self.stop, self.signals = stop, signals

    def step(self, epoch, batch, losses, lr):
        self.steps.append((epoch, batch, dict(losses), lr))
        if self.stop == (epoch, batch):
            for one in self.signals:
                os.kill(os.getpid(), one)

    def epoch(self, record, history):
        self.records.append(record)

    def note(self, message):
        self.notes.append(message)

    def close(self):
        self.closed += 1


def train(folder: Path, task=None, *, source=None, val=None, reporter=None, resume=False, hooks=(), **changes):
    """Returns (task, history) after training in ``folder``; keyword names are settings."""
    task = task or make_task(**changes)
    sets = source or Squares(8), val or Squares(2, seed=1)
    history = fit(task, *sets, folder, resume=resume, reporter=reporter or Recorder(), hooks=hooks)
    return task, history


def weights_of(model) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def assert_same(first: Any, second: Any, path: str = "") -> None:
    """Asserts equality to the last bit of everything but measured times."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            if key not in ("seconds", "load_seconds", "images_per_s"):
                assert_same(first[key], second[key], f"{path}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_same(one, other, f"{path}[{number}]")
    else:
        assert first == second, path
