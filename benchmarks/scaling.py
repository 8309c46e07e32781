"""What the published trainings need on 1 to 64 GPUs: the formula of docs/results/scaling.md and its tables.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --anchor-hours 20 --memory-gb 24 --cores 4

Parameters, multiply-adds and norm layers are counted from the models. Everything else is an input with the default that
docs/results/scaling.md states and calls measured, published or assumed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.cli.common import add_json, write_result
from rtmdet_lab.config.presets import parse_model_name
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.tasks.factory import create_model

GPUS = (1, 2, 4, 8, 16, 32, 64)
# Published training memory per GPU in GB, and the images per GPU it was seen with.
MEMORY = {
    "rtmdet-tiny": (11.7, 32),
    "rtmdet-s": (15.9, 32),
    "rtmdet-m": (27.8, 32),
    "rtmdet-l": (43.2, 32),
    "rtmdet-x": (61.1, 32),
    "rtmdet-ins-tiny": (18.4, 32),
    "rtmdet-ins-s": (27.6, 32),
    "rtmdet-ins-m": (42.5, 32),
    "rtmdet-ins-l": (59.8, 32),
    "rtmdet-ins-x": (33.7, 16),
    "rtmdet-r-tiny": (12.7, 8),
    "rtmdet-r-s": (16.6, 8),
    "rtmdet-r-m": (10.9, 4),
    "rtmdet-r-l": (16.1, 4),
}
# Milliseconds of a step on the host, measured with benchmarks/scaling_inputs.py.
HOST_MS = dict(
    zip(MEMORY, (39.9, 46.6, 61.3, 69.3, 79.7, 56.3, 59.6, 65.1, 77.7, 93.4, 42.9, 44.8, 58.3, 73.3), strict=True)
)
ANCHOR, ANCHOR_GPUS, ANCHOR_IMAGES = "rtmdet-m", 8, 32  # the model, GPUs and images per GPU of ``anchor_hours``
COCO_IMAGES, COCO_EPOCHS, COCO_BATCH = 117_266, 300, 256
STATE_BYTES = 24  # per parameter: weight, gradient, its copy for the exchange, two moments of AdamW, EMA; 4 each


@dataclass(frozen=True)
class Inputs:
    """Everything that is not counted from the models. ``gb`` is 10^9 bytes."""

    anchor_hours: float = field(default=32.83, metadata={"help": "published training of rtmdet-m on 8 A100"})
    memory_gb: float = field(default=80.0, metadata={"help": "memory of one GPU, GB"})
    memory_share: float = field(default=0.9, metadata={"help": "share of it a run may plan with"})
    machine: int = field(default=8, metadata={"help": "GPUs per machine"})
    link_inside: float = field(default=200.0, metadata={"help": "GB/s of the gradient exchange inside a machine"})
    link_between: float = field(default=25.0, metadata={"help": "GB/s between machines"})
    wait_inside: float = field(default=0.03, metadata={"help": "ms of one small exchange inside a machine"})
    wait_between: float = field(default=0.06, metadata={"help": "ms of one small exchange between machines"})
    cores: int = field(default=10, metadata={"help": "loader processes per GPU, each with a core of its own"})
    loader_detection: float = field(default=128.9, metadata={"help": "images/s of one loader process"})
    loader_instance: float = field(default=67.5, metadata={"help": "the same with masks"})
    loader_rotated: float = field(default=27.6, metadata={"help": "the same for DOTA windows of 1024 pixels"})
    dota_windows: int = field(default=12_800, metadata={"help": "windows with objects, train and val together"})

    def __post_init__(self) -> None:
        for item in fields(self):
            if not getattr(self, item.name) > 0:
                name = item.name.replace("_", "-")
                raise SettingError(f"--{name} is {getattr(self, item.name)}, but must be above zero")
        if self.memory_share > 1:
            raise SettingError(f"--memory-share is {self.memory_share}, but must be at most 1")


@dataclass(frozen=True)
class Model:
    """What is counted from a network: parameters, multiply-adds of one image, batch norm layers."""

    name: str
    task: str
    params: int
    macs: float
    norms: int


@dataclass(frozen=True)
class Step:
    """One optimizer step, in milliseconds. ``arithmetic``, ``host`` and ``norm`` are sums over its ``passes``."""

    batch: int
    passes: int
    images: int  # per GPU and pass
    arithmetic: float
    host: float
    norm: float
    gradients: float  # what the backward pass does not hide
    loader: float

    @property
    def ms(self) -> float:
        return max(max(self.arithmetic, self.host) + self.norm + self.gradients, self.loader)

    @property
    def limit(self) -> str:
        device = max(self.arithmetic, self.host) + self.norm + self.gradients
        if self.loader > device:
            return "loader"
        parts = {"norm": self.norm, "gradients": self.gradients, "host": self.host, "arithmetic": self.arithmetic}
        return max(parts, key=parts.get)


@cache
def model_of(name: str) -> Model:
    task, _ = parse_model_name(name)
    rotated = task == "rotated"
    with torch.device("meta"):
        network = create_model(name, 15 if rotated else 80)
    cost = measure_complexity(network, 1024 if rotated else 640)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    return Model(name, task, round(cost.params_M * 1e6), cost.macs_G * 1e9, norms)


def published_batch(name: str, gpus: int) -> int:
    """Returns the images per optimizer step: the published ones, or one per GPU where there are more GPUs."""
    batch = 8 if model_of(name).task == "rotated" else 128 if name == "rtmdet-ins-x" else COCO_BATCH
    return max(batch, gpus)


def memory(name: str) -> tuple[float, float]:
    """Returns GB that do not depend on the images, and GB per image of a pass."""
    total, images = MEMORY[name]
    fixed = STATE_BYTES * model_of(name).params / 1e9
    return fixed, (total - fixed) / images


def images_that_fit(name: str, inputs: Inputs) -> int:
    """Returns the most images of one pass. Raises: SettingError if not even one fits."""
    fixed, each = memory(name)
    images = math.floor((inputs.memory_share * inputs.memory_gb - fixed) / each)
    if images < 1:
        raise SettingError(f"--memory-gb {inputs.memory_gb:g} holds no image of {name}: it needs {fixed + each:.1f} GB")
    return images


def norm_ms(name: str, gpus: int, inputs: Inputs) -> float:
    """Returns what synchronised batch norm waits per pass: one exchange per layer forward, one backward, none hidden."""
    if gpus == 1:
        return 0.0
    return 2 * model_of(name).norms * (inputs.wait_inside if gpus <= inputs.machine else inputs.wait_between)


def exchange_ms(name: str, gpus: int, inputs: Inputs) -> float:
    """Returns the milliseconds of averaging the gradients in a ring; its slowest link decides."""
    speed = inputs.link_inside if gpus <= inputs.machine else inputs.link_between
    return 2 * (gpus - 1) / gpus * 4 * model_of(name).params / (speed * 1e9) * 1e3


def image_ms(name: str, inputs: Inputs) -> tuple[float, float]:
    """Returns (least, most) milliseconds of an image on an A100: the anchor times the multiply-adds, or the memory."""
    steps = COCO_EPOCHS * math.ceil(COCO_IMAGES / COCO_BATCH)
    step = inputs.anchor_hours * 3.6e6 / steps
    anchor = (step - norm_ms(ANCHOR, ANCHOR_GPUS, inputs)) / ANCHOR_IMAGES
    if anchor <= 0:
        raise SettingError(f"--anchor-hours {inputs.anchor_hours:g} is less than what the exchanges of that run take")
    by_macs = anchor * model_of(name).macs / model_of(ANCHOR).macs
    by_memory = anchor * memory(name)[1] / memory(ANCHOR)[1]
    return min(by_macs, by_memory), max(by_macs, by_memory)


def step_of(name: str, gpus: int, inputs: Inputs, per_image: float) -> Step:
    """Returns an optimizer step on so many GPUs, an image taking ``per_image`` milliseconds of arithmetic."""
    batch = published_batch(name, gpus)
    share, rest = divmod(batch, gpus)
    if rest:
        raise SettingError(f"--gpus {gpus} does not divide the batch of {batch} images of {name}: give a power of two")
    fit = images_that_fit(name, inputs)
    passes = next(passes for passes in range(1, share + 1) if share % passes == 0 and share // passes <= fit)
    images = share // passes
    rate = getattr(inputs, f"loader_{model_of(name).task}")
    # Only the last pass exchanges gradients, and two thirds of its arithmetic, the backward pass, hide that.
    gradients = max(0.0, exchange_ms(name, gpus, inputs) - images * per_image * 2 / 3)
    return Step(
        batch,
        passes,
        images,
        arithmetic=share * per_image,
        host=passes * HOST_MS[name],
        norm=passes * norm_ms(name, gpus, inputs),
        gradients=gradients,
        loader=1000 * share / (inputs.cores * rate),
    )


def hours(name: str, gpus: int, inputs: Inputs, per_image: float) -> float:
    """Returns the hours of the published training: 300 epochs of COCO or 36 of DOTA."""
    rotated = model_of(name).task == "rotated"
    images, epochs = (inputs.dota_windows, 36) if rotated else (COCO_IMAGES, COCO_EPOCHS)
    step = step_of(name, gpus, inputs, per_image)
    return epochs * math.ceil(images / step.batch) * step.ms / 3.6e6


def gain(name: str, gpus: int, inputs: Inputs, per_image: float) -> float:
    """Returns how many times faster than one GPU so many are."""
    return hours(name, 1, inputs, per_image) / hours(name, gpus, inputs, per_image)


def tables(inputs: Inputs, gpus: Sequence[int] = GPUS) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yields (title, rows) of every table; all cells are text or whole numbers."""
    coco = [name for name in MEMORY if model_of(name).task != "rotated"]
    dota = [name for name in MEMORY if name not in coco]
    yield "One image and one pass", [_cost_row(name, inputs) for name in MEMORY]
    yield "Memory, and the images of one pass", [_memory_row(name, inputs) for name in MEMORY]
    yield "Hours of 300 epochs of COCO", [_hours_row(name, gpus, inputs) for name in coco]
    yield "Hours of 36 epochs of DOTA", [_hours_row(name, gpus, inputs) for name in dota]
    most, few = max(gpus), max([count for count in gpus if count <= 8], default=min(gpus))
    yield f"A step of COCO on {most} GPUs", [_parts_row(name, most, inputs) for name in coco]
    yield f"A step of DOTA on {few} GPUs", [_parts_row(name, few, inputs) for name in dota]
    yield (
        f"Gain of {most} GPUs, and the largest part of a step, on faster GPUs",
        [
            {"model": name, **{f"{factor} x": _gain_cell(name, most, inputs, factor) for factor in (1, 2, 4, 8)}}
            for name in coco
        ],
    )
    networks = {f"{speed:g} GB/s": replace(inputs, link_between=speed) for speed in (25, 12.5, 5, 1.25)}
    yield (
        f"Gain of {most} GPUs, and the largest part of a step, on slower networks",
        [{"model": name, **{speed: _gain_cell(name, most, one) for speed, one in networks.items()}} for name in coco],
    )
    yield "Loader cores that one GPU keeps busy", [_loader_row(name, inputs) for name in MEMORY]


def _cost_row(name: str, inputs: Inputs) -> dict[str, Any]:
    model, (least, most) = model_of(name), image_ms(name, inputs)
    return {
        "model": name,
        "parameters": f"{model.params / 1e6:.2f} M",
        "multiply-adds": f"{model.macs / 1e9:.1f} G",
        "norm layers": model.norms,
        "ms per image": _range(least, most),
        "host, ms per pass": f"{HOST_MS[name]:.0f}",
        "gradients": f"{4 * model.params / 1e6:.0f} MB",
    }


def _memory_row(name: str, inputs: Inputs) -> dict[str, Any]:
    fixed, each = memory(name)
    row = {"model": name, "weights and optimizer": f"{fixed:.2f} GB", "per image": f"{each:.2f} GB"}
    for size in (16, 24, 48, 80):
        room = inputs.memory_share * size - fixed
        row[f"images on {size} GB"] = math.floor(room / each) if room >= each else "none"
    return row


def _hours_row(name: str, gpus: Sequence[int], inputs: Inputs) -> dict[str, Any]:
    row: dict[str, Any] = {"model": name}
    for count in gpus:
        least, most = (hours(name, count, inputs, per_image) for per_image in image_ms(name, inputs))
        changed = "*" if published_batch(name, count) != published_batch(name, 1) else ""
        row[f"{count} GPU{'s' * (count > 1)}"] = _range(least, most) + changed
    return row


def _parts_row(name: str, gpus: int, inputs: Inputs) -> dict[str, Any]:
    per_image = image_ms(name, inputs)[0]
    step = step_of(name, gpus, inputs, per_image)
    return {
        "model": name,
        "images per GPU": step.passes * step.images,
        "arithmetic": f"{step.arithmetic:.0f} ms",
        "host": f"{step.host:.0f} ms",
        "norm": f"{step.norm:.0f} ms",
        "gradients": f"{exchange_ms(name, gpus, inputs):.1f} ms",
        "of it not hidden": f"{step.gradients:.1f} ms",
        "loader": f"{step.loader:.1f} ms",
        "largest": step.limit,
        "gain over one GPU": f"{gain(name, gpus, inputs, per_image):.1f}",
    }


def _gain_cell(name: str, gpus: int, inputs: Inputs, faster: float = 1) -> str:
    per_image = image_ms(name, inputs)[0] / faster
    return f"{gain(name, gpus, inputs, per_image):.0f}, {step_of(name, gpus, inputs, per_image).limit}"


def _loader_row(name: str, inputs: Inputs) -> dict[str, Any]:
    rate = getattr(inputs, f"loader_{model_of(name).task}")
    least, most = image_ms(name, inputs)
    return {
        "model": name,
        "images/s of one GPU": _range(1000 / most, 1000 / least),
        "images/s of one core": f"{rate:.1f}",
        "cores": _range(1000 / most / rate, 1000 / least / rate),
    }


def _range(least: float, most: float) -> str:
    texts = [f"{value:.0f}" if value >= 10 else f"{value:.1f}" for value in (least, most)]
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} to {texts[1]}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns rows as a Markdown table."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- |", "|---|").replace(" --- |", "---|")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for item in fields(Inputs):
        text = f"{item.metadata['help']} ({item.default:g})"
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=type(item.default), default=item.default, help=text)
    parser.add_argument("--gpus", type=int, nargs="+", default=GPUS, metavar="N", help="columns of the tables of hours")
    add_json(parser)
    args = parser.parse_args(arguments)
    try:
        inputs = Inputs(**{item.name: getattr(args, item.name) for item in fields(Inputs)})
        if min(args.gpus) < 1:
            raise SettingError(f"--gpus is {min(args.gpus)}, but must be at least 1")
        found = dict(tables(inputs, args.gpus))
    except SettingError as error:
        parser.error(str(error))
    for title, rows in found.items():
        print(f"### {title}\n\n{markdown(rows)}\n")
    write_result(args, found)


if __name__ == "__main__":
    main()
