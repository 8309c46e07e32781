"""Finds the records of one table under a folder, and says by name what it leaves out and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.core.errors import DataError, UserError
from rtmdet_lab.experiment.record import RECORD_NAME, RunRecord, dotted, read_record, results_version
from rtmdet_lab.experiment.row import row_config
from rtmdet_lab.experiment.scale import check_scale
from rtmdet_lab.experiment.table import Table

# Where runs of one row may differ: who reads the data and what is kept. The data themselves are compared by what they hold.
_FREE = (
    *("data.train_", "data.val_", "data.classes", "data.on_bad", "data.cache_decoded", "model.num_classes"),
    *("train.workers", "train.keep_every", "test.batch_size"),
)


@dataclass(eq=False)
class FinishedRun:
    """A record and the folder it was read from."""

    folder: Path
    record: RunRecord


@dataclass
class Collection:
    """The runs of a table at one scale, by row and seed, in the order of the rows.

    Runs that learned from other data, under other settings or were scored otherwise than most have rows of their own, named
    by what differs, behind the row they belong to.
    """

    scale: str
    rows: dict[str, list[FinishedRun]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)  # one sentence per record that is not used
    apart: dict[str, str] = field(default_factory=dict)  # rows of their own -> the row of the table

    @property
    def runs(self) -> list[FinishedRun]:
        """All runs that are compared with each other."""
        return [run for row, runs in self.rows.items() if row not in self.apart for run in runs]


def collect(table: Table, name: str, folder: str | Path, scale: str) -> Collection:
    """Returns the runs of an experiment under a folder, however deep.

    Records of other experiments and scales are passed over. Damaged and foreign ones, those of rows that the experiment
    no longer has, and those of another version of a row are left out and named; of two runs of one row and seed the newer
    one counts.
    """
    collection = Collection(check_scale(scale), {row: [] for row in table.rows})
    runs: list[tuple[FinishedRun, dict[str, str]]] = []
    for path in sorted(Path(folder).rglob(RECORD_NAME)):
        try:
            record = read_record(path)
        except DataError as error:
            collection.left_out.append(str(error))
            continue
        if record.experiment != name or record.scale != scale:
            continue
        try:
            runs.append((FinishedRun(path.parent, record), _other_settings(table, record, scale)))
        except UserError as error:
            collection.left_out.append(f"{path}: {error}")
    usual = _usual_origin(runs)
    for run, settings in runs:
        others = [f"{key} {value}" for key, value in (settings | _other_origin(run.record, usual)).items()]
        row = run.record.row
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            row = f"{row} ({', '.join(others[:3])}{more})"
            collection.apart[row] = run.record.row
        _add(collection, row, run)
    order = list(table.rows)
    places = {row: (order.index(collection.apart.get(row, row)), row in collection.apart) for row in collection.rows}
    collection.rows = {row: collection.rows[row] for row in sorted(collection.rows, key=places.get)}
    for of_row in collection.rows.values():
        of_row.sort(key=lambda run: run.record.seed)
    return collection


def _add(collection: Collection, row: str, run: FinishedRun) -> None:
    """Adds a run to its row, in place of an older one with its seed."""
    runs = collection.rows.setdefault(row, [])
    twin = next((other for other in runs if other.record.seed == run.record.seed), None)
    if twin is None:
        runs.append(run)
        return
    older, newer = sorted((twin, run), key=lambda finished: (finished.folder / RECORD_NAME).stat().st_mtime)
    collection.left_out.append(f"{older.folder / RECORD_NAME}: the same row and seed as {newer.folder}, which is newer")
    runs.remove(twin)
    runs.append(newer)


def _other_settings(table: Table, record: RunRecord, scale: str) -> dict[str, str]:
    """Returns the settings a record has otherwise than its row at the scale, those without effect left out.

    Raises:
        UserError: it is none of a row of the table.
    """
    if record.row not in table.rows:
        raise DataError(f"row {record.row!r} does not exist any more")
    wanted = dotted(to_dict(row_config(table, record.row, scale, seed=record.seed)))
    have = dotted(record.config)
    free = (*_FREE, *(("train.val_interval",) if have.get("train.score_of") == "last" else ()))
    different = [key for key in wanted if not key.startswith(free) and have.get(key, wanted[key]) != wanted[key]]
    for key in different:
        if any(key == name or key.startswith(f"{name}.") for name in table.rows[record.row]):
            more = f" and {len(different) - 1} more" if len(different) > 1 else ""
            raise DataError(f"{key} is {have[key]!r}, but the row has {wanted[key]!r}{more}: another version of the row")
    return {key: str(have[key]) for key in different}


def _origin(record: RunRecord) -> dict[str, Any]:
    """Returns what a record's numbers come from, beside its settings."""
    data = record.data
    known = {part: tuple(data.get(key) for key in (part, f"{part}_images", f"{part}_print")) for part in ("train", "val")}
    classes = (record.config.get("data") or {}).get("classes")
    return {**known, "classes": classes and tuple(classes), "version": results_version(record)}


def _usual_origin(runs: list[tuple[FinishedRun, dict[str, str]]]) -> dict[str, Any]:
    """Returns the origin that most rows share, then most runs; runs with the settings of their row count first."""
    shared: dict[str, list[tuple[bool, str]]] = {}
    origins: dict[str, dict[str, Any]] = {}
    for run, settings in runs:
        key = repr(_origin(run.record))
        origins[key] = _origin(run.record)
        shared.setdefault(key, []).append((not settings, run.record.row))

    def weight(key: str) -> tuple[int, int, int]:
        own = [row for as_asked, row in shared[key] if as_asked]
        return len(set(own)), len(own), len(shared[key])

    return origins[max(shared, key=weight)] if shared else {}


def _other_origin(record: RunRecord, usual: dict[str, Any]) -> dict[str, str]:
    """Returns, by name and in words, where a record's origin is another than the usual one."""
    others = {}
    for name, value in _origin(record).items():
        if value == usual[name]:
            continue
        if name in ("train", "val"):
            title, images, print_of = value
            other = "" if (title, images) != usual[name][:2] else f", {print_of or 'of unknown content'}"
            others[f"{name} set"] = f"{images} images of {title}{other}"
        elif name == "classes":
            others["classes"] = f"{len(value or ())} others"
        else:
            others["results of version"] = str(value)
    return others


def describe_scale(collection: Collection) -> str:
    """Returns what the runs were trained with, in words, from their own records."""
    runs = collection.runs
    if not runs:
        return f"{collection.scale} scale"
    records = [run.record for run in runs]

    def span(values: list[Any]) -> str:
        known = sorted(set(values))
        return f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"

    epochs = span([record.config["train"]["epochs"] for record in records])
    images = span([record.data["train_images"] for record in records])
    size = span([record.config["augment"]["input_size"] for record in records])
    names = " and ".join(sorted({str(record.data["train"]) for record in records})[:2])
    return f"{collection.scale} scale: {epochs} epochs of {images} images at {size} pixels, {names}"
