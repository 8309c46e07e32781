"""Everything a run needs to go on exactly where it was, in one file that is replaced atomically."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rtmdet_lab.config import ExperimentConfig, differences, from_dict, to_dict
from rtmdet_lab.errors import CheckpointError
from rtmdet_lab.files import write_atomic
from rtmdet_lab.training.ema import ModelEMA

STATE_NAME = "last.state"
FORMAT = 1
# Settings that may change between a run and its continuation: they do not touch the weights.
FREE_SETTINGS = (
    "test.batch_size",
    "train.keep_every",
    "data.train_images",
    "data.train_annotations",
    "data.val_images",
    "data.val_annotations",
)


@dataclass
class TrainState:
    """The moving parts of a run. ``epoch`` and ``batch`` say what is done: ``batch`` batches of epoch ``epoch``."""

    config: ExperimentConfig
    model: nn.Module
    ema: ModelEMA | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler | None
    epoch: int = 0
    batch: int = 0
    step: int = 0  # optimizer steps
    sums: dict[str, float] = field(default_factory=dict)  # losses of the epoch so far, and "seconds"
    history: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None

    @property
    def weights(self) -> nn.Module:
        """The model that is validated and kept: the average where there is one."""
        return self.ema.model if self.ema is not None else self.model

    def save(self, folder: Path) -> None:
        """Writes the state file; the earlier one stays whole if this fails."""
        content = {
            "format": FORMAT,
            "config": to_dict(self.config),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
            "best": self.best,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        # Weights, average and two moments per weight.
        size = 4 * sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        write_atomic(folder / STATE_NAME, lambda file: torch.save(content, file), size)

    def restore(self, content: dict[str, Any]) -> None:
        """Takes over what :func:`read_state` returned."""
        self.model.load_state_dict(content["model"])
        if self.ema is not None:
            self.ema.load_state_dict(content["ema"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.scaler is not None:
            self.scaler.load_state_dict(content["scaler"])
        for name in ("epoch", "batch", "step", "sums", "history", "best"):
            setattr(self, name, content[name])
        torch.set_rng_state(content["rng"].cpu())
        if torch.cuda.is_initialized() and content["cuda_rng"]:
            torch.cuda.set_rng_state_all([one.cpu() for one in content["cuda_rng"]])


def read_state(folder: Path, config: ExperimentConfig, device: torch.device) -> dict[str, Any]:
    """Returns the saved state of the run in ``folder``, checked against the config it is to be continued with.

    Raises:
        CheckpointError: no state, damaged, or made with other settings; says which.
    """
    path = folder / STATE_NAME
    if not path.exists():
        raise CheckpointError(f"{folder} has no {STATE_NAME} to resume from: start the run without resuming")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
        saved = from_dict(content["config"])
    except Exception as error:  # a damaged file may raise anything
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot resume: {path} is damaged ({reason})") from error
    if content["format"] != FORMAT:
        raise CheckpointError(f"cannot resume: {path} has format {content['format']}, this version reads {FORMAT}")
    changed = {name: values for name, values in differences(config, saved).items() if name not in FREE_SETTINGS}
    if changed:
        listed = ", ".join(f"{name} is {now!r}, was {then!r}" for name, (now, then) in list(changed.items())[:4])
        raise CheckpointError(
            f"cannot resume {folder} with other settings ({listed}): use the old ones or another output folder"
        )
    return content
