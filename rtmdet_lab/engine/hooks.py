"""What happens around the training step: checks of the losses, validation, checkpoints, logging, interrupts.

The loop calls every hook at the moments that :class:`Hook` names, in the order of their list. A hook of your own is a class
with the methods it needs, given to :func:`rtmdet_lab.engine.loop.fit`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.config.presets import model_name
from rtmdet_lab.config.recipes import describe_stages
from rtmdet_lab.core.distributed import max_over_processes, mean_over_processes, rank, wait_for_all, world_size
from rtmdet_lab.core.errors import CheckpointError, UserError
from rtmdet_lab.core.half_precision import slowdown_note
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.engine.console import Record, Reporter
from rtmdet_lab.engine.evaluate import run_evaluation
from rtmdet_lab.engine.interrupt import InterruptRequest, StopWaiting, TrainingInterrupted
from rtmdet_lab.engine.log import MetricsLog
from rtmdet_lab.engine.schedule import is_validated
from rtmdet_lab.engine.state import BufferCopy, TrainState, read_state
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.engine.weights import BEST_NAME, KEPT_NAME, LAST_NAME, starting_weights
from rtmdet_lab.models.checkpoints import read_checkpoint, save_weights
from rtmdet_lab.tasks.base import Task

GPU_CHECK_INTERVAL = 20  # batches between checks of the loss: each waits for the device


class NonFiniteLossError(UserError, ArithmeticError):
    """The loss became NaN or infinite; names the terms, the step and the images."""


class NoBatch(Exception):
    """The next batch does not come, for the reason that is its cause."""


@dataclass
class Run:
    """What a training consists of, for the loop and its hooks."""

    task: Task
    step: TrainStep
    source: Source  # the training set
    out_dir: Path
    device: torch.device
    reporter: Reporter
    request: InterruptRequest = field(default_factory=InterruptRequest)
    _clock: float = 0.0

    @property
    def state(self) -> TrainState:
        return self.step.state

    @property
    def model_name(self) -> str:
        return model_name(self.task.name, self.state.config.model.size)

    @property
    def is_asked_alone(self) -> bool:
        """Whether a signal came to the only process; several check and stop together."""
        return self.request.signum is not None and world_size() == 1

    def stop_if_asked(self) -> None:
        """Stops where any process got a signal: then all of them know. They must all ask at the same point."""
        signum = max_over_processes(self.request.signum or 0)
        if signum:  # a signal that came meanwhile is for the next time, and must not be forgotten until then
            self.request.signum = signum
            self.stop()

    def stop(self) -> NoReturn:
        """Saves the state and raises TrainingInterrupted."""
        if rank() == 0:
            self.state.save(self.out_dir)
        wait_for_all()  # a process that ends early has the others ended, too
        done = f"epoch {self.state.epoch + 1}, batch {self.state.batch}"
        raise TrainingInterrupted(
            f"stopped in {done} of {self.step.batches}; the state is saved in {self.out_dir}, continue with --resume",
            self.request.signum,
        )

    def restore(self) -> None:
        """Brings the run to where the state in its folder is.

        Raises:
            CheckpointError, StorageError: no state, or none of this run and its training set.
        """
        state = self.state
        saved = read_state(self.out_dir, state.config, self.reporter.note, state.misfit)
        if saved.batch > self.step.batches or saved.images not in (None, state.images):
            raise CheckpointError(
                f"cannot resume {self.out_dir}: the training set has {state.images} images, which is not as many as "
                "before, and an epoch would be another: take the old set, or start in another output folder from its weights"
            )
        state.restore(saved)
        if state.best is None:
            return
        try:
            read_checkpoint(self.out_dir / BEST_NAME)
        except CheckpointError as error:
            self.reporter.note(f"{error}: the best weights from here on are kept, or else the last ones")
            state.best = None
            if rank() == 0:
                (self.out_dir / BEST_NAME).unlink(missing_ok=True)

    def start_clock(self) -> None:
        self._clock = time.monotonic()

    def count_time(self) -> None:
        """Adds the time since the clock was started, or read last, to the epoch's."""
        now = time.monotonic()
        self.state.add("seconds", now - self._clock)
        self._clock = now


class Hook(Protocol):
    """The moments of a training; a subclass has the methods it needs, the others do nothing."""

    def before_training(self, run: Run) -> None:
        """Before the first batch, or the next one of a resumed run."""

    def before_batch(self, run: Run) -> None:
        """The batch is there."""

    def after_backward(self, run: Run, losses: dict[str, Tensor], targets: Sequence[Targets]) -> None:
        """The batch is counted, its gradients are there; what is raised here spares the weights."""

    def after_batch(self, run: Run) -> None:
        """The weights were updated, where the batch was the last one of its group."""

    def on_no_batch(self, run: Run) -> None:
        """The next batch does not come (a signal, a damaged image, a loader process that died); not among processes."""

    def after_last_batch(self, run: Run, record: Record) -> None:
        """All batches of the epoch are learned, and it is not counted yet; ``record`` may be added to."""

    def after_epoch(self, run: Run, record: Record) -> None:
        """The epoch is counted, and its record in the history."""


class _BatchLosses(NamedTuple):
    batch: int  # of the epoch, from 0
    losses: dict[str, Tensor]
    image_ids: list[int | str]


class LossMonitor(Hook):
    """Adds up the losses of the epoch, and stops the run at the first that is not finite."""

    def __init__(self, device: torch.device) -> None:
        self.interval = 1 if device.type == "cpu" else GPU_CHECK_INTERVAL
        self.pending: list[_BatchLosses] = []

    def is_current(self, run: Run) -> bool:
        """Whether the weights were just updated and all losses so far are added up."""
        return run.step.group_complete and not self.pending

    def after_backward(self, run: Run, losses: dict[str, Tensor], targets: Sequence[Targets]) -> None:
        image_ids = [target.meta.image_id for target in targets]
        self.pending.append(_BatchLosses(run.state.batch - 1, losses, image_ids))
        if self.interval == 1 and run.step.group_complete:
            self._check(run)  # before the update, while the weights are still good

    def after_batch(self, run: Run) -> None:
        is_due = len(self.pending) >= self.interval or run.state.batch == run.step.batches or run.is_asked_alone
        if run.step.group_complete and is_due:
            self._check(run)

    def on_no_batch(self, run: Run) -> None:
        done = run.step.done_batches()
        self.pending = [batch for batch in self.pending if batch.batch < done]
        self._check(run)

    def _check(self, run: Run) -> None:
        if not self.pending:
            return
        table = torch.stack([torch.stack(list(batch.losses.values())) for batch in self.pending])
        rows = mean_over_processes(table).tolist()  # one wait for the device, and the same numbers in every process
        for batch, row in zip(self.pending, rows, strict=True):
            if not all(map(math.isfinite, row)):
                raise _not_finite(run, batch, row)
            for name, value in zip(batch.losses, row, strict=True):
                run.state.add(name, value)
        self.pending.clear()


def _not_finite(run: Run, batch: _BatchLosses, values: Sequence[float]) -> NonFiniteLossError:
    epoch = run.state.epoch
    terms = ", ".join(f"{name} {value}" for name, value in zip(batch.losses, values, strict=True))
    saved = f"; the state of the last finished epoch is in {run.out_dir}" if epoch else ""
    return NonFiniteLossError(
        f"the loss is not finite at epoch {epoch + 1}, batch {batch.batch + 1} ({terms}; images "
        f"{', '.join(map(str, batch.image_ids))}): lower train.lr, or look at these images{saved}"
    )


class Validation(Hook):
    """Scores the averaged weights after the epochs that ``train.val_interval`` names."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def after_last_batch(self, run: Run, record: Record) -> None:
        state = run.state
        if not is_validated(state.epoch, state.config.train):
            return
        if rank() == 0:
            state.save(run.out_dir)  # a kill during validation costs the validation, not the epoch

        def cancelled() -> bool:
            return run.request.signum is not None

        evaluator = run_evaluation(run.task, self.loader, run.device, state.weights, run.reporter, cancelled)
        if evaluator is None:
            run.stop()
        record["metrics"] = evaluator.summary()


class Checkpoints(Hook):
    """Keeps the best and the last weights, those of ``train.keep_every``, and the state to resume from."""

    def before_training(self, run: Run) -> None:
        if run.state.step == 0:
            self._keep_every(run)

    def before_batch(self, run: Run) -> None:
        first, size = run.step.group()
        if run.state.batch == first and size > 1:
            self.group_begin = BufferCopy(run.state.model)

    def on_no_batch(self, run: Run) -> None:
        state, done = run.state, run.step.done_batches()
        if done < state.batch:  # the batches of an unfinished group are drawn again: the norms must not have seen them
            self.group_begin.put_back(state.model)
        state.batch = done
        run.count_time()
        if done:
            state.save(run.out_dir)

    def after_epoch(self, run: Run, record: Record) -> None:
        if rank() != 0:
            return
        state = run.state
        score = record.get("metrics", {}).get(run.task.main_metric)
        if score is not None and (state.best is None or score > state.best):
            state.best = score
            self._save(run, BEST_NAME)
        self._save(run, LAST_NAME)
        self._keep_every(run)
        state.save(run.out_dir)

    def _keep_every(self, run: Run) -> None:
        """Writes a file of its own for the epochs done so far, where ``train.keep_every`` asks for one."""
        every, epoch = run.state.config.train.keep_every, run.state.epoch
        if every and epoch % every == 0 and rank() == 0:
            self._save(run, KEPT_NAME.format(epoch))

    def _save(self, run: Run, name: str) -> None:
        config, weights = to_dict(run.state.config), run.state.weights.state_dict()
        save_weights(run.out_dir / name, weights, model=run.model_name, classes=run.source.classes, config=config)


class Logging(Hook):
    """Tells the log and the reporter."""

    def __init__(self, log: MetricsLog, monitor: LossMonitor) -> None:
        self.log, self.monitor = log, monitor

    def before_training(self, run: Run) -> None:
        config = run.state.config
        weights = starting_weights(config).source
        title = (
            f"training {run.model_name} on {len(run.source)} images of {run.source.title}"
            f"{f', starting from {weights}' if weights else ''}; {describe_stages(config)}"
        )
        run.reporter.start(config.train.epochs, run.step.batches, run.state.epoch, title)
        slow = slowdown_note(run.device, config.train.amp, "--set train.amp=off is faster")
        if slow:
            run.reporter.note(slow)

    def after_batch(self, run: Run) -> None:
        if self.monitor.is_current(run):
            run.reporter.step(run.state.epoch, run.state.batch, run.state.mean_losses(), run.state.lr)

    def after_epoch(self, run: Run, record: Record) -> None:
        if rank() == 0:
            self.log.write(record)
        run.reporter.epoch(record, run.state.history)


class Interrupts(Hook):
    """Stops at a safe point once a signal asked for it, with the state saved; among processes, all at the same one."""

    def __init__(self, monitor: LossMonitor) -> None:
        self.monitor = monitor

    def after_batch(self, run: Run) -> None:
        if self.monitor.is_current(run):
            run.count_time()  # for the state that may be saved now
            run.stop_if_asked()
        elif run.is_asked_alone and not run.step.group_complete:
            raise NoBatch from StopWaiting()

    def on_no_batch(self, run: Run) -> None:
        run.stop_if_asked()

    def after_epoch(self, run: Run, record: Record) -> None:
        run.stop_if_asked()
