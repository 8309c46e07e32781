"""The numbers of image classification: whether the true class is the best guess (top-1) or among the five best (top-5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtmdet_lab.core.structures import Detections, Targets

State = dict[Any, tuple[int, list[tuple[int, float]]]]


class TopKEvaluator:
    """Collects labels and scores image by image.

    Args:
        classes: names in label order.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self.images: State = {}  # by image: the true label, and (label, score) of the guesses, best first

    def add(self, detections: Sequence[Detections], targets: Sequence[Targets]) -> None:
        """Adds the images of one batch, one true label each. An image counts once."""
        for guesses, truth in zip(detections, targets, strict=True):
            name = truth.meta.image_id if truth.meta is not None else None
            key = ("number", len(self.images)) if name is None else name
            pairs = list(zip(guesses.labels.tolist(), guesses.scores.tolist(), strict=True))
            self.images.setdefault(key, (int(truth.labels[0]), pairs))

    def state(self) -> State:
        """Returns what was collected, to be gathered from several processes."""
        return self.images

    def merge(self, states: Sequence[State]) -> None:
        """Takes the union of several processes' states; an image that two processes saw counts once."""
        self.images = {key: value for state in states for key, value in state.items()}

    def __len__(self) -> int:
        return len(self.images)

    def summary(self) -> dict[str, float]:
        """Returns the shares of images, in [0, 1], whose class is the best guess and among the five best."""
        ranks = self._ranks()
        return {f"top{k}": float((ranks < k).mean()) if len(ranks) else -1.0 for k in (1, 5)}

    def metrics(self) -> dict[str, float]:
        """Returns what a record keeps: the summary."""
        return self.summary()

    def scores(self) -> dict[str, dict[str, float]]:
        """Returns the numbers by what was scored: ``{"labels": {"top1": ..., "top5": ...}}``."""
        return {"labels": self.summary()}

    def per_class(self) -> list[dict[str, Any]]:
        """Returns one row per class: name, top1, top5 and the number of images; NaN for a class without images."""
        ranks, truth = self._ranks(), self._truth()
        rows = []
        for label, name in enumerate(self.classes):
            own = ranks[truth == label]
            shares = {f"top{k}": float((own < k).mean()) if len(own) else float("nan") for k in (1, 5)}
            rows.append({"class": name, **shares, "images": len(own)})
        return rows

    def precision_recall(self, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
        """Returns recall (101,) and precision (101, C) of each class, its score being its guess; NaN without images."""
        recalls, truth = np.linspace(0, 1, 101), self._truth()
        precision = np.full((len(recalls), len(self.classes)), np.nan)
        for label in range(len(self.classes)):
            total = int((truth == label).sum())
            if not total:
                continue
            guesses = [dict(pairs).get(label, 0.0) for _, pairs in self.images.values()]
            right = np.cumsum((truth == label)[np.argsort(-np.array(guesses), kind="stable")])
            best = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
            at = np.searchsorted(right / total, recalls, side="left")
            precision[:, label] = best[np.minimum(at, len(best) - 1)]
        return recalls, precision

    def recall_by_image(self, iou: float = 0.5) -> list[tuple[int, float]]:
        """Returns (number of the image, 1 where its class is the best guess, else 0), wrong ones first."""
        hits = (self._ranks() == 0).astype(float)
        return [(int(number), float(hits[number])) for number in np.argsort(hits, kind="stable")]

    def file_results(self, category_ids: Sequence[int | None] = ()) -> list[dict[str, Any]]:
        """Returns the guesses as they go into a file, classes by name."""
        return [
            {"image_id": key, "class": self.classes[label], "score": score}
            for key, (_, pairs) in self.images.items()
            for label, score in pairs
        ]

    def _truth(self) -> np.ndarray:
        return np.array([truth for truth, _ in self.images.values()], dtype=np.int64)

    def _ranks(self) -> np.ndarray:
        """Returns the place of each image's class among its guesses, from 0; past all where it is none of them."""
        ranks = []
        for truth, pairs in self.images.values():
            labels = [label for label, _ in pairs]
            ranks.append(labels.index(truth) if truth in labels else len(self.classes) + 5)
        return np.array(ranks, dtype=np.int64)
