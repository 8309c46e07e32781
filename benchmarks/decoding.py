"""Images per second of the strong pipeline, JPEG photographs decoded whole against reduced, in one process.

    python benchmarks/decoding.py --data COCO
    python benchmarks/decoding.py --data COCO --size s --input-size 320

The photographs, 4000 x 3000 pixels of quality 90, are laid together from images of the set, 25 in each, and are gone
afterwards. Both sides run in turns; the ratio of each pair of turns is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.config import ExperimentConfig, with_overrides
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.files import write_json
from rtmdet_lab.presets import SIZES, resolve
from rtmdet_lab.training.stages import plan_stages
from rtmdet_lab.transforms.base import to_array

ACROSS, TILE = 5, (600, 800)  # images along each side of a photograph; (height, width) of each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="a COCO-style set")
    parser.add_argument("--size", choices=tuple(SIZES), default="s", help="whose augmentation (s)")
    parser.add_argument("--input-size", type=int, default=640)
    parser.add_argument("--photographs", type=int, default=16, help="how many are made (16)")
    parser.add_argument("--images", type=int, default=32, help="samples per turn (32)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each side (7)")
    add_json(parser)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    paths = find_coco(args.data)
    source = CocoDataset(paths["data.train_images"], paths["data.train_annotations"], training=True)
    with tempfile.TemporaryDirectory() as folder:
        measure(args, make_photographs(source, args.photographs, Path(folder)))


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


def measure(args: argparse.Namespace, source: CocoDataset) -> None:
    sides = {}
    for name, reduced in (("whole", False), ("reduced", True)):
        settings = {"model.size": args.size, "augment.input_size": args.input_size, "data.reduced_decode": reduced}
        stage = plan_stages(resolve(with_overrides(ExperimentConfig(), settings)), source)[0]
        sides[name] = PipelineDataset(stage.source, stage.pipeline, training=True)

    def turn(dataset: PipelineDataset, number: int) -> float:
        begin = time.perf_counter()
        for position in range(number * args.images, (number + 1) * args.images):
            # One epoch for all turns: the caches stay filled, as they do within an epoch of a real set.
            dataset[SampleKey(0, position, position % len(source))]
        return args.images / (time.perf_counter() - begin)

    def decode(number: int) -> float:
        begin = time.perf_counter()
        for position in range(number * args.images, (number + 1) * args.images):
            read_image(source.folder / source.records[position % len(source)].file_name)
        return args.images / (time.perf_counter() - begin)

    speeds: dict[str, list[float]] = {"whole": [], "reduced": [], "reading whole images only": []}
    for number in range(args.turns + 1):
        measured = {name: turn(dataset, number) for name, dataset in sides.items()}
        measured["reading whole images only"] = decode(number)
        if number:  # the first turn fills the caches
            for name, speed in measured.items():
                speeds[name].append(speed)
    ratios = [reduced / whole for reduced, whole in zip(speeds["reduced"], speeds["whole"], strict=True)]
    rows = [
        {"images": name, "images/s": statistics.median(values), "lowest": min(values), "highest": max(values)}
        for name, values in speeds.items()
    ]
    print(
        f"{args.size} strong pipeline at {args.input_size}, {len(source)} photographs, {args.turns} turns of {args.images}"
    )
    print_table(rows)
    print(f"reduced over whole: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    write_result(args, {"rows": rows, "ratio": statistics.median(ratios), "ratios": ratios})


if __name__ == "__main__":
    main()
