"""Detections of rotated boxes go through a file and back."""

from __future__ import annotations

import json

import pytest
import torch
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.evaluation.dota_files import from_rotated_results, to_rotated_results

CLASSES = ("ship", "plane")


def found(image_id, count):
    generator = torch.Generator().manual_seed(count)
    boxes = torch.rand(count, 5, generator=generator) * 50 + 1
    labels = torch.arange(count) % 2
    return Detections(boxes, torch.rand(count, generator=generator), labels, meta=ImageMeta(image_id))


def test_scores_are_the_same_after_the_way_through_a_file():
    images = ["a", "b", "c"]
    detections = [found(name, count) for name, count in zip(images, (4, 0, 7), strict=True)]
    targets = [Targets(one.boxes + 0.7, one.labels, meta=one.meta) for one in detections]
    first = DotaEvaluator(CLASSES)
    first.add(detections, targets)
    text = json.dumps([one for rows in first.results.values() for one in rows])
    second = DotaEvaluator(CLASSES)
    second.add(from_rotated_results(json.loads(text), images, CLASSES), targets)
    assert 0 < first.summary()["AP"] < 1
    assert second.summary() == pytest.approx(first.summary(), abs=1e-9)
    merged = DotaEvaluator(CLASSES)
    merged.merge([first.state(), second.state()])
    assert merged.results == first.results


@pytest.mark.parametrize(
    "change",
    [{"image_id": "z"}, {"class": "car"}, {"rbox": [1, 2, 3, 4]}, {"score": None}, {"rbox": 3}, {"image_id": []}],
    ids=str,
)
def test_entries_that_fit_nothing_are_named(change):
    (entry,) = to_rotated_results(found("a", 1), "a", CLASSES)
    with pytest.raises(DataError) as caught:
        from_rotated_results([entry, entry | change], ["a"], CLASSES)
    assert_one_sentence(caught.value, "number 2")
