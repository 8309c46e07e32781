"""The network alone: by precision, batch and way of running it, each as a share of what the machine can do.

    python benchmarks/latency.py
    python benchmarks/latency.py --models rtmdet-s rtmdet-ins-s --batches 1 8 --ways trained prepared
    python benchmarks/latency.py --device cuda --models rtmdet-tiny rtmdet-s rtmdet-m rtmdet-l rtmdet-x \\
        --batches 1 32 --precisions fp32 fp16 bf16

"trained" is the network as training leaves it, "prepared" that of prepare_inference (batch norm folded, channels-last),
"compiled" the same after torch.compile; on a GPU its kernels are then replayed as one CUDA graph. All ways of a model take
turns, so whatever else the machine does slows all; the ratio is the median of those of one turn.

The floor is the larger of two times: the multiply-adds at the speed of a matrix product of that precision, and the weights
and every convolution's output, written and read once, at the speed of a memory copy. Both speeds are measured in the same
run. Published times are of a GPU (RTX 3090, TensorRT, fp16, batch 1, without NMS: paper.md 2.1).
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from rtmdet_lab import create_model, load_table, prepare_inference
from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.engine.predict import DTYPES
from rtmdet_lab.experiment.run import choose_device

EXPERIMENT = Path(__file__).parents[1] / "experiments/detection_sizes.py"
WAYS = ("trained", "prepared", "compiled")


@dataclass(frozen=True)
class Speed:
    """What the machine reaches in one precision."""

    operations: float  # per second, of a matrix product; a multiply-add is two
    bytes: float  # per second, read and written, of a copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["rtmdet-tiny"], metavar="NAME")
    parser.add_argument("--batches", nargs="+", type=int, default=[1], metavar="N")
    parser.add_argument("--precisions", nargs="+", choices=list(DTYPES), default=["fp32", "bf16"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--input-size", type=int, default=640, metavar="PIXELS")
    parser.add_argument("--turns", type=int, default=11, help="of each way (11)")
    parser.add_argument("--device", default="auto", help="auto (the GPU where there is one), cpu or cuda")
    add_json(parser)
    args = parser.parse_args()
    device = choose_device(args.device)
    speeds = {name: speed(DTYPES[name], device) for name in args.precisions}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    limits = [{"precision": name, "TFLOP/s": one.operations / 1e12, "GB/s": one.bytes / 1e9} for name, one in speeds.items()]
    print(f"{name}, PyTorch {torch.__version__}, input {args.input_size}\n")
    print_table(limits)
    published = {f"rtmdet-{row}": values.get("latency_ms") for row, values in load_table(EXPERIMENT).published.items()}
    rows: list[dict[str, Any]] = []
    for model in args.models:
        for batch in args.batches:
            found = compare(model, batch, args, device, speeds)
            rows += [row | {"published ms": published.get(model) if batch == 1 else None} for row in found]
            print_table(rows[-len(found) :])
            write_result(args, {"device": name, "input_size": args.input_size, "limits": limits, "rows": rows})


def compare(
    name: str, batch: int, args: argparse.Namespace, device: torch.device, speeds: dict[str, Speed]
) -> list[dict[str, Any]]:
    """Returns a row per precision and way of one model, all measured in turns."""
    torch.manual_seed(0)
    model = create_model(name).eval()
    macs = batch * measure_complexity(model, args.input_size).macs
    images = torch.randn(batch, 3, args.input_size, args.input_size)
    moved = numbers_moved(model, images)
    images = images.to(device)
    cases = [(precision, way) for precision in args.precisions for way in args.ways]
    with torch.inference_mode():
        networks = [as_run(model, precision, way, device) for precision, way in cases]
        inputs = [
            images.contiguous(memory_format=torch.contiguous_format if way == "trained" else torch.channels_last)
            for _, way in cases
        ]
        seconds: list[list[float]] = [[] for _ in cases]
        for turn in range(-2, args.turns):  # two to warm up and, where asked, to compile
            for times, network, given in zip(seconds, networks, inputs, strict=True):
                taken = timed(lambda network=network, given=given: network(given), device)
                if turn >= 0:
                    times.append(taken)
    rows = []
    for (precision, way), times in zip(cases, seconds, strict=True):
        width = DTYPES[precision].itemsize
        floor = max(2 * macs / speeds[precision].operations, width * moved / speeds[precision].bytes)
        rows.append(
            {
                "model": name,
                "batch": batch,
                "precision": precision,
                "way": way,
                "ms": 1e3 * median(times),
                "lowest": 1e3 * min(times),
                "highest": 1e3 * max(times),
                "images/s": batch / median(times),
                f"to {' '.join(cases[0])}": median(one / other for one, other in zip(seconds[0], times, strict=True)),
                "of the floor": floor / median(times),
            }
        )
    return rows


def as_run(model: nn.Module, precision: str, way: str, device: torch.device) -> nn.Module:
    if way == "trained":
        return copy.deepcopy(model).to(device, DTYPES[precision])
    return prepare_inference(model, device, precision=precision, compiled=way == "compiled")


def numbers_moved(model: nn.Module, images: torch.Tensor) -> int:
    """Returns how many numbers one pass must move at least: the weights, and each convolution's output twice."""
    shadow = copy.deepcopy(model).to("meta")
    outputs: list[int] = []
    for module in shadow.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.numel()))
    with torch.no_grad():
        shadow(images.to("meta"))
    return sum(parameter.numel() for parameter in model.parameters()) + 2 * sum(outputs)


def speed(dtype: torch.dtype, device: torch.device) -> Speed:
    """Measures a matrix product and a copy, far larger than the caches; the best of several."""
    side, length = (8192, 2**28) if device.type == "cuda" else (2048, 2**25)
    matrix = torch.randn(side, side, device=device).to(dtype)
    block = torch.zeros(length, dtype=dtype, device=device)
    other = torch.empty_like(block)
    product = min(timed(lambda: matrix @ matrix, device) for _ in range(8))
    moved = min(timed(lambda: other.copy_(block), device) for _ in range(8))
    return Speed(2 * side**3 / product, 2 * length * dtype.itemsize / moved)


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Returns the seconds of one call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
