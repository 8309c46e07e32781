"""Images per second of the strong pipeline with and without a setting of how training images are decoded.

    python benchmarks/decoding.py reduced_decode --data COCO --input-size 320
    python benchmarks/decoding.py cache_decoded --data COCO --size tiny --workers 2

``reduced_decode`` is measured on photographs of 4000 x 3000 pixels and quality 90, which are laid together from images of
the set, 25 in each, and are gone afterwards; ``cache_decoded`` on the set itself, whose images are all in the cache by then.
Both sides run in turns; the ratio of each pair of turns is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Sampler

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.presets import SIZES, resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.files import write_json
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey, make_loader
from rtmdet_lab.engine.stages import open_cache, plan_stages
from rtmdet_lab.transforms.base import to_array

ACROSS, TILE = 5, (600, 800)  # images along each side of a photograph; (height, width) of each
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=("reduced_decode", "cache_decoded"))
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a COCO-style set")
    parser.add_argument("--size", choices=tuple(SIZES), default="s", help="whose augmentation (s)")
    parser.add_argument("--input-size", type=int, default=640)
    parser.add_argument("--photographs", type=int, default=16, help="how many are made (16)")
    parser.add_argument("--workers", type=int, default=0, help="loader processes (0: in this one)")
    parser.add_argument("--images", type=int, default=80, help="samples per turn, in batches of 8 (80)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each side (7)")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = find_coco(args.data)
    source = CocoDataset(paths["data.train_images"], paths["data.train_annotations"], training=True)
    with tempfile.TemporaryDirectory() as folder:
        if args.setting == "reduced_decode":
            source = make_photographs(source, args.photographs, Path(folder))
        measure(args, source)


def make_photographs(source: CocoDataset, count: int, folder: Path) -> CocoDataset:
    """Returns a set of photographs with the objects of the images they are made of."""
    images, annotations = [], []
    height, width = TILE
    for number in range(1, count + 1):
        pixels = np.empty((ACROSS * height, ACROSS * width, 3), np.uint8)
        for place in range(ACROSS**2):
            image, target = source.load((number * 7 + place) % len(source))
            top, left = place // ACROSS * height, place % ACROSS * width
            pixels[top : top + height, left : left + width] = cv2.resize(to_array(image), (width, height))
            ratio = np.array([width / image.shape[2], height / image.shape[1]] * 2)
            for x1, y1, x2, y2 in (target["boxes"].numpy() * ratio).tolist():
                box, area = [left + x1, top + y1, x2 - x1, y2 - y1], (x2 - x1) * (y2 - y1)
                one = {"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box, "area": area}
                annotations.append(one)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=90)
        entry = {"id": number, "file_name": f"{number}.jpg", "height": pixels.shape[0], "width": pixels.shape[1]}
        images.append(entry)
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    write_json(folder / "objects.json", content)
    return CocoDataset(folder, folder / "objects.json", training=True)


class Turns(Sampler):
    """The next ``images`` samples each time it is asked, all of one epoch: the caches of mosaic and mixup stay filled."""

    def __init__(self, length: int, images: int) -> None:
        self.length, self.images, self.position = length, images, 0

    def __iter__(self) -> Iterator[list[SampleKey]]:
        first, self.position = self.position, self.position + self.images
        for start in range(first, self.position, BATCH):
            yield [SampleKey(0, place, place % self.length) for place in range(start, min(start + BATCH, self.position))]

    def __len__(self) -> int:
        return -(-self.images // BATCH)


def measure(args: argparse.Namespace, source: CocoDataset) -> None:
    loaders = {}
    for name, chosen in (("off", False), ("on", True)):
        settings = {"model.size": args.size, "augment.input_size": args.input_size, f"data.{args.setting}": chosen}
        config = resolve(with_overrides(ExperimentConfig(), settings))
        stage = plan_stages(config, source, open_cache(config, source))[0]
        dataset = PipelineDataset(stage.source, stage.pipeline, training=True)
        if stage.source.reading.cache is not None:
            for index in range(len(source)):
                stage.source.load(index)
        loaders[name] = make_loader(dataset, Turns(len(source), args.images), args.workers)

    def turn(name: str) -> float:
        begin = time.perf_counter()
        for batch in loaders[name]:
            if batch.failure:
                raise SystemExit(batch.failure)
        return args.images / (time.perf_counter() - begin)

    speeds: dict[str, list[float]] = {"off": [], "on": []}
    for number in range(args.turns + 1):
        measured = {name: turn(name) for name in loaders}
        if number:  # the first turn fills the caches
            for name, speed in measured.items():
                speeds[name].append(speed)
    ratios = [on / off for off, on in zip(speeds["off"], speeds["on"], strict=True)]
    rows = [
        {args.setting: name, "images/s": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for name, values in speeds.items()
    ]
    where = f"{args.workers} workers" if args.workers else "one process"
    print(f"{args.size} strong pipeline at {args.input_size}, {len(source)} images, {where}, {args.turns} turns")
    print_table(rows)
    print(f"on over off: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    write_result(args, {"rows": rows, "ratio": statistics.median(ratios), "ratios": ratios})


if __name__ == "__main__":
    main()
