"""Images per second of the strong pipeline, cached against uncached partners, in one process (paper.md 2.7).

    python benchmarks/pipelines.py --data data/scenes
    python benchmarks/pipelines.py --data COCO --size s --input-size 640

Both sides run in turns, so that a busy machine slows both; the ratio of each pair of turns is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import cv2
import torch

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.config.presets import SIZES, resolve_augment
from rtmdet_lab.config.settings import AugmentConfig
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.transforms.pipelines import strong_pipeline


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a COCO-style set")
    parser.add_argument("--size", choices=tuple(SIZES), default="s", help="whose augmentation (s)")
    parser.add_argument("--input-size", type=int, default=640)
    parser.add_argument("--images", type=int, default=80, help="samples per turn (80)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each side (7)")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)

    paths = find_coco(args.data)
    source = CocoDataset(paths["data.train_images"], paths["data.train_annotations"], training=True)
    sides = {}
    for partners in ("cached", "uncached"):
        config = resolve_augment(AugmentConfig(input_size=args.input_size, partners=partners), args.size)
        pipeline = strong_pipeline(config, source.load, len(source))
        sides[partners] = PipelineDataset(source, pipeline, training=True)

    def turn(dataset: PipelineDataset, number: int) -> float:
        begin = time.perf_counter()
        for position in range(args.images):
            # One epoch for all turns: the caches stay filled, as they do within an epoch of a real set.
            dataset[SampleKey(0, number * args.images + position, (number * args.images + position) % len(source))]
        return args.images / (time.perf_counter() - begin)

    def decode(number: int) -> float:
        begin = time.perf_counter()
        for position in range(args.images):
            read_image(source.folder / source.records[(number * args.images + position) % len(source)].file_name)
        return args.images / (time.perf_counter() - begin)

    speeds: dict[str, list[float]] = {"cached": [], "uncached": [], "decode only": []}
    for number in range(args.turns + 1):
        measured = {name: turn(dataset, number) for name, dataset in sides.items()} | {"decode only": decode(number)}
        if number:  # the first turn fills the caches
            for name, speed in measured.items():
                speeds[name].append(speed)
    ratios = [cached / uncached for cached, uncached in zip(speeds["cached"], speeds["uncached"], strict=True)]
    rows = [
        {"partners": name, "images/s": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for name, values in speeds.items()
    ]
    print(f"{args.size} strong pipeline at {args.input_size}, {source.title}, {args.turns} turns of {args.images} images")
    print_table(rows)
    print(f"cached over uncached: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    write_result(args, {"rows": rows, "ratio": statistics.median(ratios), "ratios": ratios})


if __name__ == "__main__":
    main()
