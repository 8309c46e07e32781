"""What one of several processes does in the tests: trains on small images, and leaves the losses of every step."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from sources import Squares

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import process_group, rank
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.tasks.factory import build_task

SETTINGS = {
    "model.size": "nano",
    "model.num_classes": 2,
    "model.width": 0.125,
    "model.depth": 0.167,
    "model.exp_on_reg": True,  # boxes that overlap: below a sum of 1 per process the normaliser is cut off
    "augment.input_size": 64,
    "train.epochs": 5,
    "train.weak_epochs": 5,  # mosaic and mixup would mix with the images of the own process
    "train.batch_size": 4,
    "train.val_interval": 5,
    "train.warmup_steps": 4,
    "train.lr": 0.0001,
    "train.workers": 0,
}


class Losses(Silent):
    """Keeps the running means of every step; sends this process a signal at a given one, in its first life."""

    def __init__(self, stop: dict) -> None:
        self.stop, self.steps = stop, []

    def step(self, epoch: int, batch: int, losses: dict[str, float], lr: float) -> None:
        self.steps.append([epoch, batch, losses])
        if [epoch, batch] == self.stop.get("at") and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
            os.kill(os.getpid(), self.stop["signal"])


def train(folder: Path, stop: dict, **settings) -> None:
    torch.manual_seed(0)
    task = build_task(with_overrides(ExperimentConfig(), SETTINGS | settings))
    # In float64: what rounding makes of float32 grows to a percent within these steps, whatever the processes.
    task.model.double()
    reporter = Losses(stop)
    try:
        history = fit(task, Squares(16), Squares(7, seed=1), folder, resume="auto", reporter=reporter)
        metrics = history[-1]["metrics"]
    except TrainingInterrupted:
        metrics = None
    if rank() == 0:
        (folder / "told.json").write_text(json.dumps({"steps": reporter.steps, "metrics": metrics}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with process_group():
        train(Path(sys.argv[1]), **json.loads(sys.argv[2]))
