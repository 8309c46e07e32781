"""The results of a table: published and measured numbers by row, and a verdict for each part of the claim."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet_lab.analysis.statistics import (
    Difference,
    Interval,
    compare_runs,
    compare_values,
    seed_interval,
    verdict,
)
from rtmdet_lab.analysis.tradeoff import describe_peers
from rtmdet_lab.core.errors import DataError, UserError
from rtmdet_lab.evaluation.matching import Matches
from rtmdet_lab.experiment.record import RunRecord
from rtmdet_lab.experiment.report.collect import Collection, FinishedRun, collect, describe_scale
from rtmdet_lab.experiment.run import PREDICTIONS_NAME
from rtmdet_lab.experiment.table import SCORES, Comparison, Table
from rtmdet_lab.tasks.factory import spec_of

DRAWS = 500
# What a report says of a row beside its scores.
MEASURED = ("params_M", "macs_G", "seconds", "images_per_s", "load_ms", "latency_ms")
UNDECIDED = "not decidable at this scale"


@dataclass
class RowResult:
    """One line of the table."""

    row: str
    published: Mapping[str, str]
    ap: Interval
    seeds: list[int]
    params_M: float | None
    macs_G: float | None
    seconds: float | None  # of training, mean over seeds
    images_per_s: float | None  # of training, median over epochs and seeds: what loader and network do together
    loads_ms: list[float]  # per 100 images, by seed and epoch; the waiting time where workers load
    memory_mb: float | None
    skipped: str = ""  # why the scale leaves the row out, or why it cannot be run at all
    scores: Mapping[str, Interval] = field(default_factory=dict)  # beside AP, by name in a record (:data:`SCORES`)
    latency_ms: float | None = None  # of the fused network, one image, where it was measured (experiment/report/latency.py)
    histories: list[list[dict[str, Any]]] = field(default_factory=list)

    @property
    def load_ms(self) -> float | None:
        """Median over epochs and seeds."""
        return float(np.median(self.loads_ms)) if self.loads_ms else None


@dataclass
class ClaimResult:
    """One part of the claim and what the runs say of it."""

    comparison: Comparison
    verdict: str
    difference: Difference | None
    published: float | None  # the difference as printed; AP from 0 to 1
    reason: str = ""  # why there is no difference to look at


@dataclass
class Results:
    """Everything a report shows."""

    name: str
    table: Table
    title: str
    rows: list[RowResult]
    claims: list[ClaimResult]
    left_out: list[str]
    collection: Collection
    latency_setup: str = ""  # what latency was measured on
    peers: list[str] = field(default_factory=list)  # a sentence per cost: which peers lie above the curve, as published


def gather_results(table: Table, name: str, folder: str | Path, scale: str, draws: int = DRAWS) -> Results:
    """Returns the results of an experiment from the records under ``folder``; rows without runs stay in the table."""
    collection = collect(table, name, folder, scale)
    skip = table.scale(collection.scale).skip
    rows = [_row(table, row, runs, skip.get(row, "")) for row, runs in collection.rows.items()]
    rows += [_row(table, row, [], reason) for row, reason in table.not_run.items()]
    matches_of = functools.cache(load_matches)
    claims = [_claim(table, comparison, collection, matches_of, draws) for comparison in table.comparisons]
    title = f"{table.title}, {describe_scale(collection)}"
    peers = describe_peers(table.published, table.peers)
    return Results(name, table, title, rows, claims, collection.left_out, collection, peers=peers)


def _row(table: Table, row: str, runs: list[FinishedRun], skipped: str) -> RowResult:
    records = [run.record for run in runs]
    speeds = [epoch["images_per_s"] for record in records for epoch in record.history if epoch.get("images_per_s")]
    waits = [milliseconds for record in records for milliseconds in _load_ms(record)]
    return RowResult(
        row=row,
        published=table.published.get(row, {}),
        ap=seed_interval([record.metrics.get("AP", float("nan")) for record in records]),
        seeds=[record.seed for record in records],
        params_M=records[0].params_M if records else None,
        macs_G=records[0].macs_G if records else None,
        seconds=float(np.mean([record.seconds for record in records])) if records else None,
        images_per_s=float(np.median(speeds)) if speeds else None,
        loads_ms=waits,
        memory_mb=max((max(record.peak_memory_mb.values()) for record in records if record.peak_memory_mb), default=None),
        skipped=skipped,
        scores={
            name: seed_interval([record.metrics.get(name, float("nan")) for record in records])
            for name in SCORES
            if any(name in record.metrics for record in records)
        },
        histories=[record.history for record in records],
    )


def _load_ms(record: RunRecord) -> list[float]:
    """Returns the milliseconds to load 100 images, by epoch; empty for records that do not say."""
    return [
        100_000 * epoch["load_seconds"] / (epoch["images_per_s"] * epoch["seconds"])
        for epoch in record.history
        if epoch.get("load_seconds") and epoch.get("images_per_s") and epoch.get("seconds")
    ]


def _claim(
    table: Table,
    comparison: Comparison,
    collection: Collection,
    matches_of: Callable[[FinishedRun], Matches],
    draws: int,
) -> ClaimResult:
    """Returns what the runs of two rows say of a part of the claim; no difference where they do not allow one."""
    metric, pair = comparison.metric, (comparison.row, comparison.than)
    printed = [table.published.get(row, {}).get(metric) for row in pair]
    published = None
    if printed[0] and printed[1]:
        published = (float(printed[0]) - float(printed[1])) / (100 if metric == "AP" else 1)
    runs = [collection.rows[row] for row in pair]
    skip = table.scale(collection.scale).skip
    without = next((row for row in pair if not collection.rows[row]), None)
    try:
        if without is not None:
            raise DataError(skip.get(without) or f"{without} has no runs")
        if metric == "load_ms":
            difference = compare_values(*map(_median_waits, runs))
            faster = dataclasses.replace(difference, low=-difference.high, high=-difference.low)  # less is better
            return ClaimResult(comparison, verdict(faster), difference, published)
        difference = compare_runs(*([matches_of(run) for run in of_row] for of_row in runs), draws=draws)
    except (UserError, ValueError) as error:
        return ClaimResult(comparison, UNDECIDED, None, published, str(error))
    return ClaimResult(
        comparison, verdict(difference, comparison.margin, comparison.at_least_as_good), difference, published
    )


def _median_waits(runs: Sequence[FinishedRun]) -> list[float]:
    """Returns the milliseconds that each run took to load 100 images, median over its epochs."""
    waits = [_load_ms(run.record) for run in runs]
    if not all(waits):
        raise DataError("not every record holds the loading time")
    return [float(np.median(epochs)) for epochs in waits]


def load_matches(run: FinishedRun) -> Matches:
    """Returns what the validation detections of a run match, from its predictions and the set it was scored on.

    Raises:
        DataError: predictions or annotations are gone or do not fit each other.
    """
    config = run.record.config
    matches = spec_of(config["task"]).matches
    if matches is None:
        raise DataError(f"run {run.folder} is of the task {config['task']}, whose scores are not compared image by image")
    return matches(config["data"], run.folder / PREDICTIONS_NAME)


def as_json(results: Results) -> dict[str, Any]:
    """Returns the results as plain values."""
    rows = [
        {
            "row": row.row,
            "published": dict(row.published),
            "AP": _number(row.ap.mean),
            "AP_low": _number(row.ap.low),
            "AP_high": _number(row.ap.high),
            **{name: _number(score.mean) for name, score in row.scores.items()},
            **{name: getattr(row, name) for name in ("seeds", *MEASURED, "memory_mb", "skipped")},
        }
        for row in results.rows
    ]
    claims = [
        {
            "claim": claim.comparison.text,
            "verdict": claim.verdict,
            "published_difference": claim.published,
            "reason": claim.reason,
            **({} if claim.difference is None else json.loads(json.dumps(vars(claim.difference)).replace("NaN", "null"))),
        }
        for claim in results.claims
    ]
    return {
        "title": results.title,
        "claim": results.table.claim,
        "rows": rows,
        "claims": claims,
        "peers": results.peers,
        "left_out": results.left_out,
        "latency_setup": results.latency_setup,
    }


def _number(value: float) -> float | None:
    return None if value != value else value


def require_runs(results: Results, folder: str | Path) -> None:
    """Raises DataError where a report would have no measured number at all."""
    if not any(results.collection.rows.values()):
        raise DataError(
            f"no runs of {results.name} at the {results.collection.scale} scale under {folder}: make some with "
            f"`rtmdet-lab sweep {results.name} --scale {results.collection.scale}`"
        )
