"""From a config to a finished run: data, task, training, evaluation, record."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.config.overrides import refuse_secrets, to_dict
from rtmdet_lab.config.presets import model_name
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.distributed import local_rank, rank, world_size
from rtmdet_lab.core.errors import DataError, SettingError, did_you_mean
from rtmdet_lab.core.files import write_json
from rtmdet_lab.data.check import require_readable
from rtmdet_lab.data.images import local_path
from rtmdet_lab.engine.console import Reporter, Silent, choose_reporter
from rtmdet_lab.engine.evaluate import evaluate
from rtmdet_lab.engine.lock import run_folder
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.engine.processes import run_processes
from rtmdet_lab.engine.weights import starting_weights
from rtmdet_lab.experiment.old_names import takes_old_names
from rtmdet_lab.experiment.record import RunRecord, environment, peak_memory_mb, read_record
from rtmdet_lab.models.agreement import shortened
from rtmdet_lab.models.checkpoints import LoadReport, load_checkpoint
from rtmdet_lab.tasks.base import Task
from rtmdet_lab.tasks.factory import build_task, spec_of

PREDICTIONS_NAME = "predictions.json"
Config = TypeVar("Config", bound=ExperimentConfig)


def open_data(config: ExperimentConfig) -> tuple[Any, Any]:
    """Returns the training and the validation set a config names, in the format of its task.

    Raises:
        DataError: paths missing in the config, or files that cannot be used.
    """
    data, spec = config.data, spec_of(config.task)
    for name in spec.data.needs:
        if not getattr(data, name):
            raise DataError(
                f"data.{name} is not set: name your own data, or make some with `rtmdet-lab data generate FOLDER`"
            )
        local_path(getattr(data, name))
    train = spec.data.open_train(data, spec.masks)
    # Labels must mean the same in both files, so the validation set takes its classes from the training set.
    val = _open_scored(config.task, data.val_images, data.val_annotations, train.classes, data.on_bad)
    _tell_absent(val, train.class_counts(), "the training set")
    _tell_others(val, "the training set", passed_over=train.others, on_bad=data.on_bad)
    return train, val


def open_evaluation(task: Task, images: str | Path, annotations: str | Path | None, on_bad: str = "refuse") -> Any:
    """Returns the set ``task`` is scored on, with the task's classes.

    Classes that only one of the two knows are told.

    Raises:
        DataError: files that cannot be used, or without any of the classes.
    """
    classes, needs = task.config.data.classes, spec_of(task.name).data.needs
    if annotations is None and "val_annotations" in needs:
        raise DataError(f"the annotations of {images} are missing, which the task {task.name} is scored with: name them")
    try:
        source = _open_scored(task.name, images, annotations, classes, on_bad)
    except DataError as error:
        if "none of the classes" in str(error):
            raise DataError(f"{error}; if its names are others for the same, give them as --class-names") from None
        raise
    _tell_absent(source, None, "the weights")
    _tell_others(source, "the weights", on_bad=on_bad)
    return source


def _open_scored(task: str, images: str | Path, annotations: str | Path, classes: Sequence[str], on_bad: str) -> Any:
    images, annotations = local_path(images), local_path(annotations) if annotations else None
    spec = spec_of(task)
    return spec.data.open_scored(images, annotations, classes, on_bad, spec.masks)


def _tell_absent(val: Any, learned: Mapping[str, int] | None, where: str) -> None:
    """Warns of classes that the validation set does not have, with the objects that ``learned`` has of them."""
    absent = [name for name in val.absent() if learned is None or learned[name]]
    if absent:
        counts = [f"{name!r} ({learned[name]} objects)" if learned is not None else repr(name) for name in absent]
        warnings.warn(
            f"{val.title} lacks {len(absent)} of the {len(val.classes)} classes of {where}, which are not scored: "
            f"{shortened(counts)}",
            stacklevel=3,
        )


def _tell_others(val: Any, where: str, passed_over: Collection[str] = (), on_bad: str = "refuse") -> None:
    """Warns of objects whose class ``where`` does not have; refuses a class that is misspelt in one of the two."""
    others = {name: count for name, count in val.others.items() if count and name not in passed_over}
    hints = {name: did_you_mean(name, val.absent(), cutoff=0.8) for name in others}
    misspelt = [name for name in others if hints[name]]
    if misspelt and on_bad == "refuse":
        name = misspelt[0]
        raise DataError(
            f"{val.title} has {others[name]} objects of {name!r}, which {where} does not know: {hints[name]} give the class "
            "one name, or leave its objects out with data.on_bad=skip (--on-bad skip)"
        )
    if others:
        counts = [f"{name!r} ({count} objects)" for name, count in others.items()]
        warnings.warn(
            f"{sum(others.values())} objects of {val.title} are not scored, because {where} does not know their classes: "
            f"{shortened(counts)}",
            stacklevel=3,
        )


def with_classes(config: Config, classes: tuple[str, ...]) -> Config:
    """Returns the config with the data's classes: the network's class count follows from them, never the other way."""
    model = dataclasses.replace(config.model, num_classes=len(classes))
    return dataclasses.replace(config, model=model, data=dataclasses.replace(config.data, classes=classes))


def prepare(config: ExperimentConfig, classes: tuple[str, ...]) -> tuple[Task, LoadReport | None]:
    """Returns a task with freshly drawn weights (from the seed) or the initial weights the config names."""
    torch.manual_seed(config.seed)
    task = build_task(with_classes(config, classes))
    report = None
    start = starting_weights(config)
    if start.source:
        whole, reset = not start.backbone_only, start.reset_predictors
        part = "" if whole else "backbone."
        report = load_checkpoint(task.model, start.source, reset_predictors=reset, new_classes=whole, part=part)
        if whole:
            report.require_complete()
        elif any(key.startswith(part) for key in report.missing):
            needed = (
                "the published block, kernel size and depths"
                if config.model.pretrained_backbone is True
                else (f"weights of the same block, kernel size and depths, and {start.source} lacks some of this backbone's")
            )
            raise SettingError(f"model.pretrained_backbone needs {needed}")
    return task, report


@takes_old_names(budget="scale")
def run(
    config: ExperimentConfig,
    out_dir: str | Path,
    *,
    device: str = "auto",
    resume: bool | Literal["auto"] = False,
    reporter: Reporter | None = None,
    experiment: str | None = None,
    row: str | None = None,
    scale: str | None = None,
    effective: dict[str, Any] | None = None,
    num_processes: int = 1,
) -> RunRecord:
    """Trains and evaluates what ``config`` says, and returns the record it leaves in ``out_dir``.

    ``out_dir`` gets the files of :func:`~rtmdet_lab.engine.loop.fit`, the validation detections in COCO form
    or, with an angle, in ours (``predictions.json``) and ``results.json``.

    Args:
        device: "cpu", "cuda", or "auto": the GPU where there is one.
        resume: continue the run that ``out_dir`` holds; "auto" does so if there is one.
        experiment, row, scale, effective: for the record (:mod:`rtmdet_lab.experiment.row`).
        num_processes: processes that share each batch, one per GPU or several on a CPU; they report here.

    Raises:
        StorageError: another training is at work in ``out_dir``, or it holds results that would be written over.
    """
    refuse_secrets(config)
    out_dir = Path(out_dir)
    reporter = reporter or choose_reporter()
    labels = {"experiment": experiment, "row": row, "scale": scale, "effective": effective}
    if num_processes != 1:
        work = {"config": to_dict(config), "out_dir": str(out_dir), "device": device, "resume": resume, **labels}
        run_processes(work, out_dir, num_processes, reporter)
        return read_record(out_dir)
    # One process of all writes, and one run at a time.
    with run_folder(out_dir, reporter.note) if rank() == 0 else nullcontext():
        return _run_here(config, out_dir, choose_device(device), resume, reporter, labels)


def _run_here(
    config: ExperimentConfig,
    out_dir: Path,
    chosen: torch.device,
    resume: bool | Literal["auto"],
    reporter: Reporter,
    labels: dict[str, Any],
) -> RunRecord:
    spec = spec_of(config.task)
    train, val = open_data(config)
    if config.data.on_bad == "refuse" and rank() == 0:
        require_readable(val, workers=min(config.train.workers, 2))
    task, report = prepare(config, train.classes)
    for note in report.notes if report is not None else ():
        reporter.note(note)
    history = fit(
        task,
        train,
        val,
        out_dir,
        device=chosen,
        resume=resume,
        reporter=reporter,
        norm_eval=report is not None and report.folded_norm,
    )
    evaluator = evaluate(task, val, device=chosen, reporter=Silent())  # the training has told which images it skipped
    results = evaluator.file_results(val.category_ids)
    if rank() == 0:
        write_json(out_dir / PREDICTIONS_NAME, results)
    complexity = measure_complexity(task.model, task.config.test.input_size)
    record = RunRecord(
        model=model_name(task.name, task.config.model.size),
        config=to_dict(task.config),
        metrics=evaluator.metrics(),
        per_class=evaluator.per_class(),
        data={
            "train": train.title,
            "train_images": len(train),
            "train_print": spec.data.fingerprint(Path(config.data.train_images), config.data.train_annotations),
            "val": val.title,
            "val_images": len(val),
            "val_print": spec.data.fingerprint(Path(config.data.val_images), config.data.val_annotations),
        },
        seed=config.seed,
        seconds=sum(one["seconds"] for one in history),
        params_M=complexity.params_M,
        macs_G=complexity.macs_G,
        peak_memory_mb=peak_memory_mb(chosen),
        history=history,
        environment=environment(chosen),
        started_from=starting_weights(task.config).source,
        **{**labels, "effective": labels["effective"] or {}},
    )
    if rank() == 0:
        record.write(out_dir)
    return record


def choose_device(name: str = "auto") -> torch.device:
    """Returns the device of that name; "auto" is the GPU where there is one.

    Raises:
        SettingError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SettingError(f"device is {name!r}, but must be auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SettingError("device is 'cuda', but this machine has no usable GPU: use cpu or auto")
    if device.type == "cuda" and world_size() > 1:
        if local_rank() >= torch.cuda.device_count():
            raise SettingError(f"process {local_rank()} has no GPU: this machine has {torch.cuda.device_count()}")
        device = torch.device("cuda", local_rank())
        torch.cuda.set_device(device)
    return device
