"""Annotations that may be wrong: where a detector that is right elsewhere, and sure, contradicts them.

Four kinds. "missing label": a detection on nothing. "wrong class": a detection of another class on an object that none of
its own class found. "poor box": the same with a detection of its class that lies badly. "nothing there": an object near
which nothing was detected at all. Each has a suspicion in [0, 1] to sort by; it ranks, it proves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rtmdet_lab.analysis.corrections import Correction
from rtmdet_lab.analysis.errors import BACKGROUND, BACKGROUND_IOU, CLASS, FOREGROUND, LOCALIZATION, Errors
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.evaluation.matching import overlaps
from rtmdet_lab.geometry.rotated import rboxes_to_quads

LABEL_ISSUES = ("missing label", "wrong class", "poor box", "nothing there")


@dataclass(frozen=True)
class LabelIssue:
    """One annotation that is probably wrong, and what the detector would have instead."""

    kind: str  # one of LABEL_ISSUES
    suspicion: float
    image: int  # number of the image in the errors' pairs
    image_id: Any
    object: int | None  # row of the image's ground truth, None for a missing label
    detection: int | None  # row of the image's detections, None where nothing was detected
    annotated: str | None  # class
    detected: str | None  # class


def find_label_issues(errors: Errors, least_score: float = 0.5) -> list[LabelIssue]:
    """Returns the label issues of one run, the most suspicious first.

    A detection's suspicion is its score, times its overlap for "wrong class", times what the overlap lacks for "poor box".
    That of an object with nothing near is the share of its class that was found, times what the best overlap lacks: of
    a class that is never found, a missed object says nothing.

    Args:
        least_score: detections with less say nothing.

    Raises:
        ValueError: a score outside of [0, 1].
    """
    if not 0 <= least_score <= 1:
        raise ValueError(f"least score is {least_score}, but must be in [0, 1]")
    issues = [
        *_missing_labels(errors, least_score),
        *_contradicted(errors, CLASS, "wrong class", least_score),
        *_contradicted(errors, LOCALIZATION, "poor box", least_score),
        *_nothing_there(errors),
    ]
    return sorted(issues, key=lambda issue: (-issue.suspicion, issue.image, LABEL_ISSUES.index(issue.kind)))


def _missing_labels(errors: Errors, least_score: float) -> list[LabelIssue]:
    matches = errors.matches
    rows = np.flatnonzero((errors.kinds == BACKGROUND) & (matches.scores >= least_score))
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    issues = []
    for image in np.unique(matches.image[rows]):
        start = errors.rows_of(int(image))[0].start
        mine = rows[matches.image[rows] == image]
        mine = mine[_without_doubles(errors, int(image), mine - start)]
        issues += [_label_issue(errors, "missing label", matches.scores[row], None, row) for row in mine]
    return issues


def _without_doubles(errors: Errors, image: int, rows: np.ndarray) -> list[bool]:
    """Returns which of an image's detections, best first, overlap none before them by half: one thing, one label issue."""
    some = errors.pairs[image].detections.shapes(rows)
    iou = overlaps(some, some, errors.matches.kind)
    alone: list[bool] = []
    for number in range(len(rows)):
        alone.append(not any(one and iou[number, other] >= FOREGROUND for other, one in enumerate(alone)))
    return alone


def _contradicted(errors: Errors, kind: int, name: str, least_score: float) -> list[LabelIssue]:
    matches = errors.matches
    rows = np.flatnonzero((errors.kinds == kind) & (matches.scores >= least_score))
    rows = rows[errors.missed[errors.objects[rows]]]
    weight = errors.ious[rows] if kind == CLASS else 1 - errors.ious[rows]
    suspicion = matches.scores[rows] * weight
    order = np.argsort(-suspicion, kind="stable")
    firsts = order[np.sort(np.unique(errors.objects[rows[order]], return_index=True)[1])]  # one label issue per object
    return [_label_issue(errors, name, suspicion[place], errors.objects[rows[place]], rows[place]) for place in firsts]


def _nothing_there(errors: Errors) -> list[LabelIssue]:
    matches = errors.matches
    total = np.maximum(matches.objects, 1)
    hits = np.bincount(matches.truth_labels[errors.found_by >= 0], minlength=len(total))
    recall = (hits / total)[matches.truth_labels] if len(total) else np.zeros(0)
    rows = np.flatnonzero(errors.missed & (errors.touched < BACKGROUND_IOU))
    issues = [_label_issue(errors, "nothing there", recall[row] * (1 - errors.touched[row]), row, None) for row in rows]
    return [issue for issue in issues if issue.suspicion > 0]


def _label_issue(errors: Errors, kind: str, suspicion: float, target: int | None, detection: int | None) -> LabelIssue:
    matches = errors.matches
    image = int(matches.image[detection] if detection is not None else matches.truth_image[target])
    detections, truth = errors.rows_of(image)
    return LabelIssue(
        kind,
        float(suspicion),
        image,
        errors.pairs[image].image_id,
        None if target is None else int(target) - truth.start,
        None if detection is None else int(detection) - detections.start,
        None if target is None else matches.classes[matches.truth_labels[target]],
        None if detection is None else matches.classes[matches.labels[detection]],
    )


def correction_of(errors: Errors, issue: LabelIssue) -> Correction:
    """Returns what makes an annotation agree with the detector, for those label issues that somebody looked at and shares.

    A missing label is added, a wrong class or a poor box replaced by the detection's, an object with nothing there dropped.
    For :mod:`rtmdet_lab.analysis.corrections`, which write it.

    Raises:
        ValueError: objects without the ids of their annotations.
    """
    pair = errors.pairs[issue.image]
    target = None
    if issue.object is not None:
        if pair.truth.ids is None:
            raise ValueError("only objects that have the ids of their annotations can be corrected")
        target = pair.truth.ids[issue.object]
    if issue.kind == "nothing there":
        return Correction(issue.image_id, target, drop=True)
    if issue.kind == "wrong class":
        return Correction(issue.image_id, target, label=issue.detected)
    row, detections = issue.detection, pair.detections
    shape: dict[str, Any] = {"box": detections.boxes[row].tolist()}
    if errors.matches.kind == "rotated":
        shape = {"box": rboxes_to_quads(torch.from_numpy(detections.boxes[row : row + 1])).flatten().tolist()}
    elif detections.masks is not None:
        counts = detections.masks[row]["counts"]
        run_lengths = {
            "size": list(detections.masks[row]["size"]),
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        }
        shape |= {"segmentation": run_lengths, "area": float(detections.areas[row])}
    return Correction(issue.image_id, target, label=issue.detected if target is None else None, **shape)


def chosen_label_issues(issues: Sequence[LabelIssue], numbers: Sequence[int]) -> list[LabelIssue]:
    """Returns the label issues of some numbers, from 0.

    Raises:
        SettingError: a number that no label issue has.
    """
    for number in numbers:
        if not 0 <= number < len(issues):
            raise SettingError(f"there is no label issue number {number}: accept takes numbers from 0 to {len(issues) - 1}")
    return [issues[number] for number in numbers]
