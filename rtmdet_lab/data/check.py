"""Looks at every image and annotation of a COCO or DOTA set, as training and scoring read them, before hours are spent."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from rtmdet_lab.core.children import map_in_processes
from rtmdet_lab.core.errors import DataError
from rtmdet_lab.data.coco import place_images
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.data.dota import choose_classes, read_labelled
from rtmdet_lab.data.exif import turn_doubt
from rtmdet_lab.data.images import is_deep, read_bytes, read_image, stored_size

_DARK = 16  # of 255: an image of 16 bits that stays below holds numbers of 12 bits or fewer


class _Job(NamedTuple):
    """An image to look at, and what its annotations say of it."""

    path: Path
    size: tuple[int, int] | None = None  # (height, width)
    reach: tuple[float, float] | None = None  # x, y that its boxes end at


class _Seen(NamedTuple):
    """What was seen of an image."""

    problem: str | None = None
    doubts: tuple[str, ...] = ()
    digest: bytes = b""


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

    Keys: ``images``, ``objects``, ``classes`` (name and count of each), ``left_out`` (reason to count of objects that are
    not learned), ``problems`` (one sentence per damaged image or malformed annotation, which training refuses or leaves
    out), ``doubts`` (one per thing that can be used and may be wrong), ``notes`` (what is read in another way than it is
    written).

    Raises:
        DataError: the annotation file is not usable as a whole.
    """
    if not images.is_dir():
        raise DataError(f"no image folder {images}: it does not exist or is not a folder")
    file = read_coco(annotations, classes, segmentations=masks)
    note = place_images(file, images)
    counts = Counter(label for record in file.images for label in record.labels)
    jobs = [_Job(images / record.file_name, record.size, record.reach) for record in file.images]
    problems, doubts = _look_at(jobs, workers, progress)
    return {
        "images": len(file.images),
        "objects": sum(counts.values()),
        "classes": [{"class": name, "objects": counts[label]} for label, name in enumerate(file.classes)],
        "left_out": dict(file.dropped),
        "problems": _empty(annotations, len(file.images), sum(counts.values()))
        + [f"{annotations}: {problem}" for problem in file.problems]
        + problems,
        "doubts": [f"{annotations}: {doubt}" for doubt in file.doubts + file.disagreeing] + doubts,
        "notes": file.notes + ([note] if note else []),
    }


def check_dota(
    images: Path, labels: Path, workers: int = 2, progress: bool = True, classes: Sequence[str] | None = None
) -> dict[str, Any]:
    """Returns what is in a folder of images with DOTA label files, as :func:`check_coco` does.

    With ``classes``, lines that :class:`~rtmdet_lab.data.dota.DotaDataset` would refuse for their class are problems.

    ``irregular`` is the number of objects that are taken by the smallest rectangle around their corners.

    Raises:
        DataError: a folder does not exist, holds files of another tool, or two images share a name.
    """
    read = read_labelled(images, labels, classes)
    jobs = [_Job(pair.image, reach=file.reach) for pair, file in zip(read.pairs, read.files, strict=True)]
    problems, doubts = _look_at(jobs, workers, progress)
    counts = Counter(name for file in read.files for name in file.names)
    objects = sum(counts[name] for name in classes or counts)
    return {
        "images": len(read.pairs),
        "objects": objects,
        "classes": [{"class": name, "objects": counts[name]} for name in classes or choose_classes(counts)],
        "left_out": dict(read.dropped),
        "irregular": sum(int(file.irregular.sum()) for file in read.files),
        "problems": _empty(labels, len(read.pairs), objects) + read.problems + problems,
        "doubts": [f"{labels}: {doubt}" for doubt in read.doubts] + doubts,
        "notes": [],
    }


def require_readable(source: Any, what: str = "validation", workers: int = 2) -> None:
    """Reads every sample of a data set once, so that hours of training do not end at an image that cannot be read.

    Raises:
        DataError: one or more cannot be used; names the first and counts the others.
    """

    def problem(index: int) -> str | None:
        try:
            source.load(index)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(max(workers, 1)) as pool:  # decoding lets go of Python's lock
        results = tqdm(pool.map(problem, range(len(source))), total=len(source), unit="image", desc=what, disable=None)
        problems = [text for text in results if text]
    if problems:
        more = f" (and {len(problems) - 1} more {what} images)" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}; leave such images out with data.on_bad=skip (--on-bad skip)")


def _empty(annotations: Path, images: int, objects: int) -> list[str]:
    if images and objects:
        return []
    return [f"{annotations} has no {'objects' if images else 'images'}: there is nothing to train on"]


def _look_at(jobs: Sequence[_Job], workers: int, progress: bool) -> tuple[list[str], list[str]]:
    """Returns a sentence for each image that cannot be used, and one for each that may be wrong."""
    problems, doubts = [], []
    first: dict[bytes, Path] = {}
    with contextlib.closing(map_in_processes(_look, jobs, workers, chunk=16, what="read images")) as seen:
        for job, one in zip(jobs, tqdm(seen, total=len(jobs), unit="image", disable=not progress), strict=True):
            if one.problem:
                problems.append(one.problem)
            doubts += one.doubts
            if one.digest and one.digest in first:
                doubts.append(f"image {job.path} is the same file as {first[one.digest]}, byte for byte")
            first.setdefault(one.digest, job.path)
    return problems, doubts


def _look(job: _Job) -> _Seen:
    try:
        image = read_image(*job)
        stored, orientation = stored_size(job.path)
        digest = hashlib.blake2b(read_bytes(job.path), digest_size=16).digest()
    except DataError as error:
        return _Seen(str(error))
    doubts = []
    turn = turn_doubt(stored, orientation, job.size, job.reach)
    if turn:
        doubts.append(f"image {job.path} {turn}")
    if int(image.max()) < _DARK and is_deep(job.path):
        doubts.append(
            f"image {job.path} has 16 bits and nothing brighter than {int(image.max())} of 255: its numbers seem to have "
            "12 bits or fewer, multiply them so that they fill 16"
        )
    return _Seen(None, tuple(doubts), digest)
