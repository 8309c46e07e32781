"""The figures of a table's results."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from rtmdet_lab.analysis.statistics import Interval
from rtmdet_lab.reporting.results import Results, RowResult
from rtmdet_lab.viz.ablations import Point, plot_learning, plot_scores, plot_speed


def make_figures(results: Results) -> list[tuple[str, Figure]]:
    """Returns (name, figure) of all that the records allow: score against parameters and latency, learning curves, speed."""
    figures = []
    measured = [_point(row, row.params_M, row.ap) for row in results.rows if row.seeds and row.params_M is not None]
    published = [
        Point(row.row, float(row.published.get("params_M") or row.params_M), float(row.published["AP"]))
        for row in results.rows
        if "AP" in row.published and (row.published.get("params_M") or row.params_M)
    ]
    if measured or published:
        title = results.title if measured else f"{results.item.item}: published"
        figures.append(("AP and parameters", plot_scores(measured, published, "parameters, million", title)))
    timed = [
        Point(row.row, float(row.published["latency_ms"]), float(row.published["AP"]))
        for row in results.rows
        if {"AP", "latency_ms"} <= set(row.published)
    ]
    if timed:
        title = f"{results.item.item}: published, NVIDIA GPU with TensorRT in half precision"
        figures.append(("AP and latency", plot_scores([], timed, "latency, ms", title)))
    histories = {row.row: row.histories for row in results.rows if row.histories}
    if histories:
        figures.append(("learning curves", plot_learning(histories, results.title)))
        speeds = {row: [one["images_per_s"] for history in runs for one in history] for row, runs in histories.items()}
        figures.append(("training speed", plot_speed(speeds, f"{results.title}\nloader and network together")))
    return figures


def _point(row: RowResult, cost: float, ap: Interval) -> Point:
    bounds = (math.nan, math.nan) if math.isnan(ap.low) else (100 * ap.low, 100 * ap.high)
    return Point(row.row, cost, 100 * ap.mean, *bounds)
