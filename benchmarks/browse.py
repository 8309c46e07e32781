"""How long 5000 images with 100 detections each take until their data set and its views are ready in FiftyOne.

    python benchmarks/browse.py [--images 5000] [--detections 100]

FiftyOne's own database is used (or the server of FIFTYONE_DATABASE_URI); the data set is deleted afterwards.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 160  # pixels
CLASSES = 10


def write_set(folder: Path, images: int, detections: int) -> tuple[Path, Path, Path]:
    """Writes images, annotations (a tenth as many objects as detections) and detections near them; returns their paths."""
    random = np.random.default_rng(0)
    (folder / "val").mkdir()
    objects, found = [], []
    for number in range(images):
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / "val" / f"{number}.jpg")
        for _ in range(max(detections // 10, 1)):
            x, y, width, height = [*random.uniform(0, 100, 2), *random.uniform(8, 60, 2)]
            one = {"image_id": number, "category_id": int(random.integers(CLASSES)) + 1, "bbox": [x, y, width, height]}
            objects.append(one | {"id": len(objects) + 1, "area": width * height, "iscrowd": 0})
            for _ in range(10):
                box = (np.array(one["bbox"]) + random.normal(0, 4, 4)).clip(1).tolist()
                found.append({**one, "bbox": box, "score": float(random.random())})
    entries = [{"id": number, "file_name": f"{number}.jpg", "width": SIDE, "height": SIDE} for number in range(images)]
    categories = [{"id": number + 1, "name": f"class {number}"} for number in range(CLASSES)]
    (folder / "truth.json").write_text(json.dumps({"images": entries, "annotations": objects, "categories": categories}))
    (folder / "found.json").write_text(json.dumps(found))
    return folder / "found.json", folder / "val", folder / "truth.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100, help="per image, a multiple of 10")
    args = parser.parse_args()
    from rtmdet_lab.browse.dataset import put
    from rtmdet_lab.browse.runs import read_predictions

    with tempfile.TemporaryDirectory() as folder:
        paths = write_set(Path(folder), args.images, args.detections)
        begin = time.perf_counter()
        source = read_predictions(*paths)
        judged = time.perf_counter()
        dataset, _ = put([source], f"benchmark {Path(folder).name}")
        stored = time.perf_counter()
        first = [len(dataset.load_saved_view(name)) for name in dataset.list_saved_views()]
        ready = time.perf_counter()
        put([source], dataset.name)
        again = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{args.images} images, {args.detections} detections each")
        print(f"read and matched      {judged - begin:6.1f} s")
        print(f"put into FiftyOne     {stored - judged:6.1f} s")
        print(f"{len(first)} views opened        {ready - stored:6.1f} s  ({', '.join(map(str, first))} images)")
        print(f"all                   {ready - begin:6.1f} s, put again {again - ready:.1f} s")
        print(f"peak memory           {peak:6.0f} MiB, without the database's")
        dataset.delete()


if __name__ == "__main__":
    main()
