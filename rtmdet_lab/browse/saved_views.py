"""Ready-made questions to a data set, saved in it: each opens with one click in the App and with one call here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rtmdet_lab.browse.labels import list_name
from rtmdet_lab.browse.match_results import KIND

TRUTH = "ground_truth"
ALL = "all images"  # the view the App opens with
SHOWN = 0.3  # least score of detections that illustrate: hundreds of lower ones would hide the image
CONFIDENT = 0.5  # least score of a confident mistake
POOR_MASK = 0.5  # most boundary IoU of a poor mask
NEAR = 0.1  # most distance of a right position, of the box's size
TURNED = 0.17  # least difference of a wrong angle: 10 degrees, in radians

View = Any


def save_views(dataset: Any, runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Saves all views of the runs, replacing earlier ones of the same names, and returns the names."""
    names = []
    for name, description, view in _views(dataset, runs):
        dataset.save_view(name, view, description=description, overwrite=True)
        names.append(name)
    return names


def open_view(dataset: Any, name: str) -> View:
    """Returns a saved view; of several runs', ``name`` may leave out the run where that is the only one."""
    from rtmdet_lab.core.errors import UnknownNameError, did_you_mean

    known = dataset.list_saved_views()
    fitting = [one for one in known if one == name or one.endswith(f": {name}")]
    if len(fitting) == 1:
        return dataset.load_saved_view(fitting[0])
    if fitting:
        raise UnknownNameError(f"{name!r} is ambiguous: there are {', '.join(map(repr, fitting))}")
    hint = f"{did_you_mean(name, known)} there are {', '.join(map(repr, known))}".lstrip()
    raise UnknownNameError(f"no view {name!r}: {hint}")


def _views(dataset: Any, runs: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, View]]:
    """Yields (name, description, view)."""
    from fiftyone import ViewField

    yield ALL, f"Everything, detections of {SHOWN} and more.", _plain(dataset.view(), *runs)
    for field, run in runs.items():
        others = [one for one in runs if one != field]
        for name, told, view in _of_run(dataset, field, run["kind"], ViewField):
            yield f"{field}: {name}", told, view.exclude_fields(others) if others else view
    for first, second in itertools.permutations(runs, 2):
        only = (ViewField(f"missed_{second}") == True) & (ViewField(f"missed_{first}") == False)  # noqa: E712
        view = _plain(_most(dataset.filter_labels(TRUTH, only), TRUTH, runs, first), first, second)
        others = [one for one in runs if one not in (first, second)]
        told = f"Objects that only one of the two runs found; detections of {SHOWN} and more."
        yield f"{first} found, {second} missed", told, view.exclude_fields(others) if others else view


def _of_run(dataset: Any, field: str, kind: str, value: Callable[[str], Any]) -> Iterator[tuple[str, str, View]]:
    rotated = kind == "rotated"
    labels = f"{field}.{list_name(rotated)}"

    def wrong(condition: Any) -> View:
        found = dataset.filter_labels(field, condition)
        return found.sort_by(value(labels).map(value("confidence")).max(), reverse=True)

    mistaken = value(KIND).is_in(["class", "localization", "class and localization", "duplicate", "background"])
    worst = dataset.match(value(f"{field}_mistakes") > 0).sort_by(f"{field}_mistakes", reverse=True)
    told = f"Most objects missed and most score in wrong detections first; detections of {SHOWN} and more."
    yield "worst images", told, _plain(worst, field)
    confident = mistaken & (value("confidence") >= CONFIDENT)
    yield "confident mistakes", f"Wrong detections with a score of {CONFIDENT} or more, the surest first.", wrong(confident)
    large = (value(f"missed_{field}") == True) & (value("size") == "large")  # noqa: E712
    missed = _most(dataset.filter_labels(TRUTH, large), TRUTH, {field: {"kind": kind}}, field)
    told = f"Objects of 96 x 96 pixels or more that nothing found; detections of {SHOWN} and more."
    yield "missed large objects", told, _plain(missed, field)
    confused = value(KIND).is_in(["class", "class and localization"])
    yield "class confusions", "On an object, but of another class.", wrong(confused)
    yield "duplicates", "On an object that a better detection found already.", wrong(value(KIND) == "duplicate")
    found = value(KIND) == "true positive"
    if kind == "segm":
        poor = dataset.filter_labels(field, found & (value("boundary_iou") < POOR_MASK))
        poor = poor.sort_by(value(labels).map(value("boundary_iou")).min())
        yield "poor masks", f"Found, but with a boundary IoU under {POOR_MASK}.", poor
    if rotated:
        turned = (value("offset") <= NEAR) & (value("angle_error") >= TURNED)
        yield "right position, wrong angle", "Centered on the object, turned by 10 degrees or more.", wrong(turned)


def _plain(view: View, *fields: str) -> View:
    """Returns a view of the same images without the detections of ``fields`` that have a low score."""
    from fiftyone import ViewField

    for field in fields:
        view = view.filter_labels(field, ViewField("confidence") >= SHOWN, only_matches=False)
    return view


def _most(view: View, field: str, runs: Mapping[str, Mapping[str, Any]], run: str) -> View:
    """Returns a view with the images with most labels of a field first."""
    from fiftyone import ViewField

    return view.sort_by(ViewField(f"{field}.{list_name(runs[run]['kind'] == 'rotated')}").length(), reverse=True)
