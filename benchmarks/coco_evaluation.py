"""Seconds for the 12 COCO numbers by both engines, on made-up detections (the numbers are compared, too).

python benchmarks/coco_evaluation.py
python benchmarks/coco_evaluation.py --images 1000 --turns 3 --kinds bbox
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.evaluation.coco_scores import run_coco_eval, score_coco

SIDE, CLASSES = 640, 80


def ellipses(boxes: np.ndarray) -> list[dict]:
    """Returns run lengths of ellipses inside boxes (N, 4) x y width height."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    center, half = boxes[:, None, :2] + boxes[:, None, 2:] / 2, boxes[:, None, 2:] / 2
    points = center + half * np.stack([np.cos(angles), np.sin(angles)], -1)
    runs = coco_mask.frPyObjects(points.reshape(len(boxes), -1).tolist(), SIDE, SIDE) if len(boxes) else []
    return [{"size": one["size"], "counts": one["counts"].decode()} for one in runs]


def made(images: int, detections: int, masks: bool) -> tuple[dict, list[dict]]:
    """Returns ground truth with 7 objects an image, and detections of which the first ones lie on objects."""
    random = np.random.default_rng(0)
    annotations, results = [], []
    for image in range(images):
        truth = random.uniform((0, 0, 8, 8), (480, 480, 160, 160), (7, 4))
        labels = random.integers(1, CLASSES + 1, 7)
        found = random.uniform((0, 0, 8, 8), (480, 480, 160, 160), (detections, 4))
        guess = random.integers(1, CLASSES + 1, detections)
        found[:14] = np.repeat(truth, 2, 0)[:detections] + random.normal(0, 5, (min(14, detections), 4))
        guess[:14] = np.repeat(labels, 2)[:detections]
        found = np.maximum(found, (0, 0, 2, 2))
        outlines = (ellipses(truth), ellipses(found)) if masks else ([None] * 7, [None] * detections)
        for box, label, outline in zip(truth.tolist(), labels.tolist(), outlines[0], strict=True):
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box, "iscrowd": 0}
            annotations.append({**entry, "area": box[2] * box[3], "segmentation": outline})
        for box, label, outline in zip(found.tolist(), guess.tolist(), outlines[1], strict=True):
            entry = {"image_id": image, "category_id": label, "score": float(random.random()), "bbox": box}
            results.append(entry | ({"segmentation": outline} if masks else {}))
    content = [{"id": number, "height": SIDE, "width": SIDE} for number in range(images)]
    categories = [{"id": number, "name": f"c{number}"} for number in range(1, CLASSES + 1)]
    return {"images": content, "annotations": annotations, "categories": categories, "info": {}}, results


def timed(run: Any, *arguments: Any) -> tuple[float, np.ndarray]:
    begin = time.perf_counter()
    stats = np.asarray(run(*arguments).stats)
    return time.perf_counter() - begin, stats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="of each image (100)")
    parser.add_argument("--turns", type=int, default=3, help="of each side (3)")
    parser.add_argument("--kinds", nargs="+", default=["bbox", "segm"], choices=("bbox", "segm"))
    add_json(parser)
    args = parser.parse_args()
    rows = []
    for kind in args.kinds:
        truth, results = made(args.images, args.detections, kind == "segm")
        seconds: dict[str, list[float]] = {"hotcoco": [], "pycocotools": []}
        difference = 0.0
        for _ in range(args.turns):
            fast, stats = timed(score_coco, truth, results, kind, "hotcoco")
            slow, reference = timed(run_coco_eval, truth, results, kind)
            seconds["hotcoco"].append(fast)
            seconds["pycocotools"].append(slow)
            difference = max(difference, float(np.abs(stats - reference).max()))
        ratios = [slow / fast for fast, slow in zip(*seconds.values(), strict=True)]
        rows.append(
            {
                "kind": kind,
                "detections": len(results),
                **{f"{name} s": round(statistics.median(values), 2) for name, values in seconds.items()},
                "ratio": round(statistics.median(ratios), 1),
                "lowest": round(min(ratios), 1),
                "highest": round(max(ratios), 1),
                "largest difference": difference,
            }
        )
    print_table(rows)
    write_result(args, {"images": args.images, "turns": args.turns, "rows": rows})


if __name__ == "__main__":
    main()
