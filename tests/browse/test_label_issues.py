from __future__ import annotations

import pytest
from made_sources import made_source

from rtmdet_lab.analysis.label_issues import find_label_issues
from rtmdet_lab.browse.dataset import put
from rtmdet_lab.browse.label_issues import save_label_issues
from rtmdet_lab.browse.saved_views import open_view

pytestmark = pytest.mark.usefixtures("database")


def label_issues_of(source):
    return find_label_issues(source.errors)


def labels(sample, field):
    value = sample[field]
    return value.polylines if "polylines" in value else value.detections


@pytest.mark.parametrize("kind", ["bbox", "segm", "rotated"])
def test_view_shows_each_label_issue_and_nothing_else_the_most_suspicious_image_first(kind, tmp_path):
    sources = [made_source(tmp_path, run, kind) for run in ("k5", "k7")]
    dataset, _ = put(sources, f"label issues {tmp_path}")
    issues = label_issues_of(sources[1])
    assert issues
    name = save_label_issues(dataset, sources[1], issues)
    assert name == "k7: label issues"
    view = open_view(dataset, name)
    assert view.values("image_id") == list(dict.fromkeys(one.image_id for one in issues))
    assert "k5" not in view.get_field_schema()
    shown = [
        (sample.image_id, field, label["number"])
        for sample in view
        for field in ("ground_truth", "k7")
        for label in labels(sample, field)
    ]
    truth = [(one.image_id, "ground_truth", one.object) for one in issues if one.object is not None]
    found = [(one.image_id, "k7", one.detection) for one in issues if one.detection is not None]
    assert found
    assert sorted(shown) == sorted({*truth, *found})


def test_view_goes_with_the_last_label_issue(tmp_path):
    source = made_source(tmp_path)
    dataset, _ = put([source], f"label issues {tmp_path}")
    dataset.save_view("k5: annotations in doubt", dataset.view())  # of an earlier version
    name = save_label_issues(dataset, source, label_issues_of(source))
    assert name in dataset.list_saved_views()
    assert "k5: annotations in doubt" not in dataset.list_saved_views()
    assert save_label_issues(dataset, source, []) is None
    assert name not in dataset.list_saved_views()
