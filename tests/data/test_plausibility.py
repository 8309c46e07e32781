"""Boxes in another form are told by all boxes of a file; real files and careless borders are not taken for it."""

from __future__ import annotations

import numpy as np
import pytest
from made_sets import assert_one_sentence, write_annotations

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.files import read_json
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.data.plausibility import disagreement, judge_boxes

HEIGHT, WIDTH = 300, 400


def made_boxes(count: int = 60, corner: float = 1.0) -> np.ndarray:
    """Returns (N, 4) x y width height inside a 400 x 300 image, in its upper left part of side ``corner``."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.05, 0.5, (count, 2)) * (WIDTH, HEIGHT) * corner
    return np.concatenate([rng.random((count, 2)) * ((WIDTH, HEIGHT) - sides) * corner, sides], 1)


def judge(boxes: np.ndarray, outlines: np.ndarray | None = None):
    sizes = np.tile([float(HEIGHT), float(WIDTH)], (len(boxes), 1))
    return judge_boxes(boxes, sizes, np.full((len(boxes), 4), np.nan) if outlines is None else outlines)


def corners_of(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def centers_of(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)


def test_boxes_inside_their_images_raise_no_doubt():
    verdict = judge(made_boxes())
    assert (verdict.refusal, verdict.doubts, verdict.notes) == (None, [], [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (corners_of, "x1 y1 x2 y2"),
        (centers_of, "center x"),
        (lambda boxes: corners_of(boxes)[:, [1, 0, 3, 2]], "y1 x1 y2 x2"),
        (lambda boxes: boxes / (WIDTH, HEIGHT, WIDTH, HEIGHT), "shares of the image"),
        (lambda boxes: boxes * 3, "another size"),
        (lambda boxes: np.where(np.arange(len(boxes))[:, None] % 3, boxes, corners_of(boxes)), "x1 y1 x2 y2"),
    ],
    ids=["corners", "centers", "swapped corners", "relative", "larger picture", "a third are corners"],
)
def test_other_forms_are_named_with_counts(change, words):
    refusal = judge(change(made_boxes())).refusal
    assert_one_sentence(refusal, words, " of 60 boxes ")


def test_corners_of_objects_on_the_left_are_told_where_a_third_is_past_the_border():
    boxes = corners_of(made_boxes(corner=0.6))
    past = (boxes[:, :2] + boxes[:, 2:] > (WIDTH + 1, HEIGHT + 1)).any(1)
    assert 0.1 < past.mean() < 0.5
    assert_one_sentence(judge(boxes).refusal, f"{past.sum()} of 60 boxes end past", "x1 y1 x2 y2")


def test_careless_or_hidden_parts_past_the_border_are_said_and_used():
    boxes = made_boxes()
    boxes[:3, 0], boxes[:3, 2] = WIDTH - 40, 60  # more of the object than the picture shows
    verdict = judge(boxes)
    assert verdict.refusal is None
    assert_one_sentence(verdict.doubts[0], "3 of 60 boxes end past their image")
    boxes = made_boxes()
    boxes[:, 2] = WIDTH - boxes[:, 0] + 1  # counted from 1, as in VOC
    assert judge(boxes).refusal is None
    assert judge(boxes).notes == []


def test_boxes_that_fill_only_a_corner_are_doubted():
    assert_one_sentence(judge(made_boxes() * 0.25).doubts[0], "none of 60 boxes reaches past 2", "smaller picture")


def test_outlines_decide_and_contradict():
    boxes = made_boxes(corner=0.4)
    assert_one_sentence(
        judge(corners_of(boxes), corners_of(boxes)).refusal, "60 of 60 boxes fit their polygons as x1 y1 x2 y2"
    )
    elsewhere = corners_of(boxes)[::-1]
    assert_one_sentence(judge(boxes, elsewhere).refusal, "contradict their polygons")
    assert disagreement(boxes, corners_of(boxes)) == pytest.approx(1.0)


def test_other_forms_of_a_real_file_are_refused(real_data, tmp_path):
    content = read_json(real_data / "coco-mini/annotations/instances_val2017.json")
    sizes = {one["id"]: (one["width"], one["height"]) for one in content["images"]}
    for one in content["annotations"]:
        x, y, width, height = one["bbox"]
        one["bbox"] = [x, y, x + width, y + height]
    with pytest.raises(DataError) as error:
        read_coco(write_annotations(tmp_path / "corners.json", content))
    assert_one_sentence(error.value, "corners.json", "of 804 boxes fit their polygons as x1 y1 x2 y2")
    for one in content["annotations"]:
        width, height = sizes[one["image_id"]]
        one["bbox"] = [value / side for value, side in zip(one["bbox"], (width, height) * 2, strict=True)]
    with pytest.raises(DataError) as error:
        read_coco(write_annotations(tmp_path / "relative.json", content))
    assert_one_sentence(error.value, "relative.json", "815 of 815 boxes lie between 0 and 1")
