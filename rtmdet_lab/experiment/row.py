"""One row of a table, run: its config at a scale, its data, and the check that what the row says took effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rtmdet_lab.config.aliases import current_names
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.recipes import with_scaled_weak_epochs
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.files import require_writable
from rtmdet_lab.core.locking import locked
from rtmdet_lab.engine.console import Reporter
from rtmdet_lab.engine.memory import explain_memory, training_advice
from rtmdet_lab.experiment.old_names import takes_old_names
from rtmdet_lab.experiment.record import RunRecord
from rtmdet_lab.experiment.run import open_data, run, with_classes
from rtmdet_lab.experiment.scale import Scale, check_scale
from rtmdet_lab.experiment.table import Table
from rtmdet_lab.experiment.verify import check_effective
from rtmdet_lab.tasks.factory import find_data, spec_of


@takes_old_names(item="table", budget="scale")
def row_config(
    table: Table, row: str, scale: str, *, seed: int = 0, overrides: Mapping[str, Any] | None = None
) -> ResolvedConfig:
    """Returns the resolved config of a run, without its data.

    Args:
        overrides: settings changed for this run beside row and scale, for example ``{"train.epochs": 2}``.

    Raises:
        SettingError: a row the scale leaves out, or an override of a setting that the row varies.
        UnknownNameError, SettingTypeError: no such row or setting, or a value of another type.
    """
    chosen = table.scale(check_scale(scale))
    table.check_scale(chosen.name)
    if row in chosen.skip:
        raise SettingError(f"row {row!r} has no {scale} run: {chosen.skip[row]}")
    overrides = current_names(overrides or {})
    for name in overrides:
        if name in table.rows.get(row, {}):
            raise SettingError(f"override {name!r} is what row {row!r} varies: choose another row instead")
    return table.config(row, chosen.name, {**overrides, "seed": seed})


@takes_old_names(item="table", budget="scale")
def run_row(
    table: Table,
    row: str,
    *,
    scale: str,
    out_dir: str | Path,
    name: str = "",
    seed: int = 0,
    overrides: Mapping[str, Any] | None = None,
    data_dir: str | Path = "",
    device: str = "auto",
    resume: bool | Literal["auto"] = "auto",
    reporter: Reporter | None = None,
    num_processes: int = 1,
) -> RunRecord:
    """Trains and evaluates one row at a scale and returns the record it leaves in ``out_dir``.

    Args:
        scale: smoke, laptop or paper.
        name: of the experiment, for the record.
        data_dir: a data set in a usual layout; for the smaller scales the folder where generated data are, or are to be.
        overrides: see :func:`row_config`.

    Raises:
        SettingError: among others, a setting of the row that was not taken or changed nothing (see ``effective``).
        DataError: no data given for the scale "paper".
    """
    config = row_config(table, row, scale, seed=seed, overrides=overrides)
    require_writable(Path(out_dir))
    config = with_overrides(config, prepare_data(table.scale(scale), config.task, data_dir))
    train, _ = open_data(config)
    data = {f"data.{part.name}": getattr(config.data, part.name) for part in dataclasses.fields(config.data)}

    def config_of(settings: Mapping[str, Any]) -> ResolvedConfig:
        own = {name: value for name, value in data.items() if name not in settings}
        changes = {**own, **(overrides or {}), "seed": seed}
        whole = table.scaled(with_scaled_weak_epochs(table.base, settings), scale, changes)
        return with_classes(whole, train.classes)

    def open_source(asked: ResolvedConfig) -> Any:
        same = dataclasses.replace(asked.data, classes=None) == dataclasses.replace(config.data, classes=None)
        return train if same else open_data(asked)[0]

    with explain_memory(training_advice(config)):
        effective = check_effective(table.rows[row], config_of, open_source)
    return run(
        config,
        out_dir,
        device=device,
        resume=resume,
        reporter=reporter,
        experiment=name or table.title,
        row=row,
        scale=scale,
        effective=effective,
        num_processes=num_processes,
    )


variant_config, run_variant = row_config, run_row  # as they were called first


def prepare_data(scale: Scale, task: str, folder: str | Path) -> dict[str, Any]:
    """Returns the ``data.*`` settings of a scale's data, drawn first where they are generated and not there yet.

    Processes that ask for the same folder at once wait for the one that draws.

    Raises:
        DataError: no folder, or nothing usable in it.
    """
    if not str(folder):
        raise DataError(f"the scale {scale.name} needs a data folder: name it with data_dir (--data)")
    folder = Path(folder)
    if scale.data is None:
        return find_data(folder, task)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Files that appear show that who draws is at work.
    with locked(Path(f"{folder}.lock"), f"drawing {folder}", lambda: sum(1 for _ in folder.rglob("*"))):
        return dict(spec_of(task).generate(folder, **scale.data, progress=False))
