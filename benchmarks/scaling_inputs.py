"""What docs/results/scaling.md takes from this machine: images per second of a loader process, the host's share of a step.

    python benchmarks/scaling_inputs.py --data COCO --windows DOTA/images DOTA/labelTxt

Loaders: the first stage of each published training (sizes s), in turns in one process; the ratios to detection are what
counts. Host: one training step of networks with the published depth and an eighth of the width on tiny images, where
hardly anything but Python and the dispatch of operators is left; a GPU cannot step faster than its host tells it what to do.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import torch

from rtmdet_lab import ExperimentConfig, Targets, TrainStep, build_task, with_overrides
from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.config.presets import model_name, resolve
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.engine.stages import plan_stages

CANVAS = {"detection": 640, "instance": 640, "rotated": 1024}
SIDE, OBJECTS = 64, 7  # of the images the host's share is measured with; objects per image


def loaders(args: argparse.Namespace) -> list[dict[str, object]]:
    """Returns a row per task: images per second of one process, and its ratio to detection."""
    coco = find_coco(args.data)
    sets = {}
    for task, canvas in CANVAS.items():
        config = resolve(with_overrides(ExperimentConfig(), {"task": task, "augment.input_size": canvas}))
        if task == "rotated":
            source = DotaDataset(*args.windows, training=True)
        else:
            files = coco["data.train_images"], coco["data.train_annotations"]
            source = CocoDataset(*files, training=True, outlines=task == "instance")
        sets[task] = PipelineDataset(source, plan_stages(config, source)[0].pipeline, training=True)

    def turn(dataset: PipelineDataset, number: int) -> float:
        begin = time.perf_counter()
        for position in range(number * args.images, (number + 1) * args.images):
            dataset[SampleKey(0, position, position % len(dataset))]
        return args.images / (time.perf_counter() - begin)

    speeds: dict[str, list[float]] = {task: [] for task in sets}
    for number in range(args.turns + 1):
        for task, dataset in sets.items():
            speed = turn(dataset, number)
            if number:  # the first turn fills the caches
                speeds[task].append(speed)
    rows = []
    for task, values in speeds.items():
        ratios = [value / base for value, base in zip(values, speeds["detection"], strict=True)]
        spread = {"lowest": min(ratios), "highest": max(ratios)}
        rows.append({"task": task, "images/s": statistics.median(values), "ratio": statistics.median(ratios), **spread})
    return rows


def host(task_name: str, size: str, images: int, steps: int) -> dict[str, object]:
    """Returns the milliseconds of a training step that do not depend on the amount of arithmetic."""
    settings = {"task": task_name, "model.size": size, "model.width": 0.125, "model.num_classes": 15}
    task = build_task(with_overrides(ExperimentConfig(), settings))
    step = TrainStep(task, batches=steps + 2)
    pictures = torch.randn(images, 3, SIDE, SIDE)
    targets = [make_targets(task_name) for _ in range(images)]
    seconds = []
    for _ in range(steps + 2):
        begin = time.perf_counter()
        step(pictures, targets)
        seconds.append(time.perf_counter() - begin)
    values = [1000 * each for each in seconds[2:]]
    name = model_name(task_name, size)
    return {"model": name, "ms": statistics.median(values), "lowest": min(values), "highest": max(values)}


def make_targets(task_name: str) -> Targets:
    corner = torch.rand(OBJECTS, 2) * SIDE / 2
    boxes = torch.cat([corner, corner + SIDE / 2], dim=1)
    labels = torch.randint(0, 15, (OBJECTS,))
    if task_name == "rotated":
        return Targets(torch.cat([corner + SIDE / 4, torch.full((OBJECTS, 2), SIDE / 2), torch.rand(OBJECTS, 1)], 1), labels)
    if task_name == "instance":
        masks = torch.rand(OBJECTS, SIDE // 4, SIDE // 4) > 0.5
        return Targets(boxes, labels, masks=masks, centers=corner + SIDE / 4)
    return Targets(boxes, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a COCO-style set with outlines")
    parser.add_argument(
        "--windows", type=Path, nargs=2, required=True, metavar=("IMAGES", "LABELS"), help="windows of DOTA images"
    )
    parser.add_argument("--images", type=int, default=40, help="samples per turn (40)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each loader (5)")
    parser.add_argument("--batch", type=int, default=4, help="images per step of the host's share (4)")
    parser.add_argument("--steps", type=int, default=7, help="steps per model (7)")
    add_json(parser)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    speeds = loaders(args)
    print_table(speeds)
    models = [(task, size) for task, facts in TASKS.items() for size in facts.sizes if facts.dense and size != "nano"]
    steps = [host(task, size, args.batch, args.steps) for task, size in models]
    print_table(steps)
    write_result(args, {"loaders": speeds, "host": steps})


if __name__ == "__main__":
    main()
