"""The annotations in doubt of one run as a saved view: each with what the detector would have instead, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtmdet_lab.analysis.label_issues import Doubt
from rtmdet_lab.browse.dataset import INFO, field_of, label_key
from rtmdet_lab.browse.labels import label_id
from rtmdet_lab.browse.saved_views import TRUTH
from rtmdet_lab.browse.source import Source

NAME = "annotations in doubt"
MOST = 300  # doubts in the view: more than anybody looks through


def save_doubts(dataset: Any, source: Source, doubts: Sequence[Doubt]) -> str | None:
    """Saves a run's doubts as a view, the images with the most suspicious first, and returns its name; None without any.

    Args:
        dataset: with the run in it, see :func:`~rtmdet_lab.browse.dataset.put`.
        doubts: of :func:`~rtmdet_lab.analysis.label_issues.find_doubts`, from the pairs of ``source``.
    """
    field = field_of(dataset, source)
    name = f"{field}: {NAME}"
    if not doubts:
        if name in dataset.list_saved_views():  # of annotations that were mended since
            dataset.delete_saved_view(name)
        return None
    ids, images = [], {}
    for one in doubts[:MOST]:
        images[str(one.image_id)] = None
        for place, row in ((TRUTH, one.object), (field, one.detection)):
            if row is not None:
                ids.append(str(label_id(label_key(source, one.image_id, place), row)))
    view = dataset.select_by("image_id", list(images), ordered=True).select_labels(ids=ids, fields=[TRUTH, field])
    others = [run for run in dataset.info[INFO]["runs"] if run != field]
    view = view.exclude_fields(others) if others else view
    told = f"Annotations the run contradicts, and detections on nothing annotated; the {MOST} most suspicious."
    dataset.save_view(name, view, description=told, overwrite=True)
    return name
