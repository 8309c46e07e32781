"""What a data set knows of its images and objects, in a few flat arrays.

A loader process shares its parent's memory until one of them writes to it, and Python writes to every object that it as
much as looks at: it counts references. Lists of lists would be copied page by page into each loader process. Arrays are read
without being written, so they stay shared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rtmdet_lab.data.coco_file import ImageRecord
from rtmdet_lab.geometry.polygons import Outlines


class PackedText(Sequence[str]):
    """Texts in one array of bytes."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._ends = np.cumsum([0, *map(len, encoded)])
        self._bytes = np.frombuffer(b"".join(encoded), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        number = range(len(self))[index]
        return self._bytes[self._ends[number] : self._ends[number + 1]].tobytes().decode("utf-8", "surrogatepass")


class Objects(NamedTuple):
    """One image and the objects on it."""

    image_id: int
    file_name: str
    size: tuple[int, int] | None  # (height, width), None where the file does not say
    reach: tuple[float, float] | None  # x, y that the boxes of all classes end at, at most; None without boxes
    boxes: np.ndarray  # (G, 4) float32 x1 y1 x2 y2
    labels: np.ndarray  # (G,) int64
    crowd: np.ndarray  # (G,) bool
    areas: np.ndarray  # (G,) float32


class FlatRecords(Sequence[Objects]):
    """The images of a COCO file with their objects; indexing makes one image's :class:`Objects`."""

    def __init__(self, records: Sequence[ImageRecord]) -> None:
        self.image_ids = np.array([record.image_id for record in records], dtype=np.int64)
        self.file_names = PackedText(record.file_name for record in records)
        self.sizes = np.array([record.size or (-1, -1) for record in records], dtype=np.int64).reshape(-1, 2)
        self._reaches = np.array([record.reach or (np.nan, np.nan) for record in records], dtype=np.float64).reshape(-1, 2)
        self._starts = np.cumsum([0, *(len(record.labels) for record in records)])
        self._boxes = _stacked([box for record in records for box in record.boxes], np.float32).reshape(-1, 4)
        self.labels = _stacked([label for record in records for label in record.labels], np.int64)
        self._crowd = _stacked([crowd for record in records for crowd in record.crowd], np.bool_)
        self._areas = _stacked([area for record in records for area in record.areas], np.float32)
        self._segmentations = FlatSegmentations(one for record in records for one in record.segmentations)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> Objects:
        number = range(len(self))[index]
        rows = self._rows(number)
        reach = self._reaches[number]
        return Objects(
            int(self.image_ids[number]),
            self.file_names[number],
            self.size(number),
            None if np.isnan(reach[0]) else (float(reach[0]), float(reach[1])),
            self._boxes[rows],
            self.labels[rows],
            self._crowd[rows],
            self._areas[rows],
        )

    def _rows(self, number: int) -> slice:
        return slice(int(self._starts[number]), int(self._starts[number + 1]))

    def size(self, number: int) -> tuple[int, int] | None:
        """Returns the (height, width) of image ``number``, None where the file does not say."""
        height, width = self.sizes[number].tolist()
        return None if height < 0 else (height, width)

    def segmentations(self, number: int) -> list[Any]:
        """Returns the segmentations of image ``number``, as COCO writes them, one per object."""
        return [self._segmentations[row] for row in range(len(self.labels))[self._rows(number)]]

    def polygons(self, number: int) -> Outlines | None:
        """Returns the polygons of image ``number``; None where one of its objects has run lengths."""
        return self._segmentations.polygons(self._rows(number))


class FlatSegmentations:
    """Segmentations of objects: polygons as corners in one array, run lengths as text."""

    def __init__(self, segmentations: Iterable[Any]) -> None:
        coordinates: list[np.ndarray] = []
        parts_of: list[int] = []
        run_lengths: list[str] = []
        for segmentation in segmentations:
            if isinstance(segmentation, Mapping):
                parts_of.append(0)
                run_lengths.append(json.dumps({key: segmentation[key] for key in ("size", "counts")}))
            else:
                coordinates += [np.array(part, dtype=np.float64) for part in segmentation]
                parts_of.append(len(segmentation))
                run_lengths.append("")
        self._corners = np.concatenate([np.zeros(0), *coordinates]).reshape(-1, 2)  # part after part
        self._lengths = np.array([len(part) // 2 for part in coordinates], dtype=np.int64)  # corners of each part
        self._part_starts = np.concatenate([[0], self._lengths.cumsum()]).astype(np.int64)
        self._first_part = np.cumsum([0, *parts_of])
        self._run_lengths = PackedText(run_lengths)

    def __getitem__(self, row: int) -> list[list[float]] | dict[str, Any]:
        text = self._run_lengths[row]
        if text:
            return json.loads(text)
        bounds = self._part_starts[self._first_part[row] : self._first_part[row + 1] + 1].tolist()
        return [self._corners[start:end].ravel().tolist() for start, end in pairwise(bounds)]

    def polygons(self, rows: slice) -> Outlines | None:
        """Returns the polygons of objects; None where one of them has run lengths."""
        counts = np.diff(self._first_part[rows.start : rows.stop + 1])
        if not counts.all():
            return None
        first, last = int(self._first_part[rows.start]), int(self._first_part[rows.stop])
        points = self._corners[self._part_starts[first] : self._part_starts[last]]
        return Outlines.from_arrays(
            points, self._lengths[first:last], np.repeat(np.arange(len(counts)), counts), len(counts)
        )


def _stacked(values: list[Any], dtype: type[np.generic]) -> np.ndarray:
    return np.array(values, dtype=dtype)
