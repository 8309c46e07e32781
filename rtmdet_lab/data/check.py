"""Looks at every image and annotation of a COCO set before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rtmdet_lab.data.coco import read_coco
from rtmdet_lab.data.images import read_image
from rtmdet_lab.errors import DataError


def check_coco(images: Path, annotations: Path, workers: int = 2, progress: bool = True) -> dict[str, Any]:
    """Returns what is in a set and what is wrong with it.

    Keys: ``images``, ``objects``, ``classes`` (name and count of each), ``left_out`` (reason to count), ``problems`` (one
    sentence per damaged image or malformed annotation).

    Raises:
        DataError: the annotation file is not usable as a whole.
    """
    if not images.is_dir():
        raise DataError(f"no image folder {images}: it does not exist or is not a folder")
    file = read_coco(annotations)
    counts = Counter(label for record in file.images for label in record.labels)
    jobs = [(images / record.file_name, record.size) for record in file.images]
    problems = [f"{annotations}: {problem}" for problem in file.problems]
    with ProcessPoolExecutor(max_workers=max(workers, 1)) as pool:
        found = pool.map(_problem_of, jobs, chunksize=16)
        problems += [one for one in tqdm(found, total=len(jobs), unit="image", disable=not progress) if one]
    return {
        "images": len(file.images),
        "objects": sum(counts.values()),
        "classes": [{"class": name, "objects": counts[label]} for label, name in enumerate(file.classes)],
        "left_out": dict(file.dropped),
        "problems": problems,
    }


def _problem_of(job: tuple[Path, tuple[int, int] | None]) -> str | None:
    try:
        read_image(*job)
    except DataError as error:
        return str(error)
    return None
