"""Finds the records of one table under a folder, and says by name what it leaves out and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtmdet_lab.budgets import check_budget
from rtmdet_lab.config import to_dict
from rtmdet_lab.errors import DataError, UserError
from rtmdet_lab.paper_items import PaperItem
from rtmdet_lab.records import RECORD_NAME, RunRecord, read_record
from rtmdet_lab.variants import variant_config

# Where runs of one row may differ: what they read and who reads it, never what they learn from it.
_FREE = ("data.", "model.num_classes", "train.workers")


@dataclass
class FoundRun:
    """A record and the folder it was read from."""

    folder: Path
    record: RunRecord


@dataclass
class Collection:
    """The runs of a table on one budget, by row and seed, in the order of the rows."""

    budget: str
    rows: dict[str, list[FoundRun]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # one sentence per record that is not used

    @property
    def runs(self) -> list[FoundRun]:
        return [run for runs in self.rows.values() for run in runs]


def collect(item: PaperItem, name: str, folder: str | Path, budget: str) -> Collection:
    """Returns the runs of an experiment under a folder, however deep.

    Records of other experiments and budgets are passed over. Damaged and foreign ones, those of rows that the experiment
    no longer has, and those whose settings are not the row's are left out and named; of two runs of one row and seed the
    newer one counts.
    """
    found = Collection(check_budget(budget), {row: [] for row in item.rows})
    for path in sorted(Path(folder).rglob(RECORD_NAME)):
        try:
            record = read_record(path)
        except DataError as error:
            found.left_out.append(str(error))
            continue
        if record.experiment != name or record.budget != budget:
            continue
        reason = _misfit(item, record, budget)
        if reason:
            found.left_out.append(f"{path}: {reason}")
            continue
        runs = found.rows[record.row]
        twin = next((run for run in runs if run.record.seed == record.seed), None)
        if twin is not None:
            older, newer = sorted(
                (twin, FoundRun(path.parent, record)), key=lambda run: (run.folder / RECORD_NAME).stat().st_mtime
            )
            found.left_out.append(f"{older.folder / RECORD_NAME}: the same row and seed as {newer.folder}, which is newer")
            runs.remove(twin)
            runs.append(newer)
        else:
            runs.append(FoundRun(path.parent, record))
    for runs in found.rows.values():
        runs.sort(key=lambda run: run.record.seed)
    return found


def _misfit(item: PaperItem, record: RunRecord, budget: str) -> str | None:
    """Returns why a record is none of a row of the item, or None."""
    if record.row not in item.rows:
        return f"row {record.row!r} does not exist any more"
    try:
        wanted = dict(_flat(to_dict(variant_config(item, record.row, budget, seed=record.seed))))
    except UserError as error:
        return str(error)
    have = dict(_flat(record.config))
    different = [key for key in wanted if not key.startswith(_FREE) and have.get(key, wanted[key]) != wanted[key]]
    if different:
        key = different[0]
        more = f" and {len(different) - 1} more" if len(different) > 1 else ""
        return f"{key} is {have[key]!r}, but the row has {wanted[key]!r}{more}: another version of the row"
    return None


def _flat(plain: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in plain.items():
        if isinstance(value, dict):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((prefix + key, list(value) if isinstance(value, tuple) else value))
    return flat


def describe_budget(found: Collection) -> str:
    """Returns what the runs were trained with, in words, from their own records."""
    runs = found.runs
    if not runs:
        return f"{found.budget} budget"
    records = [run.record for run in runs]

    def span(values: list[Any]) -> str:
        known = sorted(set(values))
        return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"

    epochs = span([record.config["train"]["epochs"] for record in records])
    images = span([record.data["train_images"] for record in records])
    size = span([record.config["augment"]["input_size"] for record in records])
    names = " and ".join(sorted({str(record.data["train"]) for record in records})[:2])
    return f"{found.budget} budget: {epochs} epochs of {images} images at {size} pixels, {names}"
