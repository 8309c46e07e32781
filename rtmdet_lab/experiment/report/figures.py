"""The figures of a table's results."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from rtmdet_lab.analysis.statistics import Interval
from rtmdet_lab.experiment.report.results import Results, RowResult
from rtmdet_lab.viz.ablations import Point, plot_learning, plot_rows, plot_scores, plot_speed


def make_figures(results: Results) -> list[tuple[str, Figure]]:
    """Returns (name, figure) of all that the records allow.

    Score against parameters, or by row where all rows cost the same; score against latency; learning curves; speed of
    training and of loading.
    """
    table, title = results.table.title, results.title
    figures = []
    measured, published = _measured(results, "params_M"), _published(results, "params_M")
    if _differ(measured) or _differ(published):
        heading = title if measured else f"{table}: published"
        figures.append(("AP and parameters", plot_scores(measured, published, "parameters, million", heading)))
    else:
        printed = [Point(row.row, math.nan, float(row.published["AP"])) for row in results.rows if row.published.get("AP")]
        if measured or printed:
            names = [row.row for row in results.rows]
            heading = title if measured else f"{table}: published"
            figures.append(("AP by row", plot_rows(names, measured, printed, heading)))
    measured, published = _measured(results, "latency_ms"), _published(results, "latency_ms")
    if _differ(measured) or _differ(published):
        parts = [f"measured: {results.latency_setup}"] * bool(measured)
        parts += ["published: NVIDIA GPU, TensorRT, half precision"] * bool(published)
        heading = f"{title if measured else table}\n{'; '.join(parts)}"
        figures.append(("AP and latency", plot_scores(measured, published, "latency, ms", heading)))
    histories = {row.row: row.histories for row in results.rows if any(row.histories)}
    if histories:
        figures.append(("learning curves", plot_learning(histories, title)))
        speeds = {row: [epoch["images_per_s"] for history in runs for epoch in history] for row, runs in histories.items()}
        figures.append(
            ("training speed", plot_speed(speeds, "images per second of training", f"{title}\nloader and network together"))
        )
    loads = {row.row: row.loads_ms for row in results.rows if row.loads_ms}
    if loads:
        figures.append(("loading time", plot_speed(loads, "milliseconds to load 100 images", title)))
    return figures


def _measured(results: Results, cost: str) -> list[Point]:
    return [_point(row, getattr(row, cost), row.ap) for row in results.rows if row.seeds and getattr(row, cost) is not None]


def _published(results: Results, cost: str) -> list[Point]:
    return [
        Point(row.row, float(row.published[cost]), float(row.published["AP"]))
        for row in results.rows
        if {"AP", cost} <= set(row.published)
    ]


def _differ(points: list[Point]) -> bool:
    return len({point.cost for point in points}) > 1


def _point(row: RowResult, cost: float, ap: Interval) -> Point:
    bounds = (math.nan, math.nan) if math.isnan(ap.low) else (100 * ap.low, 100 * ap.high)
    return Point(row.row, cost, 100 * ap.mean, *bounds)
