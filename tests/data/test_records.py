"""Flat records give back what they were made of, and a process that reads them writes to none of its parent's memory."""

from __future__ import annotations

import multiprocessing
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rtmdet_lab.data.coco_file import ImageRecord
from rtmdet_lab.data.records import FlatRecords, FlatSegmentations, PackedText
from rtmdet_lab.geometry.polygons import Outlines

TRIANGLE, SQUARE = [0, 0, 4, 0, 0, 4.5], [1, 1, 3, 1, 3, 3, 1, 3]
COMPRESSED = {"size": [2, 3], "counts": "04"}
PLAIN = {"size": [2, 3], "counts": [1, 2, 3]}


def make_record(image_id: int, **fields) -> ImageRecord:
    return ImageRecord(image_id, f"{image_id}.jpg", **{"size": (30, 40), **fields})


def with_objects(image_id: int, segmentations: list) -> ImageRecord:
    count = len(segmentations)
    return make_record(
        image_id,
        boxes=[[0.1 * number, 2, 3, 4] for number in range(count)],
        labels=list(range(count)),
        crowd=[number % 2 == 1 for number in range(count)],
        areas=[1.5 + number for number in range(count)],
        segmentations=segmentations,
        reach=(3.0, 4.0),
    )


@pytest.mark.parametrize("texts", [[], [""], ["a", "", "Käse.jpg", "\udcff.png", "日本"], ["x" * 1000]])
def test_texts_come_back(texts):
    assert list(PackedText(texts)) == texts


def test_text_past_the_end_is_refused():
    with pytest.raises(IndexError):
        PackedText(["a"])[1]
    assert PackedText(["a", "b"])[-1] == "b"


def test_images_without_objects_or_size_come_back():
    records = FlatRecords([make_record(7), make_record(-3, size=None), with_objects(2**60, [[TRIANGLE]]), make_record(9)])
    assert len(records) == 4
    assert [record.image_id for record in records] == [7, -3, 2**60, 9]
    assert [record.file_name for record in records] == ["7.jpg", "-3.jpg", f"{2**60}.jpg", "9.jpg"]
    assert [record.size for record in records] == [(30, 40), None, (30, 40), (30, 40)]
    assert [record.reach for record in records] == [None, None, (3.0, 4.0), None]
    assert [len(record.boxes) for record in records] == [0, 0, 1, 0]
    assert records[0].boxes.shape == (0, 4)
    assert len(FlatRecords([])) == 0


def test_objects_come_back_with_their_image():
    records = FlatRecords([with_objects(1, [[TRIANGLE], [SQUARE]]), make_record(2), with_objects(3, [[SQUARE]] * 3)])
    assert records[0].labels.tolist() == [0, 1]
    assert records[2].labels.tolist() == [0, 1, 2]
    assert records[2].crowd.tolist() == [False, True, False]
    np.testing.assert_array_equal(records[2].areas, np.array([1.5, 2.5, 3.5], dtype=np.float32))
    np.testing.assert_array_equal(records[0].boxes, np.array([[0, 2, 3, 4], [0.1, 2, 3, 4]], dtype=np.float32))
    assert records.labels.tolist() == [0, 1, 0, 1, 2]


def test_segmentations_come_back_as_the_file_has_them():
    segmentations = [[TRIANGLE, SQUARE], COMPRESSED, [SQUARE], PLAIN | {"other": 1}]
    records = FlatRecords([with_objects(1, segmentations[:2]), make_record(2), with_objects(3, segmentations[2:])])
    assert records.segmentations(0) == [[TRIANGLE, SQUARE], COMPRESSED]
    assert records.segmentations(1) == []
    assert records.segmentations(2) == [[SQUARE], PLAIN]


def test_polygons_are_those_of_the_file_and_none_beside_run_lengths():
    records = FlatRecords(
        [with_objects(1, [[SQUARE]]), with_objects(2, [[TRIANGLE, SQUARE], [SQUARE]]), with_objects(3, [[SQUARE], PLAIN])]
    )
    polygons, expected = records.polygons(1), Outlines.from_coco([[TRIANGLE, SQUARE], [SQUARE]])
    assert len(polygons) == 2
    for own, other in zip(polygons, expected, strict=True):
        for part, expected_part in zip(own, other, strict=True):
            np.testing.assert_array_equal(part, expected_part)
    assert records.polygons(2) is None
    assert len(FlatRecords([make_record(1)]).polygons(0)) == 0


def test_random_polygons_come_back_exactly():
    rng = np.random.default_rng(0)
    segmentations = [
        [rng.normal(size=2 * rng.integers(3, 9)).tolist() for _ in range(rng.integers(1, 4))] for _ in range(200)
    ]
    flat = FlatSegmentations(segmentations)
    assert [flat[row] for row in range(200)] == segmentations
    bounds = np.sort(np.append(rng.integers(0, 200, 9), [0, 200])).tolist()
    joined = [part for start, end in pairwise(bounds) for own in flat.polygons(slice(start, end)) for part in own]
    for part, expected in zip(joined, (part for own in segmentations for part in own), strict=True):
        np.testing.assert_array_equal(part.ravel(), expected)


def private_kb() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def read_all(records, sender) -> None:
    def visit() -> None:
        for number, record in enumerate(records):
            assert record.file_name
            assert len(records.polygons(number)) == len(record.labels)

    records.polygons(0)
    before = private_kb()
    visit()
    sender.send(private_kb() - before)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="a process's own memory is read from Linux")
def test_reading_every_record_leaves_the_memory_of_a_loader_process_level():
    corners = np.random.default_rng(0).uniform(0, 100, (8, 80))
    records = FlatRecords([with_objects(number, [[one.tolist()] for one in corners]) for number in range(4000)])
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=read_all, args=(records, sender))
    process.start()
    grown = receiver.recv()
    process.join()
    assert grown < 3000  # kB; as lists of lists these records are 80 MB, which are all copied
