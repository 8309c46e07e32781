"""Sweeps without training: records, half-done runs, and a stand-in for the notebook that writes a record at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.experiment.record import RunRecord
from rtmdet_lab.experiment.row import row_config
from rtmdet_lab.experiment.sweep.plan import DONE_NAME, RunOrder
from rtmdet_lab.experiment.table import load_table

OWN = """from rtmdet_lab import ExperimentConfig, Table

TABLE = Table(
    title="own",
    claim="Nothing.",
    base=ExperimentConfig(),
    rows={{{rows}}},
    published={{}},
    source="ours",
)
"""


def write_experiment(folder: Path, *rows: str, name: str = "own") -> Path:
    """Writes an experiment whose rows have kernels of 3, 5, 7, ... and returns its path."""
    named = ", ".join(f'"{row}": {{"model.kernel_size": {3 + 2 * number}}}' for number, row in enumerate(rows or ("a", "b")))
    path = folder / f"{name}.py"
    path.write_text(OWN.format(rows=named))
    return path


def write_record(run: RunOrder, score: float = 0.5, done: bool = True, **changes) -> RunRecord:
    """Writes the record a finished run leaves."""
    table = load_table(run.source)
    config = row_config(table, run.row, run.scale, seed=run.seed, overrides=run.overrides)
    values = {
        "model": f"rtmdet-{config.model.size}",
        "config": to_dict(config),
        "metrics": {"AP": score, "AP50": min(score + 0.2, 1.0)},
        "per_class": [],
        "data": {"train": "made", "train_images": run.images, "val": "made", "val_images": 8},
        "seed": run.seed,
        "seconds": 2.0,
        "params_M": 1.0 + config.model.kernel_size / 100,
        "macs_G": 1.0,
        "peak_memory_mb": {"process": 100.0},
        "history": [],
        "environment": {"hardware": {"cpu": "made", "cores": 1, "threads": 1}, "device": "cpu"},
        "scale": run.scale,
        "experiment": Path(run.source).stem,
        "row": run.row,
    }
    record = RunRecord(**{**values, **changes})
    Path(run.folder).mkdir(parents=True, exist_ok=True)
    record.write(Path(run.folder))
    if done:
        (Path(run.folder) / DONE_NAME).write_text("{}")
    return record


def write_epochs(run: RunOrder, count: int, seconds: float = 1.0) -> None:
    """Writes what a run logs after ``count`` epochs."""
    Path(run.folder).mkdir(parents=True, exist_ok=True)
    rest = {"stage": "weak", "lr": 0.1, "losses": {}, "images_per_s": 8.0}
    lines = [json.dumps({"epoch": number, "step": number + 1, "seconds": seconds, **rest}) for number in range(count)]
    (Path(run.folder) / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def changed(run: RunOrder, **changes) -> RunOrder:
    return dataclasses.replace(run, **changes)


# Runs a sweep's worker with a stand-in for papermill: how it behaves is in the row's name.
FAKE_WORKER = """
import os, sys, time
from pathlib import Path
import papermill
sys.path.insert(0, {support!r})
from made_sweeps import write_record
from rtmdet_lab.experiment.sweep import worker
from rtmdet_lab.experiment.sweep.plan import read_order

run = read_order(Path(sys.argv[1]))

def execute(source, target, parameters, **options):
    log = Path(run.folder) / "attempts.txt"
    attempts = len(log.read_text().split()) + 1 if log.exists() else 1
    with log.open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    Path(target).write_text("{{}}")
    if "slow" in run.row:
        time.sleep(1.0)
    if "fails" in run.row or ("once" in run.row and attempts == 1):
        raise RuntimeError("it broke\\nwith details")
    write_record(run, 0.25 + 0.01 * run.seed, done=False)

papermill.execute_notebook = execute
sys.exit(worker.main())
"""


def fake_command(folder: Path):
    """Returns a stand-in for ``local.worker_command`` whose notebooks take no time."""
    import sys

    script = folder / "fake_worker.py"
    script.write_text(FAKE_WORKER.format(support=str(Path(__file__).parent)))
    return lambda run: [sys.executable, str(script), str(run.write())]
