"""One run, one record: what was run, on what, with which result. Written as ``results.json`` in the run's folder."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import torch

from rtmdet_lab.config import ExperimentConfig
from rtmdet_lab.errors import DataError
from rtmdet_lab.files import read_json, write_json

RECORD_NAME = "results.json"
CONFIG_PARTS = tuple(one.name for one in fields(ExperimentConfig) if is_dataclass(one.default))
PACKAGES = ("rtmdet-lab", "torch", "torchvision", "numpy", "opencv-python-headless", "pycocotools")


@dataclass
class RunRecord:
    """The result of one run. ``config`` is the effective configuration, with nothing left to presets."""

    model: str
    config: dict[str, Any]
    metrics: dict[str, float]  # on the validation set, of the weights that ``train.score_of`` names
    per_class: list[dict[str, Any]]
    data: dict[str, Any]  # titles and sizes of the sets
    seed: int
    seconds: float  # of the training, without evaluation
    params_M: float
    macs_G: float  # at the test input size, multiply-adds counted once
    peak_memory_mb: dict[str, float]
    history: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    budget: str | None = None  # name of the scale-down, for runs that are not the full recipe
    experiment: str | None = None
    row: str | None = None
    effective: dict[str, Any] = field(default_factory=dict)  # settings the row varies, as the built objects had them

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
    content = read_json(path, "record")
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a run record but a {type(content).__name__}")
    known = {item.name: item.default is MISSING and item.default_factory is MISSING for item in fields(RunRecord)}
    missing = [name for name, required in known.items() if required and name not in content]
    unknown = [name for name in content if name not in known]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which this version does not know"
        raise DataError(f"{path} is not a run record: it {what}")
    for name, value in content.items():
        problem = _problem(name, value)
        if problem:
            raise DataError(f"{path} is not a run record: {problem}")
    if "train" in content["config"]:  # records from before this was a setting
        content["config"]["train"].setdefault("score_of", "best")
    return RunRecord(**content)


_TEXT = (str, type(None))
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("config", "metrics", "data", "peak_memory_mb", "environment", "effective"), ((dict,), "a mapping")),
    **dict.fromkeys(("per_class", "history"), ((list,), "a list")),
    **dict.fromkeys(("seconds", "params_M", "macs_G"), ((int, float), "a number")),
    **dict.fromkeys(("budget", "experiment", "row"), (_TEXT, "text or null")),
    "model": ((str,), "text"),
    "seed": ((int,), "a whole number"),
}


def _problem(name: str, value: Any) -> str | None:
    """Returns what is wrong with a field of a record's file, or None."""
    kinds, needed = _KINDS[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        return f"its {name} is {value!r}, but {needed} is needed"
    if name in ("per_class", "history") and not all(isinstance(one, dict) for one in value):
        return f"its {name} must be a list of mappings"
    if name in ("metrics", "peak_memory_mb"):
        wrong = [key for key, one in value.items() if not isinstance(one, (int, float, type(None)))]  # null: not a number
        return f"its {name} have {wrong[0]} as {value[wrong[0]]!r}, but a number is needed" if wrong else None
    if name == "config":
        wrong = [one for one in CONFIG_PARTS if not isinstance(value.get(one, {}), dict)]
        return f"its config has {wrong[0]} as {value[wrong[0]]!r}, but a mapping is needed" if wrong else None
    return None


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
    }


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
    """Returns the revision of the code that runs, with "+changes" if its tree differs; None outside a checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
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
