"""The same model in several runtimes: how well each finds, and how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.engine.predict import image_paths
from rtmdet_lab.export.canvases import canvas_of, score_exported, spread, spread_canvases
from rtmdet_lab.export.exported import Exported, by_torch, open_exported
from rtmdet_lab.export.latency import time_in_turns
from rtmdet_lab.export.network import ExportNetwork
from rtmdet_lab.export.targets import SUFFIXES, export_model, make_plan
from rtmdet_lab.tasks.base import Task

PYTORCH = "pytorch"


def contestants(
    task: Task, names: Sequence[str], folder: Path, calibration: Path | None = None, threads: int = 1
) -> dict[str, Exported]:
    """Returns the model of ``task`` in each runtime named, exported into ``folder`` and opened for batches of one image.

    Args:
        names: a target (see ``rtmdet-lab export --help``), followed by ``-fp16`` or ``-int8`` where it is not fp32;
            "pytorch" is the fused network, not exported.
        calibration: folder of images, for int8.
        threads: of each runtime, PyTorch's included.

    Raises:
        SettingError, UnknownNameError: no such target or precision, or int8 without calibration images.
    """
    torch.set_num_threads(threads)
    side = task.config.test.input_size
    found: dict[str, Exported] = {}
    for name in names:
        target, precision = name, "fp32"
        if name.endswith(("-fp16", "-int8")):
            target, _, precision = name.rpartition("-")
        if target == PYTORCH:
            plan = make_plan(task.name, "torchscript", task.config.test, task.config.data.classes)
            network = ExportNetwork(task.model).to(memory_format=torch.channels_last)
            found[name] = Exported(by_torch(network, task.name), plan.description(task.name))
            continue
        plan = make_plan(task.name, target, task.config.test, task.config.data.classes, precision=precision)
        if precision == "int8" and calibration is None:
            raise SettingError(f"{name} needs calibration images: name a folder of them")
        canvases = spread_canvases(calibration, 200, side, task.name) if precision == "int8" else ()
        path = folder / f"{name}{SUFFIXES[target]}"
        export_model(task.model, plan, path, canvases, overwrite=True)
        found[name] = open_exported(path, threads, (1, side, side))
    return found


def hold_contest(
    runtimes: Mapping[str, Exported], task: Task, source: Source, images: Path, timed_images: int = 50
) -> list[dict[str, Any]]:
    """Returns one row per runtime: AP on ``source``, and percentiles in milliseconds from network input to detections.

    Times are those of single images, the runtimes in turns; ``ratio`` is the median of the ratios to the first one.
    """
    side = task.config.test.input_size
    inputs = [canvas_of(path, side, task.name) for path in spread(image_paths(images), timed_images)]
    metas = {id(canvas): meta for canvas, meta in inputs}

    def detector(exported: Exported) -> Any:
        return lambda canvas: exported.detect(torch.from_numpy(canvas), [metas[id(canvas)]])

    timings = time_in_turns({name: detector(one) for name, one in runtimes.items()}, [canvas for canvas, _ in inputs])
    rows = []
    for timing in timings:
        scores = score_exported(runtimes[timing.name], task, source, batch_size=1).summary()
        times = {f"p{percent}_ms": timing.percentile(percent) for percent in (10, 50, 90, 99)}
        rows.append({"runtime": timing.name, task.main_metric: scores[task.main_metric], **times, "ratio": timing.ratio})
    return rows
