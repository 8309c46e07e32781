"""The training loop: it knows batches and epochs, and no task by name.

``fit`` runs the stages, validates the averaged weights, keeps the best beside the last, and saves a state from which a
killed run goes on weight for weight (on a CPU; GPU kernels may differ in the last bit). What learns is
:class:`~rtmdet_lab.engine.step.TrainStep`; what else happens are the hooks of :mod:`rtmdet_lab.engine.hooks`.

Under ``torchrun`` every process runs this code on its share of each batch: gradients, norm statistics and loss normalisers
are those of the whole batch, all processes stop at the same step, and the first one writes and shows.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from rtmdet_lab.core.distributed import rank, wait_for_all, world_size
from rtmdet_lab.core.errors import DataError, StorageError
from rtmdet_lab.core.files import require_plain, require_writable
from rtmdet_lab.core.structures import Targets
from rtmdet_lab.data.loaders import LoaderError, PipelineDataset, Source, end_processes, make_loader
from rtmdet_lab.engine.console import OnlyNotes, Record, Reporter, choose_reporter
from rtmdet_lab.engine.evaluate import iter_batches, make_val_loader
from rtmdet_lab.engine.hooks import (
    Checkpoints,
    Hook,
    Interrupts,
    Logging,
    LossMonitor,
    NoBatch,
    Run,
    Validation,
)
from rtmdet_lab.engine.interrupt import StopWaiting
from rtmdet_lab.engine.log import MetricsLog
from rtmdet_lab.engine.memory import explain_memory, require_memory_for_classes, training_advice
from rtmdet_lab.engine.stages import Stage, open_cache, plan_stages, training_order
from rtmdet_lab.engine.state import has_state
from rtmdet_lab.engine.step import TrainStep
from rtmdet_lab.engine.weights import load_scored
from rtmdet_lab.tasks.base import Task


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
    hooks: Sequence[Hook] = (),
) -> list[Record]:
    """Trains ``task`` as its config says and returns the history, one record per epoch.

    Writes to ``out_dir``: ``last.state`` (to resume) and the one before it, ``earlier.state``; ``last.safetensors`` and
    ``best.safetensors`` (averaged weights), ``epoch-NNNN.safetensors`` as often as ``train.keep_every`` says,
    ``metrics.jsonl`` and TensorBoard events. The task's model ends with the last averaged weights, or with the best ones
    where ``train.score_of`` says so.

    Args:
        resume: continue the run in ``out_dir``; "auto" does so if there is one. Without it, such a folder is refused.
        norm_eval: keep batch norm in eval mode where the config leaves it open (weights with folded norm).
        hooks: called after the loop's own, but before it stops for a signal.

    Raises:
        TrainingInterrupted: Ctrl-C, SIGTERM or SIGHUP; the state was saved.
        NonFiniteLossError, DataError, StorageError, CheckpointError: see their messages; earlier files stay whole.
    """
    device, config = torch.device(device), task.config
    reporter = OnlyNotes() if rank() else reporter or choose_reporter()
    has_run = has_state(out_dir)
    if has_run and not resume:
        raise StorageError(f"{out_dir} already holds a run: resume it (--resume) or choose another output folder")
    images = config.train.batch_size // world_size()
    require_memory_for_classes(config.model.num_classes, images, config.augment.input_size, device)
    order = training_order(config, len(train_source))
    run = Run(task, TrainStep(task, len(order), device, norm_eval=norm_eval), train_source, out_dir, device, reporter)
    run.state.images = len(train_source)
    with contextlib.ExitStack() as at_end:
        cache = open_cache(config, train_source)
        if cache is not None:
            at_end.callback(cache.close)
        stages = plan_stages(config, train_source, cache)
        if order.repeats:
            reporter.note(order.repeats)
        val_loader = make_val_loader(val_source, config, device)
        at_end.callback(end_processes, val_loader)
        log = MetricsLog(out_dir)
        if log.path.exists():
            require_plain(log.path, "log")  # a pipe that nobody reads would hold up the run's first epoch for ever
        if resume is True or (resume == "auto" and has_run):
            run.restore()
            if rank() == 0:
                log.forget_after(run.state.step, run.state.history)
        require_writable(out_dir)  # not after an epoch that is then lost
        monitor = LossMonitor(device)
        own = [monitor, Validation(val_loader), Checkpoints(), Logging(log, monitor)]
        with run.request, log:
            try:
                with explain_memory(training_advice(config)):
                    train(run, stages, [*own, *hooks, Interrupts(monitor)])
                wait_for_all()  # until the first one has written the best weights
                load_scored(config.train, run.state.weights, out_dir, task.model)
            finally:
                reporter.close()
        return run.state.history


def train(run: Run, stages: Sequence[Stage], hooks: Sequence[Hook]) -> None:
    """Trains all epochs of all stages, from where the run's state is."""
    state, config = run.state, run.state.config
    for hook in hooks:
        hook.before_training(run)
    for stage in stages:
        if state.epoch >= stage.first_epoch + stage.epochs:
            continue
        # A new loader per stage: see Stage.
        dataset = PipelineDataset(stage.source, stage.pipeline, training=True, seed=config.seed, on_bad=config.data.on_bad)
        order = training_order(config, len(run.source))
        loader = make_loader(dataset, order, config.train.workers, run.device.type == "cuda")
        while state.epoch in stage:
            order.epoch = state.epoch
            train_epoch(run, loader, hooks)
            record = epoch_record(run, stage.name)
            for hook in hooks:
                hook.after_last_batch(run, record)
            state.end_epoch(record)
            for hook in hooks:
                hook.after_epoch(run, record)
        del loader


def train_epoch(run: Run, loader: DataLoader, hooks: Sequence[Hook]) -> None:
    """Trains the rest of the current epoch, from the batch the state has reached."""
    run.step.begin_epoch()
    if run.state.batch:
        run.reporter.note(f"resuming inside epoch {run.state.epoch + 1}: drawing {run.state.batch} batches again")
    if run.state.batch >= run.step.batches:
        return
    run.start_clock()
    batches = itertools.islice(iter_batches(loader, run.device, run.reporter), run.state.batch, None)
    failure = train_batches(run, batches, hooks)
    if failure is None:
        run.count_time()
        return
    try:
        end_processes(loader)  # they may hang, and each would be waited for
        if world_size() == 1:  # the others may be elsewhere, and cannot be asked
            for hook in hooks:
                hook.on_no_batch(run)
        raise failure
    finally:
        # An error that refers to itself leaves the loader to the garbage collector, which waits 5 s per process.
        del failure


def train_batches(run: Run, batches: Iterator[tuple[Tensor, list[Targets]]], hooks: Sequence[Hook]) -> BaseException | None:
    """Learns batch after batch; returns None after the last one, or why the next one does not come."""
    try:
        for images, targets in waited_for(batches, run):
            for hook in hooks:
                hook.before_batch(run)
            run.step(images, targets, partial(_after_backward, run, hooks, targets))
            for hook in hooks:
                hook.after_batch(run)
    except NoBatch as stopped:
        failure, stopped.__cause__ = stopped.__cause__, None
        return failure
    return None


def _after_backward(run: Run, hooks: Iterable[Hook], targets: Sequence[Targets], losses: dict[str, Tensor]) -> None:
    for hook in hooks:
        hook.after_backward(run, losses, targets)


def waited_for(batches: Iterator[Any], run: Run) -> Iterator[Any]:
    """Yields the batches and adds up how long each was waited for; without workers that is the time to load it."""
    while True:
        begin, random = time.monotonic(), torch.get_rng_state()
        try:
            with run.request.waiting() if world_size() == 1 else contextlib.nullcontext():
                batch = next(batches, None)
        except (StopWaiting, LoaderError, DataError) as error:
            torch.set_rng_state(random)
            raise NoBatch from error
        run.state.add("load_seconds", time.monotonic() - begin)
        if batch is None:
            return
        yield batch


def epoch_record(run: Run, stage: str) -> Record:
    """Returns the record of the epoch that was just trained; where it is validated, "metrics" are added."""
    state = run.state
    seconds = state.sums.get("seconds", 0.0)
    return {
        "epoch": state.epoch,
        "stage": stage,
        "step": state.step,
        "lr": state.lr,
        "losses": state.mean_losses(),
        "seconds": seconds,
        "load_seconds": state.sums.get("load_seconds", 0.0),
        "images_per_s": run.step.batches * state.config.train.batch_size / max(seconds, 1e-9),
    }
