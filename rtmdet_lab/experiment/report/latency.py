"""How long the networks of a table take for one image, measured where the report is made."""

from __future__ import annotations

import dataclasses
from statistics import median

import torch

from rtmdet_lab.analysis.latency import measure_latency
from rtmdet_lab.config.presets import resolved_from_dict
from rtmdet_lab.config.settings import ModelConfig
from rtmdet_lab.experiment.report.results import Results
from rtmdet_lab.layers.fuse import fuse
from rtmdet_lab.tasks.factory import build_network

ROUNDS = 5


def with_latency(results: Results, runs: int = 20, device: str | None = None) -> Results:
    """Returns the results with ``latency_ms`` of every row that has runs, and with what it was measured on.

    The networks are those of the runs, as small as their scale makes them, fused, without post-processing. They take
    turns, so that a machine that slows down does so for all; rows that train one network in several ways share a number.

    Args:
        runs: passes per network, at least one per round of five.
        device: such as "cuda"; None takes a GPU where there is one.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    keys = {row: _network(found[0].record.config) for row, found in results.collection.rows.items() if found}
    networks = {key: fuse(build_network(*key[:2])) for key in dict.fromkeys(keys.values())}
    times: dict[tuple[str, ModelConfig, int], list[float]] = {key: [] for key in networks}
    setup = ""
    for _ in range(ROUNDS):
        for key, network in networks.items():
            found = measure_latency(network, key[2], runs=-(-runs // ROUNDS), warmup=1, device=device)
            times[key].append(found.total_ms)
            threads = f", {found.threads} thread{'s' * (found.threads > 1)}" if found.device == "CPU" else ""
            setup = f"{found.device}{threads}, float32, one image, without post-processing"
    rows = [
        dataclasses.replace(row, latency_ms=median(times[keys[row.row]])) if row.row in keys else row for row in results.rows
    ]
    return dataclasses.replace(results, rows=rows, latency_setup=setup)


def _network(config: dict) -> tuple[str, ModelConfig, int]:
    """Returns what decides the time of a run's network: task, model and input size."""
    whole = resolved_from_dict(config)
    return whole.task, dataclasses.replace(whole.model, pretrained_backbone=False), whole.test.input_size
