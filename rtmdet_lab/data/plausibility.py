"""What the boxes of a whole file tell of how they were written: corners for sides, shares for pixels.

A single box proves nothing. Where nearly all boxes make sense in another form and many do not as x, y, width, height, the
file is in that form and is refused; what is merely unlikely is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

AGREEMENT = 0.5  # IoU of a box with the box around its outline; below, one of the two is wrong
_MANY = 0.05  # share of boxes from which something is not chance; always three boxes at least
_NEARLY_ALL = 0.95
_SLACK = 1.0  # pixels past the border that are a matter of counting: VOC counts from 1
_FAR = 0.02  # share of a side; less past the border is rounding
_LEAST_REACH = 0.6  # share of the image's sides that some of many boxes reach past
_FROM = 20  # boxes that are many enough to say so


@dataclass
class Verdict:
    """What was found: ``refusal`` makes the file unusable, ``doubts`` are said in training, too, ``notes`` in checks."""

    refusal: str | None = None
    doubts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge_boxes(boxes: np.ndarray, sizes: np.ndarray, outlines: np.ndarray) -> Verdict:
    """Returns what the boxes of a file show of their form.

    Args:
        boxes: (N, 4) float64, as in the file: what should be x, y, width, height in pixels.
        sizes: (N, 2) float64, height and width of each one's image; NaN where the file does not say.
        outlines: (N, 4) float64, x1 y1 x2 y2 around each one's polygons; NaN where it has none.
    """
    whole = boxes[(boxes[:, 2] > 0) & (boxes[:, 3] > 0)]
    if not len(whole):
        return Verdict()
    small = whole[(np.abs(whole) <= 1).all(1)]
    relative = len(small)
    if (_is_many(relative, len(boxes)) or relative == len(whole)) and (small[:, 2:] < 1).any():
        which = "the box lies" if len(whole) == 1 else f"{relative} of {len(boxes)} boxes lie"
        return Verdict(f"{which} between 0 and 1: shares of the image, not pixels; multiply them by its width and height")
    form = _other_form(boxes, sizes, outlines)
    if form:
        return Verdict(form)
    return _odd_places(boxes, sizes)


def disagreement(boxes: np.ndarray, outlines: np.ndarray) -> np.ndarray:
    """Returns (N,) IoUs of boxes x, y, width, height with outlines' boxes, NaN without outline.

    Both are a pixel wider to each side: thin objects are often drawn as a line.
    """
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    wider = np.array([-1.0, -1.0, 1.0, 1.0])
    return _iou(corners + wider, outlines + wider)


def _is_many(count: int, total: int) -> bool:
    return count >= max(3, _MANY * total)


def _corners(boxes: np.ndarray) -> np.ndarray:
    return boxes


def _swapped_corners(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, [1, 0, 3, 2]]


def _around_center(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


# What four numbers may be instead of x, y, width, height -> the x1 y1 x2 y2 that they then are.
_FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "x1 y1 x2 y2": _corners,
    "center x, center y, width, height": _around_center,
    "y1 x1 y2 x2": _swapped_corners,
}


def _other_form(boxes: np.ndarray, sizes: np.ndarray, outlines: np.ndarray) -> str | None:
    past = _past(boxes, sizes)
    agreed = disagreement(boxes, outlines)
    known = ~np.isnan(agreed)
    for name, corners in _FORMS.items():
        other = corners(boxes)
        inside = _is_inside(other, sizes)
        matched = _iou(other, outlines)[known]
        drawn = len(matched) >= max(3, len(boxes) / 2)
        if drawn and np.median(matched) > 0.9 and np.median(agreed[known]) < AGREEMENT:
            return f"{int((matched > 0.9).sum())} of {len(matched)} boxes fit their polygons as {name}{_CONVERT}"
        if drawn and np.median(matched) < AGREEMENT:
            continue  # another form that contradicts the outlines explains nothing
        # Of some boxes that are corners among others only those past the border show it; other forms must fit them all.
        fits = inside[past] if corners is _corners else inside
        enough = 2 if corners is _corners else 5
        if past.sum() >= max(enough, _MANY * len(boxes)) and fits.mean() >= _NEARLY_ALL:
            return f"{int(past.sum())} of {len(boxes)} boxes end past their image: they look like {name}{_CONVERT}"
    wrong = int((agreed[known] < AGREEMENT).sum())
    if _is_many(wrong, int(known.sum())) and wrong >= known.sum() / 2:
        return (
            f"{wrong} of {int(known.sum())} boxes contradict their polygons (IoU under {AGREEMENT}): one of the two is "
            "wrong; correct the boxes, or take the polygons out if the boxes are right"
        )
    return None


_CONVERT = ", but x y width height are needed; convert them"


def judge_places(boxes: np.ndarray, sizes: np.ndarray) -> Verdict:
    """Returns what the boxes' places in their images show; arguments as for :func:`judge_boxes`.

    Boxes that are cut by the border of a window and stay whole, as those of DOTA, are nothing odd.
    """
    verdict = Verdict()
    outside = _mostly_outside(boxes, sizes)
    _tell(verdict, "lie mostly outside their image", outside, outside)
    return verdict


def _odd_places(boxes: np.ndarray, sizes: np.ndarray) -> Verdict:
    verdict = judge_places(boxes, sizes)
    past = _past(boxes, sizes) & ~_mostly_outside(boxes, sizes)
    far = past & (boxes[:, :2] + boxes[:, 2:] > (1 + _FAR) * sizes[:, ::-1]).any(1)
    _tell(verdict, "end past their image", past, far)
    known = ~np.isnan(sizes[:, 0])
    if known.sum() >= _FROM:
        reach = ((boxes[:, :2] + boxes[:, 2:]) / sizes[:, ::-1])[known].max(0)
        if reach.max() < _LEAST_REACH:
            verdict.doubts.append(
                f"none of {int(known.sum())} boxes reaches past {reach[0]:.0%} of its image's width or {reach[1]:.0%} of "
                "its height: they may be per cents, or pixels of a smaller picture"
            )
    return verdict


def _tell(verdict: Verdict, what: str, which: np.ndarray, wrong: np.ndarray) -> None:
    """Puts how many boxes are odd where it belongs: at half of them the file is of no use."""
    count = int(which.sum())
    text = f"{count} of {len(which)} boxes {what}"
    if wrong.sum() >= max(3, len(which) / 2):
        verdict.refusal = verdict.refusal or f"{text}: they were made for other images, or for another size of these"
    elif count:
        (verdict.doubts if _is_many(count, len(which)) else verdict.notes).append(text)


def _past(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns which boxes (N,) end past their image; a comparison with NaN is false."""
    return (boxes[:, :2] + boxes[:, 2:] > sizes[:, ::-1] + _SLACK).any(1)


def _is_inside(corners: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    ordered = (corners[:, 2:] > corners[:, :2]).all(1)
    return ordered & (corners[:, :2] >= -_SLACK).all(1) & (corners[:, 2:] <= sizes[:, ::-1] + _SLACK).all(1)


def _mostly_outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, :2], 0)
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], sizes[:, ::-1])
    area = boxes[:, 2] * boxes[:, 3]
    return (np.maximum(high - low, 0).prod(1) < area / 2) & (area > 0)


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shared = np.maximum(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0).prod(1)
    areas = [(one[:, 2:] - one[:, :2]).prod(1) for one in (a, b)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return shared / (areas[0] + areas[1] - shared)
