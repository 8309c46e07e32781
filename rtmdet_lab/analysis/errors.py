"""Why detections are wrong and what that costs: the kinds of errors of Bolya et al. 2020 (TIDE, arXiv 2008.08115).

For boxes, masks and rotated boxes alike; overlaps are those of the task. A detection that matched nothing at the foreground
overlap is, by the first of these that holds:

* duplicate: it overlaps an object of its class by as much, which a better detection took,
* class: it overlaps an object of another class by as much,
* localization: it overlaps an object of its class by the background overlap or more,
* class and localization: the same with an object of another class,
* background: it lies on nothing.

The paper leaves open which one counts where several hold; here the larger overlap decides, then the right class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from rtmdet_lab.evaluation.average_precision import average_precision, mean_of_known
from rtmdet_lab.evaluation.matching import (
    BENCHMARKS,
    ImagePair,
    Kind,
    Matches,
    candidates,
    match_candidates,
    overlaps,
)
from rtmdet_lab.evaluation.matching import SIZES as AREAS

KINDS = ("true positive", "class", "localization", "class and localization", "duplicate", "background", "ignored")
RIGHT, CLASS, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND, IGNORED = range(len(KINDS))
FIXED = (*KINDS[1:6], "missed")  # what `error_costs` mends, one after the other
FOREGROUND, BACKGROUND_IOU = 0.5, 0.1
SIZES = tuple(AREAS)


@dataclass
class Errors:
    """What every detection and every object is, at the foreground overlap. Rows follow the images, then their files.

    D detections: ``kinds`` index into ``KINDS``; ``objects`` is the row of the object concerned (found, doubled, confused or
    poorly hit), -1 for background; ``ious`` the overlap with it, else the largest with anything that counts; ``nearest`` the
    row of the object of any class it overlaps most, ignored or not, -1 where it overlaps none.
    G objects: ``touched`` is the largest overlap any detection of any class has with it, ``missed`` if none found it,
    ``found_by`` the row of the one that did, or -1.
    """

    pairs: list[ImagePair]
    matches: Matches  # at the foreground overlap alone
    by_size: dict[str, Matches]
    kinds: np.ndarray
    objects: np.ndarray
    ious: np.ndarray
    nearest: np.ndarray
    touched: np.ndarray
    missed: np.ndarray = field(init=False)
    found_by: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.found_by = np.full(len(self.matches.truth_labels), -1, dtype=np.int64)
        rows = np.flatnonzero(self.kinds == RIGHT)
        self.found_by[self.objects[rows]] = rows
        self.missed = (self.found_by < 0) & ~self.matches.ignored

    @cached_property
    def _starts(self) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(len(self.pairs) + 1)
        return np.searchsorted(self.matches.image, numbers), np.searchsorted(self.matches.truth_image, numbers)

    def rows_of(self, image: int) -> tuple[slice, slice]:
        """Returns the rows of an image's detections and of its objects, by the image's number in ``pairs``."""
        found, truth = ([int(start) for start in starts[image : image + 2]] for starts in self._starts)
        return slice(*found), slice(*truth)

    def counts(self) -> dict[str, np.ndarray]:
        """Returns how many detections of each kind there are, and objects missed, by class (C,): the detection's own class,
        the object's where one was missed."""
        total = len(self.matches.classes)
        labels = self.matches.labels
        found = {name: np.bincount(labels[self.kinds == kind], minlength=total) for kind, name in enumerate(KINDS)}
        return found | {"missed": np.bincount(self.matches.truth_labels[self.missed], minlength=total)}

    def counts_by_size(self) -> dict[str, np.ndarray]:
        """Returns the same by size (3,): the detection's own, small, medium, large; the object's where one was missed."""
        edges = [high for _, high in AREAS.values()][:-1]
        found, truth = (
            np.searchsorted(edges, np.concatenate([np.zeros(0), *(objects.areas for objects in side)]))
            for side in ([pair.detections for pair in self.pairs], [pair.truth for pair in self.pairs])
        )
        rows = {name: np.bincount(found[self.kinds == kind], minlength=3) for kind, name in enumerate(KINDS)}
        return rows | {"missed": np.bincount(truth[self.missed], minlength=3)}

    def confusion(self, score: float = 0.0) -> np.ndarray:
        """Returns (C + 1, C + 1): objects by class (rows, the last for none) and what was found there (columns, the last for
        nothing), of detections with a score of at least ``score``. Duplicates and poorly placed ones are left out."""
        total = len(self.matches.classes)
        table = np.zeros((total + 1, total + 1), dtype=np.int64)
        good = self.matches.scores >= score
        on_object = np.isin(self.kinds, (RIGHT, CLASS)) & good
        np.add.at(table, (self.matches.truth_labels[self.objects[on_object]], self.matches.labels[on_object]), 1)
        alone = (self.kinds == BACKGROUND) & good
        np.add.at(table, (np.full(alone.sum(), total), self.matches.labels[alone]), 1)
        lost = ~self.matches.ignored
        lost[self.objects[on_object & (self.kinds == RIGHT)]] = False
        np.add.at(table, (self.matches.truth_labels[lost], np.full(lost.sum(), total)), 1)
        return table


def find_errors(
    pairs: list[ImagePair],
    classes: tuple[str, ...],
    kind: Kind,
    foreground: float = FOREGROUND,
    background: float = BACKGROUND_IOU,
) -> Errors:
    """Returns the errors of all images; see the module's description.

    Args:
        pairs: as :func:`~rtmdet_lab.evaluation.matching.match_images` takes them.
        foreground: overlap from which a detection is on an object.
        background: overlap from which it is near one.

    Raises:
        ValueError: overlaps that are not 0 <= background < foreground <= 1.
    """
    if not 0 <= background < foreground <= 1:
        raise ValueError(f"background {background} and foreground {foreground} must be 0 <= background < foreground <= 1")
    images, told = [], []
    for pair in pairs:
        iou = overlaps(pair.detections, pair.truth, kind)
        images.append(candidates(pair.detections, pair.truth, kind, iou))
        told.append(_explain(pair, iou, foreground, background))
    ids = [pair.image_id for pair in pairs]
    by_size = {size: match_candidates(images, ids, classes, kind, [foreground], size) for size in (None, *SIZES)}
    matches = by_size.pop(None)
    starts = np.cumsum([0, *(len(pair.truth) for pair in pairs)])
    kinds = _joined([image.kinds for image in told], int)
    objects, nearest = (
        _joined([np.where(rows >= 0, rows + start, -1) for rows, start in zip(part, starts, strict=False)], int)
        for part in ([image.objects for image in told], [image.nearest for image in told])
    )
    values = _joined([image.ious for image in told], float)
    # What the matching says comes before what the overlaps alone do.
    matched, counted = matches.matched[0], matches.counted[0]
    kinds[(matched >= 0) & counted], kinds[~counted] = RIGHT, IGNORED
    settled = (matched >= 0) | ~counted
    objects[settled] = matched[settled]
    values[matched >= 0] = matches.iou[0][matched >= 0]
    touched = _joined([image.touched for image in told], float)
    return Errors(list(pairs), matches, by_size, kinds, objects, values, nearest, touched)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts])


class _Explained(NamedTuple):
    """What the overlaps of one image tell; rows are those of the image."""

    kinds: np.ndarray  # (D,) index into ``KINDS``
    objects: np.ndarray  # (D,) object concerned, -1: none
    ious: np.ndarray  # (D,) with it
    nearest: np.ndarray  # (D,) object overlapped most, -1: none
    touched: np.ndarray  # (G,) largest overlap with any detection


def _explain(pair: ImagePair, iou: np.ndarray, foreground: float, background: float) -> _Explained:
    """Returns what each detection of an image is, should it match nothing, from its overlaps (D, G)."""
    count = len(pair.detections)
    kinds, objects, values = np.full(count, BACKGROUND), np.full(count, -1), np.zeros(count)
    if not iou.size:
        return _Explained(kinds, objects, values, objects, iou.max(0, initial=0.0))
    # Crowds and difficult objects explain nothing: what lies on them does not count already.
    usable = np.where(pair.truth.ignore, -1.0, iou)
    same = pair.detections.labels[:, None] == pair.truth.labels
    own, other = np.where(same, usable, -1.0), np.where(same, -1.0, usable)
    best_own, best_other = own.max(1), other.max(1)
    values = usable.max(1).clip(0)
    rules = (  # the last that holds wins
        (BOTH, best_other >= background, other),
        (LOCALIZATION, best_own >= background, own),
        (CLASS, best_other >= foreground, other),
        (DUPLICATE, best_own >= min(foreground, 1 - 1e-10), own),
    )
    for kind, holds, table in rules:
        kinds[holds] = kind
        objects[holds] = table.argmax(1)[holds]
        values[holds] = table.max(1)[holds]
    nearest = np.where(iou.max(1) > 0, iou.argmax(1), -1)
    return _Explained(kinds, objects, values, nearest, iou.max(0))


@dataclass(frozen=True)
class Costs:
    """AP at the foreground overlap, in [0, 1], and what it would be with one kind of error mended. NaN without objects."""

    ap: np.ndarray  # (C,)
    mended: dict[str, np.ndarray]  # kind -> (C,)

    @property
    def total(self) -> float:
        """AP over the classes with objects."""
        return mean_of_known(self.ap)

    def gain(self, kind: str) -> float:
        """Returns the AP that an error kind costs."""
        return mean_of_known(self.mended[kind]) - self.total


def error_costs(errors: Errors, size: str | None = None) -> Costs:
    """Returns the AP each kind of error costs: one kind is mended, the rest left, AP measured again.

    Class and localization errors become right, unless their object was found already or a better one of them takes it;
    then, as duplicates, background and what is wrong in both ways, they are taken out. "missed" takes objects out that
    nothing found and to which no class or localization error belongs; a class that loses all of its objects so counts no
    longer, as the benchmarks have it.

    Args:
        size: "small", "medium" or "large": of these objects alone; None of all.
    """
    matches = errors.matches if size is None else errors.by_size[size]
    labels, right, counted, objects = matches.labels, matches.right, matches.counted, matches.objects
    recalls = BENCHMARKS[matches.kind].recalls

    def ap(labels: np.ndarray, right: np.ndarray, counted: np.ndarray, objects: np.ndarray) -> np.ndarray:
        return average_precision(labels, matches.scores, right, counted, objects, recalls)[0]

    mended = {}
    for kind, name in enumerate(KINDS[1:6], start=1):
        new_labels, new_right, new_counted = labels.copy(), right.copy(), counted.copy()
        rows = np.flatnonzero(errors.kinds == kind)
        new_counted[0, rows] = False
        if kind in (CLASS, LOCALIZATION):
            rows = _takers(errors, rows, matches)
            new_labels[rows] = matches.truth_labels[errors.objects[rows]]
            new_right[0, rows] = new_counted[0, rows] = True
        mended[name] = ap(new_labels, new_right, new_counted, objects)
    covered = np.zeros(len(matches.truth_labels), dtype=bool)
    covered[errors.objects[np.isin(errors.kinds, (CLASS, LOCALIZATION))]] = True
    gone = errors.missed & ~covered & ~matches.ignored
    fewer = objects - np.bincount(matches.truth_labels[gone], minlength=len(objects))
    mended["missed"] = ap(labels, right, counted, fewer)
    return Costs(ap(labels, right, counted, objects), mended)


def _takers(errors: Errors, rows: np.ndarray, matches: Matches) -> np.ndarray:
    """Returns those of ``rows`` that take their object once mended: it is free and counts, and they are its best."""
    concerned = errors.objects[rows]
    rows = rows[(errors.found_by[concerned] < 0) & ~matches.ignored[concerned]]
    rows = rows[np.argsort(-matches.scores[rows], kind="stable")]
    return rows[np.sort(np.unique(errors.objects[rows], return_index=True)[1])]


def disagreements(first: Errors, second: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of objects that only ``first`` found, and of those that only ``second`` did.

    Raises:
        ValueError: errors on different images.
    """
    if [pair.image_id for pair in first.pairs] != [pair.image_id for pair in second.pairs]:
        raise ValueError("two runs can only be compared on the same images, in the same order")
    counts = ~(first.matches.ignored | second.matches.ignored)
    return np.flatnonzero(second.missed & ~first.missed & counts), np.flatnonzero(first.missed & ~second.missed & counts)
