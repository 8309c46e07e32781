"""Peak memory and time of one training step of the mask loss, with few and with many objects (paper.md 3.6).

    python benchmarks/mask_memory.py
    python benchmarks/mask_memory.py --size s --input-size 640 --objects 20 100 300

Each case runs in a process of its own, so that peaks do not mix; the ratio to the first case is what counts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

from rtmdet_lab.cli.common import add_json, print_table, write_result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="s")
    parser.add_argument("--input-size", type=int, default=640)
    parser.add_argument("--objects", type=int, nargs="+", default=[20, 100, 300], metavar="N")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)  # objects, chunk, cap: one case, in this process
    add_json(parser)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.size, args.input_size, *(int(value) for value in args.one))))
        return
    rows = []
    for objects in args.objects:
        for name, chunk, cap in (("all at once", 10**6, 0), ("chunks", 32, 0), ("chunks, cap 300", 32, 300)):
            command = [sys.executable, __file__, "--size", args.size, "--input-size", str(args.input_size)]
            command += ["--one", str(objects), str(chunk), str(cap)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append({"objects": objects, "masks drawn": name, **found})
    print_table(rows)
    write_result(args, rows)


def measure(size: str, input_size: int, objects: int, chunk: int, cap: int) -> dict[str, float]:
    """Returns the positives of an image with ``objects`` objects, and what one loss and its gradient cost."""
    import torch

    from rtmdet_lab import ExperimentConfig, Targets, build_task, with_overrides
    from rtmdet_lab.tasks import instance

    instance.CHUNK = chunk
    torch.manual_seed(0)
    task = build_task(with_overrides(ExperimentConfig(), {"task": "instance", "model.size": size}))
    side = input_size / max(round(objects**0.5), 1)
    corner = torch.rand(objects, 2) * (input_size - side)
    boxes = torch.cat([corner, corner + side], dim=1)
    masks = torch.rand(objects, input_size // 4, input_size // 4) > 0.5
    targets = [Targets(boxes, torch.randint(0, 80, (objects,)), masks=masks, centers=corner + side / 2)]
    with torch.no_grad():
        predictions = task.model(torch.randn(1, 3, input_size, input_size))
    # Boxes that fit, so that each object is learned by as many points as in a trained model.
    priors = predictions.priors
    nearest = torch.cdist(priors.points, corner + side / 2).argmin(dim=1)
    predictions.boxes = boxes[nearest][None] + torch.randn(1, len(priors), 4)
    for name in ("kernels", "mask_features"):
        setattr(predictions, name, getattr(predictions, name).clone().requires_grad_())
    assignment = task.assigner(predictions, targets)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    instance.mask_loss(predictions, targets, assignment, cap or None).backward()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "positives": int(assignment.positive.sum()),
        "peak MB above the forward pass": (peak - before) / 1024,
        "s": seconds,
    }


if __name__ == "__main__":
    main()
