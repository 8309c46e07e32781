"""Many steps of a loader with caches and persistent workers: what it holds on to must stay as it is. Part of `make soak`.

    python tests/faults/soak_loader.py --steps 20000

Prints the memory, open files, threads and shared memory of the process and its workers, and ends with exit code 1 where they
have grown: memory by more than 3 % since step 1,000, the others at all. Memory is the private part: pages that a worker
shares with its parent until it writes to them would hide what it copies.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.loaders import Batch, PipelineDataset, TrainSampler, batches_of, make_loader
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.synthetic import generate_scenes
from rtmdet_lab.tasks.factory import find_data

FIRST = 1000  # caches are full, every code path was taken
MOST_GROWTH = 0.03
COPIES = 50


class Held(NamedTuple):
    """What the process and its children hold at a moment."""

    memory_mb: float  # private and written to: what the processes do not share
    open_files: int
    threads: int
    shared_mb: float  # files of shared memory that are mapped, each counted once
    processes: int


def measure() -> Held:
    me = psutil.Process()
    family = [me, *me.children(recursive=True)]
    shared = {}
    for process in family:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            if "/dev/shm/" in line:
                first, last = (int(part, 16) for part in line.split()[0].split("-"))
                shared[line.split(maxsplit=5)[5]] = last - first
    return Held(
        sum(private_kb(process.pid) for process in family) / 2**10,
        sum(process.num_fds() for process in family),
        sum(process.num_threads() for process in family),
        sum(shared.values()) / 2**20,
        len(family),
    )


def private_kb(pid: int) -> int:
    """Returns the memory in kB that a process has written to and shares with none."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def growth(moments: list[tuple[int, Held]]) -> list[str]:
    """Returns what grew too much after step 1,000, one line each; a wobble is no growth, so the last quarter counts.

    >>> small, large = Held(100.0, 9, 4, 1.0, 3), Held(104.0, 9, 4, 1.0, 3)
    >>> growth([(1000, small), (2000, large), (3000, small), (4000, small)])
    []
    >>> growth([(1000, small), (2000, large), (3000, large), (4000, large)])
    ['memory_mb grew from 100.0 to 104.0']
    """
    later = [held for step, held in moments if step >= FIRST]
    first, last = later[0], later[-max(len(later) // 4, 1) :]
    wrong = []
    for name in Held._fields:
        begin, end = getattr(first, name), min(getattr(held, name) for held in last)
        # Batches on their way lie in shared memory and hold a file open; how many are on their way varies.
        allowed = {"memory_mb": begin * MOST_GROWTH, "open_files": 8, "shared_mb": 8.0}.get(name, 0)
        if end > begin + allowed:
            wrong.append(f"{name} grew from {begin} to {end}")
    return wrong


def enlarge(images: Path, annotations: Path, times: int = COPIES) -> None:
    """Lists each image of a set ``times`` times under other names, so that its annotations take tens of megabytes."""
    content = json.loads(annotations.read_text())
    objects: dict[int, list[dict]] = {}
    for entry in content["annotations"]:
        objects.setdefault(entry["image_id"], []).append(entry)
    listed, annotated = [], []
    for copy in range(times):
        for entry in content["images"]:
            name = f"{copy}-{entry['file_name']}"
            os.link(images / entry["file_name"], images / name)
            listed.append(entry | {"id": len(listed) + 1, "file_name": name})
            for own in objects.get(entry["id"], ()):
                annotated.append(own | {"id": len(annotated) + 1, "image_id": len(listed)})
    annotations.write_text(json.dumps(content | {"images": listed, "annotations": annotated}))


def batches(folder: Path, size: int, workers: int) -> Iterator[Batch]:
    """Yields batches without end, epoch after epoch, of a generated set under the published strong pipeline of masks."""
    generate_scenes(folder, train=96, val=1, size=size, progress=False)
    settings = {**find_data(folder, "instance"), "augment.input_size": size, "train.epochs": 2, "train.weak_epochs": 1}
    enlarge(Path(settings["data.train_images"]), Path(settings["data.train_annotations"]))
    settings["task"] = "instance"
    config = resolve(with_overrides(ExperimentConfig(), settings))
    source = CocoDataset(config.data.train_images, config.data.train_annotations, training=True, outlines=True)
    dataset = PipelineDataset(source, plan_stages(config, source)[0].pipeline, training=True)
    sampler = TrainSampler(len(source), 4)
    loader = make_loader(dataset, sampler, workers)
    while True:
        yield from batches_of(loader)
        sampler.epoch += 1


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=96, help="side of the images, pixels")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args(arguments)
    moments, begin = [], time.monotonic()
    print("  step  memory MiB  files  threads  shared MiB  processes  steps/s")
    with tempfile.TemporaryDirectory() as folder:
        endless = batches(Path(folder), args.size, args.workers)
        for step, batch in enumerate(endless, start=1):
            if batch.failure:
                print(batch.failure)
                return 1
            del batch
            if step % FIRST == 0 or step == args.steps:
                held = measure()
                moments.append((step, held))
                rate = step / (time.monotonic() - begin)
                numbers = f"{held.memory_mb:10.1f}  {held.open_files:5}  {held.threads:7}  {held.shared_mb:10.1f}"
                print(f"{step:6}  {numbers}  {held.processes:9}  {rate:7.1f}", flush=True)
            if step == args.steps:
                break
    wrong = growth(moments)
    first, last = moments[0][1].memory_mb, moments[-1][1].memory_mb
    print(f"private memory at step {args.steps} over that at step {FIRST}: {100 * (last / first - 1):+.2f} %")
    print("\n".join(wrong) or "nothing grew")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
