"""The formats that data sets come in, apart from the tasks: how each is found in a folder, opened to learn and to score."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtmdet_lab.config.settings import DataConfig
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.layout import find_coco, find_dota

BOTH_SPLITS = ("train_images", "train_annotations", "val_images", "val_annotations")


@dataclass(frozen=True)
class DataFormat:
    """One format of data sets."""

    name: str
    needs: tuple[str, ...]  # settings of ``data`` that must be given
    find: Callable[[Path], dict[str, str]]  # folder of a set in a usual layout -> its ``data.*`` settings
    # settings, whether polygons are needed -> the training set
    open_train: Callable[[DataConfig, bool], Any]
    # images, annotations, classes of the training set or of weights, on_bad, whether masks are needed -> the set to score
    open_scored: Callable[[Path, Path | None, Sequence[str], str, bool], Any]
    fingerprint: Callable[[Path, str], str]  # images, annotations -> what tells a set from another of equal title and counts
    check: Callable[..., dict[str, Any]] | None = None  # images, workers -> see ``check_coco``; of sets without annotations


def _train_coco(data: DataConfig, polygons: bool) -> CocoDataset:
    return CocoDataset(
        data.train_images,
        data.train_annotations,
        data.classes,
        training=True,
        skip_empty=data.skip_empty,
        min_image_size=data.min_image_size,
        on_bad=data.on_bad,
        outlines=polygons,
    )


def _scored_coco(images: Path, annotations: Path, classes: Sequence[str], on_bad: str, masks: bool) -> CocoDataset:
    return CocoDataset(images, annotations, classes, on_bad=on_bad, outlines=masks, of_another_set=True)


def _train_dota(data: DataConfig, polygons: bool) -> DotaDataset:
    common = {"skip_empty": data.skip_empty, "on_bad": data.on_bad}
    return DotaDataset(data.train_images, data.train_annotations, data.classes, training=True, **common)


def _scored_dota(images: Path, annotations: Path, classes: Sequence[str], on_bad: str, masks: bool) -> DotaDataset:
    return DotaDataset(images, annotations, classes, on_bad=on_bad, of_another_set=True)


def annotations_print(annotations: str | Path) -> str:
    """Returns a fingerprint of an annotation file, or of all label files of a folder: titles and counts may be equal."""
    path, digest = Path(annotations), hashlib.blake2b(digest_size=6)
    for file in [path] if path.is_file() else sorted(path.rglob("*.txt")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _print_of(images: Path, annotations: str) -> str:
    return annotations_print(annotations)


COCO = DataFormat("coco", BOTH_SPLITS, find_coco, _train_coco, _scored_coco, _print_of)
DOTA = DataFormat("dota", BOTH_SPLITS, find_dota, _train_dota, _scored_dota, _print_of)
