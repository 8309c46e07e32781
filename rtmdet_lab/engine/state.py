"""Everything a run needs to go on exactly where it was, in one file that is replaced atomically.

The state before it stays beside it: where the newest cannot be read, a run goes on from there.
"""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rtmdet_lab.config.overrides import differences, to_dict
from rtmdet_lab.config.presets import resolved_from_dict
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import CheckpointError, StorageError, shortened
from rtmdet_lab.core.file_schema import Count, EpochRecord, Mapped, Number, require
from rtmdet_lab.core.files import write_atomic
from rtmdet_lab.engine.ema import ModelEMA
from rtmdet_lab.models.safe_pickle import UnreadableFile, read_tensors

STATE_NAME, EARLIER_NAME = "last.state", "earlier.state"
FORMAT = 1
# Settings that may change between a run and its continuation: they do not touch the weights.
FREE_SETTINGS = (
    "test.batch_size",
    "train.keep_every",
    "train.score_of",
    "train.val_interval",
    "data.train_images",
    "data.train_annotations",
    "data.val_images",
    "data.val_annotations",
    "data.on_bad",
    "data.cache_decoded",
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
    history: list[EpochRecord] = field(default_factory=list)
    best: float | None = None
    images: int = 0  # of the training set
    newest_whole: bool = True  # whether the file in place is worth keeping when the next one is written

    @property
    def weights(self) -> nn.Module:
        """The model that is validated and kept: the average where there is one."""
        return self.ema.model if self.ema is not None else self.model

    @property
    def lr(self) -> float:
        """The learning rate of the last update."""
        return self.optimizer.param_groups[0]["lr"]

    def add(self, name: str, value: float) -> None:
        """Adds a loss or a duration to the epoch's sums."""
        self.sums[name] = self.sums.get(name, 0.0) + value

    def mean_losses(self) -> dict[str, float]:
        """Returns the mean losses of the epoch's batches so far, by name."""
        done = max(self.batch, 1)
        return {name: value / done for name, value in self.sums.items() if not name.endswith("seconds")}

    def end_epoch(self, record: EpochRecord) -> None:
        """Counts the epoch and puts its record into the history."""
        self.history.append(record)
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, {}

    def save(self, folder: Path) -> None:
        """Writes the state file and keeps the one before it; that stays in place if this fails."""
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
            "images": self.images,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        # Weights, average and two moments per weight.
        size = 4 * sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())
        earlier = folder / EARLIER_NAME if self.newest_whole else None
        write_atomic(folder / STATE_NAME, lambda file: torch.save(content, file), size, earlier)
        self.newest_whole = True

    def misfit(self, saved: SavedState) -> str | None:
        """Returns what of a state does not belong to this run's network and optimizer, or None."""
        average = saved.ema
        if (average is None) != (self.ema is None):
            return "its averaged weights are missing or too many"
        problem = _other_tensors(self.model.state_dict(), saved.model, "model")
        if self.ema is not None and not problem:
            if set(average) != {"model", "steps"} or type(average["steps"]) is not int or not 0 <= average["steps"] < 2**53:
                return "its averaged weights are incomplete"
            problem = _other_tensors(self.ema.model.state_dict(), average["model"], "ema")
        if saved.epoch != len(saved.history) or saved.epoch > self.config.train.epochs:
            return f"it has {len(saved.history)} finished epochs, but counts {saved.epoch}"
        random = torch.get_rng_state()
        if saved.rng.shape != random.shape or saved.rng.dtype != random.dtype:
            return "its random state is of another kind"
        return problem or _other_optimizer(self.optimizer, saved.optimizer)

    def restore(self, saved: SavedState) -> None:
        """Takes over what :func:`read_state` returned."""
        self.model.load_state_dict(saved.model)
        if self.ema is not None:
            self.ema.load_state_dict(saved.ema)
        self.optimizer.load_state_dict(saved.optimizer)
        if self.scaler is not None:
            self.scaler.load_state_dict(saved.scaler)
        for name in ("epoch", "batch", "step", "sums", "history", "best"):
            setattr(self, name, getattr(saved, name))
        self.newest_whole = saved.name == STATE_NAME
        torch.set_rng_state(saved.rng.cpu())
        if torch.cuda.is_initialized() and saved.cuda_rng:
            torch.cuda.set_rng_state_all([state.cpu() for state in saved.cuda_rng])


@dataclass
class StateContent:
    """What a state file holds."""

    format: int
    config: Mapped
    model: dict[str, Tensor]
    ema: Mapped | None
    optimizer: Mapped
    scaler: Mapped | None
    epoch: Count
    batch: Count
    step: Count
    sums: dict[str, Number]
    history: list[EpochRecord]
    best: Number | None
    rng: Tensor
    cuda_rng: list[Tensor]
    images: Count | None = None  # states of earlier versions do not tell


@dataclass
class SavedState(StateContent):
    """A state that was read whole, on the CPU."""

    config: ExperimentConfig  # resolved
    name: str = STATE_NAME  # of its file


class BufferCopy:
    """A model's buffers and the random state at one moment: what batches change before the weights are updated."""

    def __init__(self, model: nn.Module) -> None:
        self.buffers = [buffer.clone() for buffer in model.buffers()]
        self.random = torch.get_rng_state()

    @torch.no_grad()
    def put_back(self, model: nn.Module) -> None:
        for buffer, before in zip(model.buffers(), self.buffers, strict=True):
            buffer.copy_(before)
        torch.set_rng_state(self.random)


def _other_tensors(own: Mapping[str, Tensor], saved: Any, name: str) -> str | None:
    """Returns which of the saved weights is not like the network's, or None."""
    if not isinstance(saved, Mapping) or set(saved) != set(own):
        return f"its {name} is of another network"
    for key, tensor in own.items():
        value = saved[key]
        if not isinstance(value, Tensor) or value.shape != tensor.shape or value.dtype != tensor.dtype:
            return f"its {name}.{key} is of another network"
        if value.is_floating_point() and not value.isfinite().all():
            return f"its {name}.{key} holds values that are not finite"
    return None


# What the optimizers of ``build_optimizer`` keep for each parameter: tensors of its shape, and a count.
_MOMENTS = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}


def _other_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> str | None:
    """Returns what of a saved optimizer is not like the run's, or None. Its learning rate is set anew at every step."""
    own = optimizer.state_dict()["param_groups"]
    groups, moments = saved.get("param_groups"), saved.get("state")
    if not isinstance(groups, list) or not isinstance(moments, Mapping) or len(groups) != len(own):
        return "its optimizer is of another run"
    for group, theirs in zip(own, groups, strict=True):
        if not isinstance(theirs, Mapping) or set(theirs) != set(group):
            return "its optimizer is of another run"
        for key, value in group.items():
            is_rate = key in ("lr", "initial_lr") and type(theirs[key]) is float and math.isfinite(theirs[key])
            if not is_rate and repr(theirs[key]) != repr(value):
                return f"its optimizer's {key} is {shortened(repr(theirs[key]))}"
    names = _MOMENTS[type(optimizer).__name__]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parts in moments.items():
        if number not in range(len(parameters)) or not isinstance(parts, Mapping) or set(parts) != names:
            return "its optimizer is of another run"
        for key, value in parts.items():
            shape = torch.Size([]) if key == "step" else parameters[number].shape
            if not isinstance(value, Tensor) or value.shape != shape or not value.isfinite().all():
                return f"its optimizer's {key} is damaged or of another run"
    return None


def has_state(folder: Path) -> bool:
    """Whether ``folder`` holds a run, be its state whole or not."""
    return any((folder / name).exists() for name in (STATE_NAME, EARLIER_NAME))


def read_state(
    folder: Path,
    config: ExperimentConfig,
    note: Callable[[str], None] = lambda _: None,
    misfit: Callable[[SavedState], str | None] = lambda _: None,
) -> SavedState:
    """Returns the newest whole state of the run in ``folder``, checked against the config it is to go on with.

    A config with more epochs extends the run; then its weak epochs may differ, too.

    Args:
        misfit: says what of a state does not belong to the run (:meth:`TrainState.misfit`); such a state is damaged, too.
        note: told in a sentence of a newer state that is damaged, and of what an extension means.

    Raises:
        CheckpointError: no state, none that is whole, or made with other settings; says which.
        StorageError: a state is there, but cannot be read now.
    """
    # A state of other settings is no damaged one.
    saved = newest_state(folder, note, lambda state: None if _changed(config, state.config) else misfit(state))
    before, train = saved.config.train, config.train
    changed, extended = _changed(config, saved.config), train.epochs > before.epochs
    if changed:
        listed = ", ".join(f"{name} is {now!r}, was {then!r}" for name, (now, then) in list(changed.items())[:4])
        remedy = "use the old ones or another output folder"
        if "train.epochs" in changed:
            remedy = f"the epochs of a run can be raised, not lowered; {remedy}"
        raise CheckpointError(f"cannot resume {folder} with other settings ({listed}): {remedy}")
    if extended:
        note(
            f"the run is extended from {before.epochs} to {train.epochs} epochs: {saved.epoch} are done and stay, the "
            f"last {train.weak_epochs} will be weak, and the learning rate goes on as in a run of {train.epochs} epochs"
        )
    elif saved.epoch >= train.epochs:
        note(f"all {train.epochs} epochs of this run are done: a higher train.epochs extends it")
    return saved


def _changed(config: ExperimentConfig, before: ExperimentConfig) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that keep a run from going on, each with its value now and before."""
    free = FREE_SETTINGS
    if config.train.epochs > before.train.epochs:
        free = (*FREE_SETTINGS, "train.epochs", "train.weak_epochs")
    return {name: values for name, values in differences(config, before).items() if name not in free}


def newest_state(
    folder: Path,
    note: Callable[[str], None] = lambda _: None,
    misfit: Callable[[SavedState], str | None] = lambda _: None,
) -> SavedState:
    """Returns the newest whole state of the run in ``folder``.

    Args:
        misfit, note: see :func:`read_state`.

    Raises:
        CheckpointError: no state, or none that is whole.
        StorageError: a state is there, but cannot be read now.
    """
    damage = []
    for name in (STATE_NAME, EARLIER_NAME):
        path = folder / name
        if not path.exists():
            continue
        try:
            saved = _read_whole(path)
        except CheckpointError as error:
            damage.append(str(error))
            continue
        problem = misfit(saved)
        if problem:
            damage.append(f"{path} is damaged ({problem})")
            continue
        for sentence in damage:
            note(f"{sentence}: going on from {name}, epoch {saved.epoch + 1}, batch {saved.batch}")
        return saved
    if damage:
        raise CheckpointError(f"cannot resume: {' and '.join(damage)}: start again in another output folder")
    raise CheckpointError(f"{folder} has no {STATE_NAME} to resume from: start the run without resuming")


def saved_config(folder: Path) -> ExperimentConfig | None:
    """Returns the config of the run in ``folder``, or None where there is no whole state."""
    for name in (STATE_NAME, EARLIER_NAME):
        try:
            if (folder / name).exists():
                return _read_whole(folder / name).config
        except CheckpointError:
            continue
    return None


def _read_whole(path: Path) -> SavedState:
    """Returns a state; all that is read was compared with its checksum."""
    try:
        content = vars(require(StateContent, read_tensors(path, foreign=False), "it is no state"))
        saved = SavedState(**{**content, "config": resolved_from_dict(content["config"])}, name=path.name)
    except UnreadableFile as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # nothing is said about its content
            raise StorageError(f"cannot resume: {path} cannot be read now ({error.strerror}): try again") from error
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged ({reason})") from error
    if saved.format != FORMAT:
        raise CheckpointError(f"{path} has format {saved.format}, this version reads {FORMAT}")
    return saved
