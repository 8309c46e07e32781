"""Label issues on hand-made cases: what contradicts what, how strongly, and what says nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from rtmdet_lab.analysis.corrections import write_corrected_coco, write_corrected_labels
from rtmdet_lab.analysis.errors import Errors, find_errors
from rtmdet_lab.analysis.label_issues import LABEL_ISSUES, chosen_label_issues, correction_of, find_label_issues
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.data.label_file import read_label_file
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
def test_each_label_issue_with_its_suspicion(kind):
    issues = find_label_issues(errors_of(kind))
    told = [(one.kind, one.object, one.detection, one.annotated, one.detected) for one in issues]
    assert told == [
        ("wrong class", 1, 1, "cat", "dog"),
        ("missing label", None, 4, None, "cat"),
        ("poor box", 2, 3, "cat", "cat"),
        ("nothing there", 3, None, "cat", None),  # the dog no detection found either, but no dog ever was
    ]
    assert [one.suspicion for one in issues] == pytest.approx([0.8, 0.75, 0.6 * 0.6, 0.25], abs=1e-5)
    assert {one.image_id for one in issues} == {"b"}
    assert json.loads(json.dumps([vars(one) for one in issues])) == [vars(one) for one in issues], "plain numbers"
    assert {one.kind for one in issues} == set(LABEL_ISSUES)


def test_a_higher_bar_says_less():
    kinds = [one.kind for one in find_label_issues(errors_of("bbox"), least_score=0.78)]
    assert kinds == ["wrong class", "nothing there"]
    with pytest.raises(ValueError, match="least score is 2"):
        find_label_issues(errors_of("bbox"), least_score=2)


def test_no_images_no_label_issues():
    assert find_label_issues(find_errors([], CLASSES, "bbox")) == []


def with_ids(errors: Errors, ids: list[int]) -> Errors:
    errors.pairs[1].truth.ids = ids
    return errors


def test_accepted_label_issues_become_a_coco_file(tmp_path):
    errors = with_ids(errors_of("bbox"), [11, 12, 13, 14, 15])
    truth = {"images": [{"id": "b", "file_name": "b.jpg", "width": 160, "height": 120}]}
    truth["categories"] = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]
    truth["annotations"] = [
        {"id": 11 + row, "image_id": "b", "category_id": (3, 8)[label], "bbox": box, "area": 400, "iscrowd": 0}
        for row, (box, label) in enumerate(TRUTH)
    ]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    corrections = [correction_of(errors, issue) for issue in find_label_issues(errors)]
    written = json.loads(write_corrected_coco(tmp_path / "truth.json", corrections, tmp_path / "new.json").read_text())
    told = [(one["id"], one["category_id"], one["bbox"], one["area"]) for one in written["annotations"]]
    assert told == [
        (11, 3, [10, 10, 20, 20], 400),
        (12, 8, [50, 10, 20, 20], 400),  # a dog
        (13, 3, [10, 50, 20, 8], 160),  # the detection's box
        (15, 8, [130, 10, 20, 20], 400),  # 14 is gone
        (16, 3, [100, 90, 10, 10], 100),
    ]


def test_accepted_label_issues_become_label_files(tmp_path):
    errors = with_ids(errors_of("rotated"), [1, 2, 3, 4, 5])

    def line(box, name: str) -> str:
        x, y, w, h = box
        corners = (x, y, x + w, y, x + w, y + h, x, y + h)
        return " ".join(f"{value:.1f}" for value in corners) + f" {name} 0"

    lines = [line(box, CLASSES[label]) for box, label in TRUTH]
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "b.txt").write_text("\n".join(lines) + "\n")
    corrections = [correction_of(errors, issue) for issue in find_label_issues(errors)]
    write_corrected_labels(tmp_path / "labels", corrections, tmp_path / "new")
    read = read_label_file(tmp_path / "new" / "b.txt")
    assert read.names == ["cat", "dog", "cat", "dog", "cat"]
    boxes = [TRUTH[0][0], TRUTH[1][0], FOUND[3][0], TRUTH[4][0], FOUND[4][0]]
    for quad, (x, y, w, h) in zip(np.asarray(read.quads).reshape(-1, 4, 2), boxes, strict=True):
        assert {tuple(corner) for corner in quad.tolist()} == {(x, y), (x + w, y), (x + w, y + h), (x, y + h)}


def test_outlines_are_written_as_run_lengths_with_their_area():
    mask = np.zeros((120, 160), np.uint8, order="F")
    mask[90:100, 100:105] = 1
    encoded = coco_mask.encode(mask)
    found = Objects(np.array([[100.0, 90, 10, 10]]), np.zeros(1, np.int64), np.array([0.9]), [encoded])
    truth = Objects(np.zeros((0, 4)), np.zeros(0, np.int64), masks=[])
    errors = find_errors([ImagePair(4, None, (120, 160), truth, found)], CLASSES, "segm")
    correction = correction_of(errors, find_label_issues(errors)[0])
    assert (correction.image_id, correction.object, correction.label, correction.area) == (4, None, "cat", 50)
    assert (coco_mask.decode(json.loads(json.dumps(correction.segmentation))) == mask).all()


def test_objects_without_ids_cannot_be_corrected():
    errors = errors_of("bbox")
    with pytest.raises(ValueError, match="ids"):
        correction_of(errors, find_label_issues(errors)[0])


def test_label_issues_are_chosen_by_number():
    issues = find_label_issues(errors_of("bbox"))
    assert chosen_label_issues(issues, [2, 0]) == [issues[2], issues[0]]
    for number in (-1, len(issues)):
        with pytest.raises(
            SettingError, match=f"no label issue number {number}: accept takes numbers from 0 to {len(issues) - 1}"
        ):
            chosen_label_issues(issues, [number])
