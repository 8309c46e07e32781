"""Which runs a sweep consists of, where each lives, and which of them are done.

A run's folder carries a hash of everything that decides its result. So a sweep that is repeated, after a crash or after an
edit of the experiment, finds what it has and runs the rest; runs of an older version of a row stay beside, untouched.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmdet_lab.config.aliases import current_names, first_name
from rtmdet_lab.config.overrides import differences, iter_settings
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.file_schema import require
from rtmdet_lab.core.files import read_json, write_json
from rtmdet_lab.experiment.old_names import today
from rtmdet_lab.experiment.record import RECORD_NAME, RESULTS_VERSION, RunRecord, dotted, read_record
from rtmdet_lab.experiment.row import row_config
from rtmdet_lab.experiment.scale import check_scale
from rtmdet_lab.experiment.table import EXPERIMENTS_FOLDER, load_table

SPEC_NAME = "run.json"
NOTEBOOK_NAME = "run.ipynb"
DONE_NAME = "done.json"  # written last: the record is there, and the notebook ran to its end
# Settings that decide how long a run takes or what it keeps, and not what it learns.
WITHOUT_EFFECT = ("train.workers", "train.keep_every", "data.cache_decoded")
# Settings that the data fill in when the run starts.
FROM_DATA = ("model.num_classes", "data.")


@dataclass(frozen=True)
class RunOrder:
    """One row with one seed: everything a worker needs, as plain values that go through a file."""

    source: str  # name of an experiment, or the absolute path of its file
    row: str
    scale: str
    seed: int
    folder: str  # absolute; all that workers share is the folder above it
    data_dir: str
    overrides: dict[str, Any]
    settings: dict[str, Any]  # what differs from the defaults, by dotted name
    epochs: int
    images: int  # per epoch, for estimates; 0 where they are not known
    device: str = "auto"
    retries: int = 0
    threads: int = 0  # of the processor per run; 0: as the libraries choose

    @property
    def name(self) -> str:
        """Returns what a person calls the run."""
        return f"{self.row}, seed {self.seed}"

    def write(self) -> Path:
        """Writes the run into its folder and returns the file's path."""
        path = Path(self.folder) / SPEC_NAME
        write_json(path, dataclasses.asdict(self))
        return path


def read_order(path: Path) -> RunOrder:
    """Returns the run of a file that :meth:`RunOrder.write` wrote.

    Raises:
        DataError: missing, damaged, or of another version.
    """
    run = require(RunOrder, today(read_json(path, "run")), f"{path} is no run of this version: start the sweep again")
    if Path(run.folder).resolve() != path.resolve().parent:  # it may write there alone
        raise DataError(f"{path} was made for the folder {run.folder}: start the sweep again where it is now")
    return run


def plan(
    source: str | Path,
    scale: str,
    seeds: Iterable[int],
    out: str | Path,
    *,
    rows: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path = "",
    device: str = "auto",
    retries: int = 0,
    threads: int = 0,
) -> list[RunOrder]:
    """Returns the runs of a sweep, seed by seed, so that every row has a result early.

    Args:
        rows: these alone; None takes all the scale does not leave out.

    Raises:
        UnknownNameError, SettingError: an experiment, row, scale or setting that does not exist or cannot be.
        DataError: no data for a scale that draws none.
    """
    table = load_table(source)
    chosen = table.scale(check_scale(scale))
    seeds = list(dict.fromkeys(seeds))
    if not seeds:
        raise SettingError("no seeds: name at least one")
    if chosen.data is None and not str(data_dir):
        raise DataError(f"the scale {scale} trains on given data: name their folder with --data")
    out = Path(out).resolve()
    path = Path(source)
    source = str(path.resolve()) if path.suffix == ".py" and path.resolve().parent != EXPERIMENTS_FOLDER else path.stem
    settings = dict(chosen.data or {})
    data = Path(data_dir).resolve() if str(data_dir) else out / "data" / f"{table.base.task}-{_hash(settings)}"
    images = int(settings.get("train", 0))
    runs = []
    for seed in seeds:
        for row in table.rows if rows is None else dict.fromkeys(rows):
            if rows is None and row in chosen.skip:
                continue
            config = row_config(table, row, scale, seed=seed, overrides=overrides)
            differing = deciding_settings(config)
            hashed = {first_name(name): value for name, value in differing.items()}  # a new word makes no other run
            what = {"version": RESULTS_VERSION, "settings": hashed, "data": str(data) if str(data_dir) else settings}
            folder = out / path.stem / scale / f"{_plain(row)}-seed{seed}-{_hash(what)}"
            order = RunOrder(
                source=source,
                row=row,
                scale=scale,
                seed=seed,
                folder=str(folder),
                data_dir=str(data),
                overrides=dict(overrides or {}),
                settings=differing,
                epochs=config.train.epochs,
                images=images,
                device=device,
                retries=retries,
                threads=threads,
            )
            runs.append(order)
    return runs


def deciding_settings(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the settings that decide the result of a run, those at their default left out.

    So a setting that a later version adds, at its default, changes no name; a default that changes is found when a record
    is compared with its run.
    """
    changed = differences(config, ExperimentConfig())
    return {name: _plain_value(value) for name, (value, _) in changed.items() if name not in WITHOUT_EFFECT}


def finished_record(run: RunOrder) -> RunRecord | None:
    """Returns the record of a run that came to its end; None where there is none, or a damaged one."""
    return written_record(run) if (Path(run.folder) / DONE_NAME).exists() else None


def written_record(run: RunOrder) -> RunRecord | None:
    """Returns the record in a run's folder if it is that of this very run."""
    try:
        record = read_record(Path(run.folder) / RECORD_NAME)
    except DataError:
        return None
    same = (record.row, record.seed, record.scale) == (run.row, run.seed, run.scale)
    return record if same and not _other_settings(record, run) else None


def _other_settings(record: RunRecord, run: RunOrder) -> list[str]:
    """Returns the settings a record has otherwise than its run; those of other versions are not compared."""
    expected = {name: _plain_value(value) for name, value in iter_settings(ExperimentConfig())}
    expected |= current_names(run.settings)
    recorded = dotted(record.config)
    free = (*WITHOUT_EFFECT, *FROM_DATA)
    return [name for name in expected if recorded.get(name, expected[name]) != expected[name] and not name.startswith(free)]


def _plain_value(value: Any) -> Any:
    """Returns a setting as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


def _plain(row: str) -> str:
    """Returns a row's name as part of a folder's; the hash keeps apart what becomes equal.

    >>> _plain("soft class, center and log IoU")
    'soft-class-center-and-log-IoU'
    """
    return re.sub(r"[^A-Za-z0-9]+", "-", row).strip("-")[:60] or "row"
