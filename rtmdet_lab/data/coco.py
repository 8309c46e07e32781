"""A data set of a COCO annotation file and a folder of images."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.data.coco_file import CocoFile, ImageRecord, read_coco
from rtmdet_lab.data.folders import fit_names
from rtmdet_lab.data.images import WholeImages
from rtmdet_lab.data.records import FlatRecords
from rtmdet_lab.data.segmentation import to_polygons
from rtmdet_lab.geometry.masks import decode_segmentation
from rtmdet_lab.geometry.polygons import Outlines
from rtmdet_lab.transforms.base import Sample, as_boxes, image_size
from rtmdet_lab.transforms.geometric import resize_objects


class CocoDataset:
    """Images of a folder with the objects of a COCO file.

    Args:
        images: folder of the images.
        annotations: the COCO file.
        classes: names to keep, in label order; None keeps all.
        training: apply the published training filter: no crowds, no objects marked ``ignore``, no boxes under one pixel or
            off the image, no images without boxes (``skip_empty``) or with a side under ``min_image_size``. Otherwise
            everything the benchmark counts is kept, crowds marked ``ignore``.
        on_bad: "refuse" raises on malformed annotations, "skip" leaves them out and says so.
        outlines: read the objects' segmentations, too: for training as ``outlines`` (polygons), otherwise as ``masks``
            (G, H, W) bool in the file's pixels.
        of_another_set: ``classes`` are those of other data or of weights: some may be missing here, not all.

    Raises:
        DataError: nothing usable, or malformed annotations with ``on_bad`` "refuse".
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        classes: Sequence[str] | None = None,
        *,
        training: bool = False,
        skip_empty: bool = True,
        min_image_size: int = 32,
        on_bad: str = "refuse",
        outlines: bool = False,
        of_another_set: bool = False,
    ) -> None:
        self.folder = Path(images)
        self.training = training
        self.outlines = outlines
        self.reading = WholeImages()
        if not self.folder.is_dir():
            raise DataError(f"no image folder {self.folder}: it does not exist or is not a folder")
        file = read_coco(Path(annotations), classes, segmentations=outlines, of_another_set=of_another_set)
        self.file = dataclasses.replace(file, images=[])  # they become flat records below
        self.title = file.title
        self.classes = file.classes
        self.category_ids = file.category_ids
        if file.problems:
            listed = f"{file.problems[0]}" + (f" (and {len(file.problems) - 1} more)" if len(file.problems) > 1 else "")
            if on_bad == "refuse":
                raise DataError(
                    f"annotation file {file.path}: {listed}; `rtmdet-lab data check` lists all, correct them or leave "
                    "them out with data.on_bad=skip (--on-bad skip)"
                )
            warnings.warn(f"left out of {file.path}: {listed}", stacklevel=2)
        for doubt in file.all_doubts():
            warnings.warn(f"annotation file {file.path}: {doubt}", stacklevel=2)
        note = place_images(file, self.folder)
        if note:
            warnings.warn(f"annotation file {file.path}: {note}", stacklevel=2)
        records = file.images
        if training:
            records = [_for_training(record) for record in records]
            records = [record for record in records if record.size is None or min(record.size) >= min_image_size]
            if skip_empty:
                records = [record for record in records if record.labels]
            if file.dropped:
                reasons = ", ".join(f"{count} {reason}" for reason, count in file.dropped.items())
                warnings.warn(f"objects of {file.path} that cannot be learned were left out: {reasons}", stacklevel=2)
        self.records = FlatRecords(records)
        if not self.records:
            kept = f" with objects of {', '.join(self.classes)}" if training and file.images else ""
            raise DataError(
                f"annotation file {file.path} has no images{kept}: nothing to {'train' if training else 'evaluate'} on"
            )

    def class_counts(self) -> Counter:
        """Returns how many objects each class has, by name."""
        counts = np.bincount(self.records.labels, minlength=len(self.classes))
        return Counter({name: int(count) for name, count in zip(self.classes, counts, strict=True) if count})

    def absent(self) -> tuple[str, ...]:
        """Returns the classes that the annotation file has no category for."""
        return tuple(name for name, one in zip(self.classes, self.category_ids, strict=True) if one is None)

    @property
    def others(self) -> Counter:
        """Objects of the categories that were not chosen, by name."""
        return self.file.others

    def __len__(self) -> int:
        return len(self.records)

    def image_files(self) -> list[tuple[Path, tuple[int, int] | None]]:
        """Returns each image's file and its (height, width), None where the annotation file does not say it."""
        names = enumerate(self.records.file_names)
        return [(self.folder / name, self.records.size(number)) for number, name in names]

    def load(self, index: int, whole: bool = False) -> Sample:
        """Returns image and target number ``index``; boxes in the file's pixels, or in those of an image read reduced.

        Args:
            whole: do not read the image reduced.

        Raises:
            DataError: the image cannot be read, or has another size than its run lengths; names the file.
        """
        record = self.records[index]
        path = self.folder / record.file_name
        image, size = self.reading.read(index, path, record.size, whole, record.reach)
        target = {
            "boxes": as_boxes(torch.tensor(record.boxes), size),
            "labels": torch.tensor(record.labels),
            "meta": ImageMeta(record.image_id, size, canvas_size=size, path=str(path)),
        }
        if not self.training:
            target["ignore"] = torch.tensor(record.crowd)
            target["areas"] = torch.tensor(record.areas)
        if self.outlines:
            try:
                target |= self._outlines(index, size) if self.training else self._masks(index, size)
            except ValueError as error:  # run lengths of another size, where the file does not say the image's
                raise DataError(f"annotation file {self.file.path}, image {path}: {error}") from None
        found = image_size(image)
        return image, target if found == size else resize_objects(target, size, found)

    def _outlines(self, index: int, size: tuple[int, int]) -> dict[str, Outlines]:
        outlines = self.records.polygons(index)
        if outlines is None:
            outlines = Outlines.from_coco([to_polygons(one, size) for one in self.records.segmentations(index)])
        return {"outlines": outlines}

    def _masks(self, index: int, size: tuple[int, int]) -> dict[str, torch.Tensor]:
        masks = [decode_segmentation(one, size) for one in self.records.segmentations(index)]
        return {"masks": torch.from_numpy(np.stack(masks)) if masks else torch.zeros(0, *size, dtype=torch.bool)}


def place_images(file: CocoFile, folder: Path) -> str | None:
    """Makes the images' names paths below ``folder``; returns how they had to be changed, or None.

    See :func:`~rtmdet_lab.data.folders.fit_names`.
    """
    names, note = fit_names(folder, [record.file_name for record in file.images])
    for record, name in zip(file.images, names, strict=True):
        record.file_name = name
    return note


def _for_training(record: ImageRecord) -> ImageRecord:
    """Returns the record with only the objects a detector can learn (published filter)."""
    keep = [number for number, reason in enumerate(record.reasons) if reason is None and not record.crowd[number]]
    return ImageRecord(
        record.image_id,
        record.file_name,
        record.size,
        boxes=[record.boxes[number] for number in keep],
        labels=[record.labels[number] for number in keep],
        crowd=[False] * len(keep),
        areas=[record.areas[number] for number in keep],
        reasons=[None] * len(keep),
        segmentations=[record.segmentations[number] for number in keep if record.segmentations],
        ids=[record.ids[number] for number in keep],
        reach=record.reach,
    )
