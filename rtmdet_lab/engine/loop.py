"""The training loop: it knows batches, losses and epochs, and no task by name.

``fit`` runs the stages, validates the averaged weights, keeps the best beside the last, and saves a state from which a
killed run goes on weight for weight (on a CPU; GPU kernels may differ in the last bit).

Under ``torchrun`` every process runs this code on its share of each batch: gradients, norm statistics and loss normalisers
are those of the whole batch, all processes stop at the same step, and the first one writes and shows.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.config.presets import TASK_PREFIX
from rtmdet_lab.config.recipes import describe_stages
from rtmdet_lab.core.distributed import (
    max_over_processes,
    mean_over_processes,
    rank,
    share_gradients,
    wait_for_all,
    world_size,
)
from rtmdet_lab.core.errors import CheckpointError, DataError, StorageError, UserError
from rtmdet_lab.core.files import require_plain, require_writable
from rtmdet_lab.core.half_precision import slowdown_note
from rtmdet_lab.data.loaders import LoaderError, PipelineDataset, Source, end_processes, make_loader
from rtmdet_lab.engine.console import OnlyNotes, Reporter, choose_reporter
from rtmdet_lab.engine.evaluate import iter_batches, make_val_loader, run_evaluation
from rtmdet_lab.engine.interrupt import InterruptRequest, StopWaiting, TrainingInterrupted
from rtmdet_lab.engine.log import MetricsLog
from rtmdet_lab.engine.memory import explain_memory, require_memory_for_classes, training_advice
from rtmdet_lab.engine.schedule import is_validated
from rtmdet_lab.engine.stages import Stage, open_cache, plan_stages, training_order
from rtmdet_lab.engine.state import BufferCopy, has_state, read_state
from rtmdet_lab.engine.step import first_state, forward_backward, set_training, update_weights
from rtmdet_lab.engine.weights import BEST_NAME, KEPT_NAME, LAST_NAME, load_scored, starting_weights
from rtmdet_lab.layers.batch_norm import synchronise_norm
from rtmdet_lab.models.checkpoints import read_checkpoint, save_weights
from rtmdet_lab.tasks.base import Task

GPU_CHECK_INTERVAL = 20  # batches between looks at the loss: each look waits for the device


class NonFiniteLossError(UserError, ArithmeticError):
    """The loss became NaN or infinite; names the terms, the step and the images."""


def fit(
    task: Task,
    train_source: Source,
    val_source: Source,
    out_dir: Path,
    *,
    device: torch.device | str = "cpu",
    resume: bool | Literal["auto"] = False,
    reporter: Reporter | None = None,
    norm_eval: bool = False,
    on_epoch_end: Callable[[list[dict[str, Any]]], None] | None = None,
) -> list[dict[str, Any]]:
    """Trains ``task`` as its config says and returns the history, one record per epoch.

    Writes to ``out_dir``: ``last.state`` (to resume) and the one before it, ``earlier.state``; ``last.safetensors`` and
    ``best.safetensors`` (averaged weights), ``epoch-NNNN.safetensors`` as often as ``train.keep_every`` says,
    ``metrics.jsonl`` and TensorBoard events. The task's model ends with the last averaged weights, or with the best ones
    where ``train.score_of`` says so.

    Args:
        resume: continue the run in ``out_dir``; "auto" does so if there is one. Without it, such a folder is refused.
        norm_eval: keep batch norm in eval mode where the config leaves it open (weights with folded norm).
        on_epoch_end: called with the history after every epoch.

    Raises:
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; the state was saved.
        NonFiniteLossError, DataError, StorageError, CheckpointError: see their messages; earlier files stay whole.
    """
    device = torch.device(device)
    reporter = OnlyNotes() if rank() else reporter or choose_reporter()
    has_run = has_state(out_dir)
    if has_run and not resume:
        raise StorageError(f"{out_dir} already holds a run: resume it (--resume) or choose another output folder")
    images = task.config.train.batch_size // world_size()
    require_memory_for_classes(task.config.model.num_classes, images, task.config.augment.input_size, device)
    with contextlib.ExitStack() as at_end:
        run = _Run(task, train_source, val_source, out_dir, device, reporter, norm_eval)
        at_end.callback(end_processes, run.val_loader)
        if run.cache is not None:
            at_end.callback(run.cache.close)
        if resume is True or (resume == "auto" and has_run):
            run.restore()
        require_writable(out_dir)  # not after an epoch that is then lost
        with InterruptRequest() as request, run.log:
            try:
                with explain_memory(training_advice(task.config)):
                    return run.train(request, on_epoch_end)
            finally:
                reporter.close()


class _NoBatch(Exception):
    """The next batch does not come, for the reason that is its cause."""


class _Run:
    """The parts of one call of :func:`fit`, so that its steps can be read one by one."""

    def __init__(
        self,
        task: Task,
        train_source: Source,
        val_source: Source,
        out_dir: Path,
        device: torch.device,
        reporter: Reporter,
        norm_eval: bool,
    ) -> None:
        config = task.config
        self.task, self.config, self.out_dir, self.device, self.reporter = task, config, out_dir, device, reporter
        self.train_source = train_source
        self.classes = train_source.classes
        self.model_name = TASK_PREFIX[task.name] + config.model.size
        self.norm_eval = norm_eval if config.train.norm_eval is None else config.train.norm_eval
        model = task.model.to(device)
        if world_size() > 1:
            model = synchronise_norm(model, device)
        if config.train.channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.state = first_state(config, model, device)
        self.state.images = len(train_source)
        network = share_gradients(model, device) if world_size() > 1 else model
        self.network = torch.compile(network) if config.train.compile else network
        self.cache = open_cache(config, train_source)
        self.stages = plan_stages(config, train_source, self.cache)
        order = training_order(config, len(train_source))
        self.batches = len(order)
        if order.repeats:
            reporter.note(order.repeats)
        self.total_steps = config.train.epochs * math.ceil(self.batches / config.train.gradient_accumulation_steps)
        self.val_loader = make_val_loader(val_source, config, device)
        self.log = MetricsLog(out_dir)
        if self.log.path.exists():
            require_plain(self.log.path, "log")  # a pipe that nobody reads would hold up the run's first epoch for ever

    def restore(self) -> None:
        state = read_state(self.out_dir, self.config, self.reporter.note, self.state.misfit)
        if state["batch"] > self.batches or state.get("images") not in (None, self.state.images):
            raise CheckpointError(
                f"cannot resume {self.out_dir}: the training set has {self.state.images} images, which is not as many as "
                "before, and an epoch would be another: take the old set, or start in another output folder from its weights"
            )
        self.state.restore(state)
        if rank() == 0:
            self.log.forget_after(self.state.step, self.state.history)
        if self.state.best is not None:
            try:
                read_checkpoint(self.out_dir / BEST_NAME)
            except CheckpointError as error:
                self.reporter.note(f"{error}: the best weights from here on are kept, or else the last ones")
                self.state.best = None
                if rank() == 0:
                    (self.out_dir / BEST_NAME).unlink(missing_ok=True)

    def train(
        self, request: InterruptRequest, on_epoch_end: Callable[[list[dict[str, Any]]], None] | None
    ) -> list[dict[str, Any]]:
        state, epochs = self.state, self.config.train.epochs
        images = len(self.train_source)
        weights = starting_weights(self.config).source
        title = (
            f"training {TASK_PREFIX[self.task.name]}{self.config.model.size} on {images} images of {self.train_source.title}"
            f"{f', starting from {weights}' if weights else ''}; {describe_stages(self.config)}"
        )
        self.reporter.start(epochs, self.batches, state.epoch, title)
        slow = slowdown_note(self.device, self.config.train.amp, "--set train.amp=off is faster")
        if slow:
            self.reporter.note(slow)
        if state.step == 0:
            self.keep_weights()
        for stage in self.stages:
            if state.epoch >= stage.first_epoch + stage.epochs:
                continue
            # A new loader per stage: see Stage.
            on_bad, seed = self.config.data.on_bad, self.config.seed
            dataset = PipelineDataset(stage.source, stage.pipeline, training=True, seed=seed, on_bad=on_bad)
            sampler = training_order(self.config, images)
            loader = make_loader(dataset, sampler, self.config.train.workers, self.device.type == "cuda")
            while state.epoch in stage:
                sampler.epoch = state.epoch
                self.train_epoch(loader, request)
                metrics = self.validate(request)
                self.finish_epoch(stage, metrics)
                if on_epoch_end is not None:
                    on_epoch_end(state.history)
                self.stop_if_asked(request)
            del loader
        wait_for_all()  # until the first one has written the best weights
        load_scored(self.config.train, state.weights, self.out_dir, self.task.model)
        return state.history

    def train_epoch(self, loader: DataLoader, request: InterruptRequest) -> None:
        """Trains the rest of the current epoch, from the batch the state has reached."""
        state, config = self.state, self.config.train
        set_training(state.model, self.norm_eval)
        if state.batch:
            self.reporter.note(f"resuming inside epoch {state.epoch + 1}: drawing {state.batch} batches again")
        begin = time.monotonic()
        if state.batch >= self.batches:
            return
        check = 1 if self.device.type == "cpu" else GPU_CHECK_INTERVAL
        pending: list[tuple[int, dict[str, Tensor], list[Any]]] = []
        batches = itertools.islice(iter_batches(loader, self.device, self.reporter), state.batch, None)
        try:
            for images, targets in self.timed(batches, request):
                group_start = state.batch - state.batch % config.gradient_accumulation_steps
                group = min(config.gradient_accumulation_steps, self.batches - group_start)
                group_done = state.batch + 1 == group_start + group
                if state.batch == group_start and not group_done:
                    self.group_begin = BufferCopy(state.model)
                with contextlib.nullcontext() if group_done or world_size() == 1 else self.network.no_sync():
                    losses = self.forward_backward(images, targets, group)
                pending.append((state.batch, losses, [target.meta.image_id for target in targets]))
                state.batch += 1
                if group_done and check == 1:
                    self.look_at(pending, begin)  # before the step, while the weights are still good
                if group_done:
                    lr = update_weights(state, self.total_steps)
                asked = request.signum is not None and world_size() == 1  # several processes look and stop together
                if asked and not group_done:
                    raise _NoBatch from StopWaiting()
                if group_done and (len(pending) >= check or state.batch == self.batches or asked):
                    self.look_at(pending, begin)
                if group_done and not pending:
                    self.reporter.step(state.epoch, state.batch, self.mean_losses(), lr)
                    if self.asked_to_stop(request):
                        state.sums["seconds"] = state.sums.get("seconds", 0.0) + time.monotonic() - begin
                        self.stop_if_asked(request)
        except _NoBatch as stopped:
            failure, stopped.__cause__ = stopped.__cause__, None
        else:
            failure = None
        if failure is not None:
            try:
                end_processes(loader)  # they may hang, and each would be waited for
                if world_size() == 1:  # the others may be elsewhere, and cannot be asked
                    self.keep_what_is_done(pending, begin)
                    self.stop_if_asked(request)
                raise failure
            finally:
                # An error that refers to itself leaves the loader to the garbage collector, which waits 5 s per process.
                del failure
        state.sums["seconds"] = state.sums.get("seconds", 0.0) + time.monotonic() - begin

    def keep_what_is_done(self, pending: list[tuple[int, dict[str, Tensor], list[Any]]], begin: float) -> None:
        """Saves the state after the last optimizer step, where the next batch does not come."""
        state = self.state
        group = self.config.train.gradient_accumulation_steps
        done = state.batch if state.batch == self.batches else state.batch - state.batch % group
        if done < state.batch:  # the batches of an unfinished group are drawn again: the norms must not have seen them
            self.group_begin.put_back(state.model)
        self.look_at([one for one in pending if one[0] < done], begin)
        pending.clear()
        state.batch = done
        state.sums["seconds"] = state.sums.get("seconds", 0.0) + time.monotonic() - begin
        if state.batch:
            state.save(self.out_dir)

    def timed(self, batches: Iterator[Any], request: InterruptRequest) -> Iterator[Any]:
        """Yields the batches and adds up how long each was waited for; without workers that is the time to load it."""
        while True:
            begin, random = time.monotonic(), torch.get_rng_state()
            try:
                with request.waiting() if world_size() == 1 else contextlib.nullcontext():
                    batch = next(batches, None)
            except (StopWaiting, LoaderError, DataError) as error:
                torch.set_rng_state(random)
                raise _NoBatch from error
            self.state.sums["load_seconds"] = self.state.sums.get("load_seconds", 0.0) + time.monotonic() - begin
            if batch is None:
                return
            yield batch

    def forward_backward(self, images: Tensor, targets: list[Any], group: int) -> dict[str, Tensor]:
        return forward_backward(self.task, self.network, images, targets, self.state, group)

    def look_at(self, pending: list[tuple[int, dict[str, Tensor], list[Any]]], begin: float) -> None:
        """Adds the losses of the last batches to the epoch's sums; stops the run at the first that is not finite."""
        table = torch.stack([torch.stack(list(losses.values())) for _, losses, _ in pending]) if pending else torch.empty(0)
        rows = mean_over_processes(table).tolist()  # one wait for the device, and the same numbers in every process
        for (batch, losses, image_ids), row in zip(pending, rows, strict=True):
            values = dict(zip(losses, row, strict=True))
            if not all(math.isfinite(value) for value in values.values()):
                terms = ", ".join(f"{name} {value}" for name, value in values.items())
                saved = f"; the state of the last finished epoch is in {self.out_dir}" if self.state.epoch else ""
                raise NonFiniteLossError(
                    f"the loss is not finite at epoch {self.state.epoch + 1}, batch {batch + 1} ({terms}; images "
                    f"{', '.join(map(str, image_ids))}): lower train.lr, or look at these images{saved}"
                )
            for name, value in values.items():
                self.state.sums[name] = self.state.sums.get(name, 0.0) + value
        pending.clear()

    def mean_losses(self) -> dict[str, float]:
        done = max(self.state.batch, 1)
        return {name: value / done for name, value in self.state.sums.items() if not name.endswith("seconds")}

    def validate(self, request: InterruptRequest) -> dict[str, float] | None:
        if not is_validated(self.state.epoch, self.config.train):
            return None
        if rank() == 0:
            self.state.save(self.out_dir)  # a kill during validation costs the validation, not the epoch
        evaluator = run_evaluation(
            self.task, self.val_loader, self.device, self.state.weights, self.reporter, lambda: request.signum is not None
        )
        if evaluator is None:
            self.stop_if_asked(request)
        return evaluator.summary()

    def asked_to_stop(self, request: InterruptRequest) -> bool:
        """Whether any process got a signal: then all of them know. They must all ask at the same point."""
        signum = max_over_processes(request.signum or 0)
        if signum:  # a signal that came meanwhile is for the next time, and must not be forgotten until then
            request.signum = signum
        return bool(signum)

    def finish_epoch(self, stage: Stage, metrics: dict[str, float] | None) -> None:
        """Records the epoch, keeps the best weights and saves the state from which the next epoch starts."""
        state = self.state
        seconds = state.sums.get("seconds", 0.0)
        record: dict[str, Any] = {
            "epoch": state.epoch,
            "stage": stage.name,
            "step": state.step,
            "lr": state.optimizer.param_groups[0]["lr"],
            "losses": self.mean_losses(),
            "seconds": seconds,
            "load_seconds": state.sums.get("load_seconds", 0.0),
            "images_per_s": self.batches * self.config.train.batch_size / max(seconds, 1e-9),
        }
        if metrics is not None:
            record["metrics"] = metrics
        state.history.append(record)
        state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
        if rank() == 0:
            score = metrics.get(self.task.main_metric) if metrics else None
            if score is not None and (state.best is None or score > state.best):
                state.best = score
                self.save_weights(BEST_NAME)
            self.save_weights(LAST_NAME)
            self.keep_weights()
            state.save(self.out_dir)
            self.log.write(record)
        self.reporter.epoch(record, state.history)

    def keep_weights(self) -> None:
        """Writes a file of its own for the epochs done so far, where ``train.keep_every`` asks for one."""
        every = self.config.train.keep_every
        if every and self.state.epoch % every == 0 and rank() == 0:
            self.save_weights(KEPT_NAME.format(self.state.epoch))

    def save_weights(self, name: str) -> None:
        weights, config = self.state.weights.state_dict(), to_dict(self.config)
        save_weights(self.out_dir / name, weights, model=self.model_name, classes=self.classes, config=config)

    def stop_if_asked(self, request: InterruptRequest) -> None:
        if not self.asked_to_stop(request):
            return
        if rank() == 0:
            self.state.save(self.out_dir)
        wait_for_all()  # a process that ends early has the others ended, too
        done = f"epoch {self.state.epoch + 1}, batch {self.state.batch}"
        raise TrainingInterrupted(
            f"stopped in {done} of {self.batches}; the state is saved in {self.out_dir}, continue with --resume",
            request.signum,
        )
