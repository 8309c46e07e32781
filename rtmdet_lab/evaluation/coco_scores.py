"""Two engines for COCO's numbers: hotcoco, and pycocotools, whose numbers it repeats at a fraction of the time.

pycocotools is the reference and takes what hotcoco cannot. Matches are told by :mod:`rtmdet_lab.evaluation.matching`, which
takes what :func:`coco_pairs` returns.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from rtmdet_lab.evaluation.matching import ImagePair, Kind, Objects

# By kind. Masks are sized by their pixels: of a result that has a box, too, pycocotools would take the box's area.
_UNREAD = {"bbox": "segmentation", "segm": "bbox"}


@dataclass
class Scores:
    """What is read of a finished evaluation, under pycocotools' names; -1 where there is nothing to find."""

    eval: dict[str, np.ndarray]  # "precision" (T, R, K, A, M), "recall" (T, K, A, M)
    params: Any  # iouThrs (T,), recThrs (R,), catIds (K)

    @property
    def stats(self) -> np.ndarray:
        """The 12 numbers, in the order of ``METRICS``."""
        precision, recall = self.eval["precision"], self.eval["recall"]
        last = precision.shape[-1] - 1
        at = [int(np.argmin(np.abs(np.asarray(self.params.iouThrs) - value))) for value in (0.5, 0.75)]
        parts = [precision[..., 0, last], *(precision[one, ..., 0, last] for one in at)]
        parts += [precision[..., area, last] for area in (1, 2, 3)]
        parts += [recall[..., 0, number] for number in range(3)]
        parts += [recall[..., area, last] for area in (1, 2, 3)]
        return np.array([part[part > -1].mean() if (part > -1).any() else -1.0 for part in parts])


def score_coco(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: str, engine: str | None = None) -> Any:
    """Returns the scores of COCO results: :class:`Scores`, or pycocotools' own object, which has the same.

    Args:
        engine: "hotcoco", "pycocotools", or None for the faster one that is there and can take the data.
    """
    if engine is None:
        usable = importlib.util.find_spec("hotcoco") is not None and _is_plain(truth)
        engine = "hotcoco" if usable else "pycocotools"
    return _run_hotcoco(truth, results, kind) if engine == "hotcoco" else run_coco_eval(truth, results, kind)


def _is_plain(truth: Mapping[str, Any]) -> bool:
    """Whether all ids are whole numbers: pycocotools takes any, hotcoco no others."""
    ids = (one["id"] for name in ("images", "categories") for one in truth[name])
    return all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids)


def _run_hotcoco(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: str) -> Scores:
    import hotcoco

    # It leaves what it is given alone, and a copy would take longer than all the rest.
    plain = results if isinstance(results, list) and not any(_UNREAD[kind] in one for one in results) else None
    scored = hotcoco.COCOeval(*_truth_and_found(hotcoco.COCO, truth, plain or _copied(results, kind)), kind)
    scored.evaluate()
    scored.accumulate()
    return Scores({name: np.asarray(scored.eval[name]) for name in ("precision", "recall")}, scored.params)


def _truth_and_found(
    make: Callable[[Mapping[str, Any]], Any], truth: Mapping[str, Any], results: list[Mapping[str, Any]]
) -> tuple[Any, Any]:
    """Returns both sides as a library wants them; ``make`` builds its data set from a COCO mapping."""
    # pycocotools takes an object with id 0 for "nothing matched", and writes into what it is given: own ids, own copies.
    copies = [{**one, "id": number} for number, one in enumerate(truth["annotations"], start=1)]
    ours = make({**truth, "annotations": copies})
    if not results:  # loadRes takes no empty list
        return ours, make({**truth, "annotations": []})
    return ours, ours.loadRes(results)


def _copied(results: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """Returns the results without what must not be read."""
    return [{key: value for key, value in one.items() if key != _UNREAD[kind]} for one in results]


def run_coco_eval(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: str) -> Any:
    """Returns a pycocotools ``COCOeval``, evaluated, accumulated and summarized without prints."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def make(content: Mapping[str, Any]) -> COCO:
        made = COCO()
        made.dataset = dict(content)
        made.createIndex()
        return made

    with contextlib.redirect_stdout(io.StringIO()):
        scored = COCOeval(*_truth_and_found(make, truth, _copied(results, kind)), kind)
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    return scored


def coco_pairs(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], kind: Kind) -> list[ImagePair]:
    """Returns COCO ground truth and results image by image, in the order of their ids; label i is the i-th category id."""
    label_of = {category: label for label, category in enumerate(sorted(one["id"] for one in truth["categories"]))}
    annotated: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    detected: dict[Any, list[Mapping[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for rows, by_image in ((truth["annotations"], annotated), (results, detected)):
        for row in rows:
            by_image[row["image_id"]].append(row)
    pairs = []
    for image in sorted(truth["images"], key=lambda image: image["id"]):
        size = (image.get("height"), image.get("width"))
        objects = _objects(annotated[image["id"]], label_of, kind, size)
        objects.ignore = np.array([bool(row["iscrowd"]) for row in annotated[image["id"]]], dtype=bool)
        objects.areas = np.array([row["area"] for row in annotated[image["id"]]], dtype=np.float64)
        detections = _objects(detected[image["id"]], label_of, kind, size)
        detections.scores = np.array([row["score"] for row in detected[image["id"]]], dtype=np.float64)
        pairs.append(ImagePair(image["id"], image.get("file_name"), size, objects, detections))
    return pairs


def _objects(rows: Sequence[Mapping[str, Any]], label_of: Mapping[Any, int], kind: Kind, size: tuple[int, int]) -> Objects:
    labels = np.array([label_of[row["category_id"]] for row in rows], dtype=np.int64)
    if kind == "segm":
        masks = [_run_lengths(row["segmentation"], size) for row in rows]
        return Objects(np.asarray(coco_mask.toBbox(masks)).reshape(-1, 4), labels, masks=masks)
    return Objects(np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4), labels)


def _run_lengths(segmentation: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Returns compressed run lengths of a COCO segmentation: polygons, or run lengths, compressed or not."""
    if isinstance(segmentation, Mapping):
        compressed = not isinstance(segmentation["counts"], list)
        return dict(segmentation) if compressed else coco_mask.frPyObjects(segmentation, *size)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
