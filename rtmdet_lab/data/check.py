"""Looks at every image and annotation of a COCO or DOTA set before hours are spent on it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rtmdet_lab.children import map_in_processes
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.data.dota import choose_classes, find_pairs, read_label_file, vocabulary
from rtmdet_lab.data.images import read_image
from rtmdet_lab.errors import DataError


def check_coco(
    images: Path,
    annotations: Path,
    workers: int = 2,
    progress: bool = True,
    masks: bool = False,
    classes: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Returns what is in a set and what is wrong with it.

    Args:
        masks: look at the outlines of objects, too.
        classes: names to count; None counts all.

    Keys: ``images``, ``objects``, ``classes`` (name and count of each), ``left_out`` (reason to count), ``problems`` (one
    sentence per damaged image or malformed annotation).

    Raises:
        DataError: the annotation file is not usable as a whole.
    """
    if not images.is_dir():
        raise DataError(f"no image folder {images}: it does not exist or is not a folder")
    file = read_coco(annotations, classes, segmentations=masks)
    counts = Counter(label for record in file.images for label in record.labels)
    jobs = [(images / record.file_name, record.size) for record in file.images]
    problems = [f"{annotations}: {problem}" for problem in file.problems]
    problems += _bad_images(jobs, workers, progress)
    return {
        "images": len(file.images),
        "objects": sum(counts.values()),
        "classes": [{"class": name, "objects": counts[label]} for label, name in enumerate(file.classes)],
        "left_out": dict(file.dropped),
        "problems": problems,
    }


def check_dota(
    images: Path, labels: Path, workers: int = 2, progress: bool = True, classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns what is in a folder of images with DOTA label files, as :func:`check_coco` does; nothing is ``left_out``.

    With ``classes``, lines that :class:`~rtmdet_lab.data.dota.DotaDataset` would refuse for their class are problems.

    ``irregular`` is the number of objects that are taken by the smallest rectangle around their corners.

    Raises:
        DataError: a folder does not exist, or two images share a name.
    """
    pairs, problems = find_pairs(images, labels)
    files = [read_label_file(pair.labels, vocabulary(classes), on_bad="skip") for pair in pairs]
    problems += [problem for file in files for problem in file.problems]
    problems += _bad_images([(pair.image, None) for pair in pairs], workers, progress)
    counts = Counter(name for file in files for name in file.names)
    return {
        "images": len(pairs),
        "objects": sum(counts[name] for name in classes or counts),
        "classes": [{"class": name, "objects": counts[name]} for name in classes or choose_classes(counts)],
        "left_out": {},
        "irregular": sum(int(file.irregular.sum()) for file in files),
        "problems": problems,
    }


def _bad_images(jobs: list[tuple[Path, tuple[int, int] | None]], workers: int, progress: bool) -> list[str]:
    """Returns a sentence for each image (path, expected height and width) that cannot be used."""
    found = map_in_processes(_problem_of, jobs, workers, chunk=16, what="read images")
    with contextlib.closing(found):
        return [problem for problem in tqdm(found, total=len(jobs), unit="image", disable=not progress) if problem]


def _problem_of(job: tuple[Path, tuple[int, int] | None]) -> str | None:
    try:
        read_image(*job)
    except DataError as error:
        return str(error)
    return None
