"""The label issues of one run as a saved view: each with what the detector would have instead, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rtmdet_lab.analysis.label_issues import LabelIssue
from rtmdet_lab.browse.dataset import INFO, field_of, label_key
from rtmdet_lab.browse.labels import label_id
from rtmdet_lab.browse.saved_views import TRUTH
from rtmdet_lab.browse.source import Source

NAME = "label issues"
EARLIER_NAME = "annotations in doubt"  # what data sets of earlier versions call the view
MOST = 300  # label issues in the view: more than anybody looks through


def save_label_issues(dataset: Any, source: Source, issues: Sequence[LabelIssue]) -> str | None:
    """Saves a run's label issues as a view, the most suspicious images first, and returns its name; None without any.

    Args:
        dataset: with the run in it, see :func:`~rtmdet_lab.browse.dataset.put`.
        issues: of :func:`~rtmdet_lab.analysis.label_issues.find_label_issues`, from the pairs of ``source``.
    """
    field = field_of(dataset, source)
    name = f"{field}: {NAME}"
    outdated = [f"{field}: {EARLIER_NAME}"] if issues else [f"{field}: {EARLIER_NAME}", name]  # annotations were mended
    for view in set(outdated) & set(dataset.list_saved_views()):
        dataset.delete_saved_view(view)
    if not issues:
        return None
    ids: list[str] = []
    images: dict[str, None] = {}
    for one in issues[:MOST]:
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
