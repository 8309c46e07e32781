"""Doubts about annotations on hand-made cases: what contradicts what, how strongly, and what says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from rtmdet_lab.analysis.doubts import DOUBTS, find_doubts
from rtmdet_lab.analysis.errors import Errors, find_errors
from rtmdet_lab.evaluation.matching import ImagePair, Objects

CLASSES = ("cat", "dog")
TRUTH = [([10, 10, 20, 20], 0), ([50, 10, 20, 20], 0), ([10, 50, 20, 20], 0), ([90, 10, 20, 20], 0), ([130, 10, 20, 20], 1)]
FOUND = [
    ([10, 10, 20, 20], 0, 0.9),  # right: one of four cats
    ([50, 10, 20, 20], 1, 0.8),  # the second cat, called a dog
    ([50, 11, 20, 20], 1, 0.7),  # the same again
    ([10, 50, 20, 8], 0, 0.6),  # the third, lying badly
    ([100, 90, 10, 10], 0, 0.75),  # nothing there
    ([100, 90, 10, 9], 0, 0.7),  # the same thing again
    ([150, 90, 10, 10], 1, 0.3),  # too unsure
]


def objects(rows, kind: str) -> Objects:
    boxes = np.array([row[0] for row in rows], dtype=np.float64).reshape(-1, 4)
    if kind == "rotated":
        centers = boxes[:, :2] + boxes[:, 2:] / 2
        boxes = np.hstack([centers, boxes[:, 2:], np.zeros((len(boxes), 1))]).astype(np.float32)
    scores = np.array([row[2] for row in rows]) if rows and len(rows[0]) > 2 else None
    return Objects(boxes, np.array([row[1] for row in rows], np.int64), scores)


def errors_of(kind: str) -> Errors:
    none = Objects(np.zeros((0, 5 if kind == "rotated" else 4), np.float32), np.zeros(0, np.int64), np.zeros(0))
    pairs = [
        ImagePair("a", None, (120, 160), objects([], kind) if kind == "bbox" else none, none),
        ImagePair("b", None, (120, 160), objects(TRUTH, kind), objects(FOUND, kind)),
    ]
    return find_errors(pairs, CLASSES, kind)


@pytest.mark.parametrize("kind", ["bbox", "rotated"])
def test_each_doubt_with_its_suspicion(kind):
    doubts = find_doubts(errors_of(kind))
    told = [(one.kind, one.object, one.detection, one.annotated, one.detected) for one in doubts]
    assert told == [
        ("wrong class", 1, 1, "cat", "dog"),
        ("missing label", None, 4, None, "cat"),
        ("poor box", 2, 3, "cat", "cat"),
        ("nothing there", 3, None, "cat", None),  # the dog no detection found either, but no dog ever was
    ]
    assert [one.suspicion for one in doubts] == pytest.approx([0.8, 0.75, 0.6 * 0.6, 0.25], abs=1e-5)
    assert {one.image_id for one in doubts} == {"b"}
    assert {one.kind for one in doubts} == set(DOUBTS)


def test_a_higher_bar_says_less():
    kinds = [one.kind for one in find_doubts(errors_of("bbox"), least_score=0.78)]
    assert kinds == ["wrong class", "nothing there"]
    with pytest.raises(ValueError, match="least score is 2"):
        find_doubts(errors_of("bbox"), least_score=2)


def test_no_images_no_doubts():
    assert find_doubts(find_errors([], CLASSES, "bbox")) == []
