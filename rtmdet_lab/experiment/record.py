"""One run, one record: what was run, on what, with which result. Written as ``results.json`` in the run's folder."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from typing_extensions import TypedDict

from rtmdet_lab.config.aliases import current_names
from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.config.presets import resolved_from_dict
from rtmdet_lab.core.errors import DataError, UserError
from rtmdet_lab.core.file_schema import Count, EpochRecord, NumberOrNaN, Positive, require
from rtmdet_lab.core.files import read_json, write_json
from rtmdet_lab.experiment.old_names import today

RECORD_NAME = "results.json"
RESULTS_VERSION = 3  # raise it when the same settings train or score otherwise: such results are not pooled
PACKAGES = ("rtmdet-lab", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools")


class DataTitles(TypedDict):
    """Titles and sizes of the sets of a run."""

    train: str
    train_images: Count
    val: str
    val_images: Count


@dataclass
class RunRecord:
    """The result of one run. ``config`` is the effective configuration, with nothing left to presets."""

    model: str
    config: dict[str, Any]
    metrics: dict[str, NumberOrNaN]  # on the validation set, of the weights that ``train.score_of`` names
    per_class: list[dict[str, str | NumberOrNaN]]
    data: DataTitles
    seed: int
    seconds: Positive  # of the training, without evaluation
    params_M: Positive
    macs_G: Positive  # at the test input size, multiply-adds counted once
    peak_memory_mb: dict[str, Positive]
    history: list[EpochRecord] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    scale: str | None = None  # name of the scale-down, for runs that are not the full recipe
    experiment: str | None = None
    row: str | None = None
    effective: dict[str, Any] = field(default_factory=dict)  # settings the row varies, as the built objects had them
    started_from: str = ""  # the weights before training: a published name, path or URL; empty: drawn from the seed

    def write(self, folder: Path) -> Path:
        """Writes the record into ``folder`` and returns the file's path."""
        write_json(folder / RECORD_NAME, asdict(self))
        return folder / RECORD_NAME


def read_record(path: Path) -> RunRecord:
    """Returns the record of a run folder or of a ``results.json``.

    Raises:
        DataError: missing, damaged, or not a record.
    """
    path = path / RECORD_NAME if path.is_dir() else path
    record = require(RunRecord, today(read_json(path, "record")), f"{path} is not a run record")
    # Records from before this was a setting.
    if isinstance(record.config.get("train"), dict):
        record.config["train"].setdefault("score_of", "best")
    try:
        # Other settings that an older version did not have get the value a run of it had.
        record.config = to_dict(resolved_from_dict(record.config))
        record.effective = current_names(record.effective)
    except UserError as error:
        raise DataError(f"{path} is not a run record of this version: in its config, {error}") from None
    record.metrics = _numbers(record.metrics)
    record.per_class = [_numbers(scores) for scores in record.per_class]
    record.history = [
        {**epoch, "metrics": _numbers(epoch["metrics"])} if "metrics" in epoch else epoch for epoch in record.history
    ]
    return record


def dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the settings of a nested config as a file has them, by dotted name.

    >>> dotted({"seed": 0, "augment": {"resize_range": (0.5, 2)}})
    {'seed': 0, 'augment.resize_range': [0.5, 2]}
    """
    settings: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            settings |= dotted(value, f"{prefix}{name}.")
        else:
            settings[prefix + name] = list(value) if isinstance(value, tuple) else value
    return settings


def _numbers(scores: dict[str, Any]) -> dict[str, Any]:
    """Returns scores with NaN where a file has null, as JSON knows no other way to say it."""
    return {name: math.nan if value is None else value for name, value in scores.items()}


def environment(device: torch.device) -> dict[str, Any]:
    """Returns versions, hardware and git revision: what a number depends on besides the config."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    hardware: dict[str, Any] = {"cpu": cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return {
        "python": platform.python_version(),
        "versions": versions,
        "hardware": hardware,
        "device": device.type,
        "git": git_revision(),
        "results_version": RESULTS_VERSION,
    }


def results_version(record: RunRecord) -> int:
    """Returns the version of training and scoring a record is of; before it was written down, 2."""
    return record.environment.get("results_version", 2)


def cpu_name() -> str:
    """Returns the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def git_revision() -> str | None:
    """Returns the revision of the code that runs, "+changes" where package or experiments differ; None outside a checkout.

    Notebooks do not count: saving one, or running it, changes its file.
    """
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":(top)experiments")
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Returns the highest resident memory of this process and of its largest child, and the GPU's peak, in MiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss counts bytes there, KiB elsewhere
    peaks = {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20,
        "largest_worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**20,
    }
    if device.type == "cuda":
        peaks["gpu"] = torch.cuda.max_memory_allocated(device) / 2**20
    return {name: round(value, 1) for name, value in peaks.items()}
