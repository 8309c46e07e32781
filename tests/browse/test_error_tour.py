"""What the notebooks on errors call, without a database: costs of any runs, and corrected annotations."""

from __future__ import annotations

import json

import pytest
from made_sets import annotation, content, image, write_annotations
from made_sources import write_run

from rtmdet_lab.browse import error_tour


@pytest.fixture
def sources(tmp_path):
    data = tmp_path / "set"
    what = content([image(1), image(2)], [annotation(1, 1), annotation(2, 2)], [{"id": 3, "name": "blob"}])
    write_annotations(data / "annotations.json", what)
    (data / "val").mkdir()
    right = {"image_id": 1, "category_id": 3, "bbox": [8, 8, 32, 16], "score": 0.9}
    runs = [
        write_run(tmp_path / "good", data, [right, right | {"image_id": 2}]),
        write_run(tmp_path / "poor", data, [right]),
    ]
    return error_tour.read_runs([str(run) for run in runs])


def test_costs_and_figures_are_those_of_each_run(sources):
    costs = error_tour.cost_table(sources)
    assert list(costs.index.levels[0]) == ["good", "poor"]
    assert len(costs) == 2 * 4
    assert costs.loc["good", "all"]["AP50"] == 1
    assert costs.loc["poor", "all"]["AP50"] < 0.6 < costs.loc["poor", "all"][["AP50", "missed"]].sum()
    figures = dict(error_tour.cost_figures(sources, costs, ["blob"]))
    assert list(figures) == ["costs_good", "counts_good", "costs_poor", "counts_poor"]


def test_accepted_label_issues_become_new_annotations(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(error_tour, "save_label_issues", lambda dataset, source, issues: None)
    review = error_tour.review_labels(None, sources[1], [0], tmp_path)
    assert review.figure is None
    assert review.corrected == f"1 of {len(review.table)} label issues corrected in {tmp_path / 'corrected.json'}"
    assert len(json.loads((tmp_path / "corrected.json").read_text())["annotations"]) == 1
    assert error_tour.review_labels(None, sources[1], [], tmp_path).corrected == ""
