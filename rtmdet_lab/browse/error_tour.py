"""What the notebooks on errors show of any runs, one function a cell: costs, pictures of each kind, label issues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from rtmdet_lab.analysis.corrections import write_corrected_coco, write_corrected_labels
from rtmdet_lab.analysis.errors import error_costs
from rtmdet_lab.analysis.label_issues import chosen_label_issues, correction_of, find_label_issues
from rtmdet_lab.browse.gallery import view_field, view_gallery
from rtmdet_lab.browse.label_issues import save_label_issues
from rtmdet_lab.browse.runs import read_run
from rtmdet_lab.browse.saved_views import ALL
from rtmdet_lab.browse.source import Source
from rtmdet_lab.viz.errors import plot_error_costs, plot_error_counts

if TYPE_CHECKING:
    import pandas as pd

SIZES = ("small", "medium", "large")


def read_runs(folders: Sequence[str], images: str = "", annotations: str = "") -> list[Source]:
    """Returns the detections of run folders; ``images`` and ``annotations`` say where the data are now, if elsewhere."""
    places = [Path(place) if place else None for place in (images, annotations)]
    return [read_run(Path(folder), *places) for folder in folders]


def cost_table(sources: Sequence[Source]) -> pd.DataFrame:
    """Returns AP50 and what mending each kind of mistake would add to it, by run and size of objects."""
    import pandas as pd

    rows = {}
    for source in sources:
        for size in (None, *SIZES):
            costs = error_costs(source.errors, size)
            rows[source.name, size or "all"] = {"AP50": costs.total, **{kind: costs.gain(kind) for kind in costs.mended}}
    return pd.DataFrame(rows).T


def cost_figures(sources: Sequence[Source], costs: pd.DataFrame, classes: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """Yields (name, figure) of each run: what its mistakes cost, and how many of each kind it makes by class."""
    for source in sources:
        gains = {size: row.drop("AP50").to_dict() for size, row in costs.loc[source.name].iterrows()}
        yield f"costs_{source.name}", plot_error_costs(gains, f"what mistakes cost: {source.name}")
        yield f"counts_{source.name}", plot_error_counts(source.errors.counts(), classes, source.name)


def view_figures(dataset: Any, most: int = 3) -> Iterator[tuple[str, str, Figure | None]]:
    """Yields (view, name of the figure, figure) of each saved view of a data set; no figure where it has no image."""
    views = [view for view in dataset.list_saved_views() if view != ALL]
    for number, view in enumerate(views):
        shown = dataset.load_saved_view(view)
        figure = view_gallery(shown, view_field(dataset, view), view, most=most) if len(shown) else None
        yield view, f"view_{number}", figure


@dataclass(frozen=True)
class LabelReview:
    """The label issues of a run: the worst as a figure, all as a table, and what was corrected."""

    figure: Figure | None  # None without issues
    table: pd.DataFrame
    corrected: str  # a sentence; empty where nothing was accepted


def review_labels(dataset: Any, source: Source, accept: Sequence[int], folder: Path) -> LabelReview:
    """Saves a run's label issues as a view, and writes the annotations with the accepted ones corrected.

    Args:
        accept: numbers of issues, from 0.
        folder: gets ``corrected.json``, or the folder ``corrected`` where the annotations are label files.
    """
    import pandas as pd

    issues = find_label_issues(source.errors)
    view, sentence = save_label_issues(dataset, source, issues), ""
    figure = view_gallery(dataset.load_saved_view(view), view_field(dataset, view), view) if view else None
    if accept:
        corrections = [correction_of(source.errors, issue) for issue in chosen_label_issues(issues, accept)]
        if source.truth.is_dir():
            written = write_corrected_labels(source.truth, corrections, folder / "corrected")
        else:
            written = write_corrected_coco(source.truth, corrections, folder / "corrected.json")
        sentence = f"{len(accept)} of {len(issues)} label issues corrected in {written}"
    columns = ["kind", "suspicion", "image_id", "annotated", "detected"]
    return LabelReview(figure, pd.DataFrame(issues, columns=columns), sentence)
