from __future__ import annotations

import pytest
from made_sources import made_source

from rtmdet_lab.browse.dataset import put
from rtmdet_lab.browse.saved_views import open_view
from rtmdet_lab.core.errors import UnknownNameError

pytestmark = pytest.mark.usefixtures("database")


def made(folder, *runs: str, kind: str = "bbox"):
    sources = [made_source(folder, run, kind) for run in runs]
    for rows in sources[-1].rows[:1]:
        rows.missed[:] = [
            True,
            False,
        ]  # the last run found what the others missed on the first image, and the other way round
    return put(sources, f"views {folder}")[0]


def shown(view, field: str) -> list[list[tuple]]:
    """Returns (label, error or size) of what a view shows, by image in its order."""
    values = [sample[field] for sample in view]
    lists = [value.polylines if "polylines" in value else value.detections for value in values]
    return [[(one.label, one["error"] if one.has_field("error") else one["size"]) for one in each] for each in lists]


def test_each_view_shows_what_it_says(tmp_path):
    dataset = made(tmp_path, "k5")
    assert dataset.list_saved_views() == [
        "all images",
        "k5: worst images",
        "k5: confident mistakes",
        "k5: missed large objects",
        "k5: class confusions",
        "k5: duplicates",
    ]
    worst = open_view(dataset, "worst images")
    assert worst.values("image_id")[-1] == "image 2"  # two missed and nothing wrong: 2.0; the others 1 + 0.8 + 0.6
    assert worst.values("k5_mistakes") == sorted(worst.values("k5_mistakes"), reverse=True)
    mistakes = open_view(dataset, "k5: confident mistakes")
    assert shown(mistakes, "k5") == [[("cat", "duplicate"), ("cat", "background")]] * 2
    assert shown(open_view(dataset, "duplicates"), "k5") == [[("cat", "duplicate")]] * 2
    assert len(open_view(dataset, "class confusions")) == 0
    assert shown(open_view(dataset, "missed large objects"), "ground_truth") == [[("dog", "large")]] * 2


def test_poor_masks_are_found_objects_whose_outlines_do_not_fit(tmp_path):
    view = open_view(made(tmp_path, "k5", kind="segm"), "poor masks")
    assert shown(view, "k5") == [[("cat", "true positive")]] * (1 + 1)


def test_right_position_and_wrong_angle(tmp_path):
    view = open_view(made(tmp_path, "k5", kind="rotated"), "right position, wrong angle")
    assert shown(view, "k5") == [[("cat", "duplicate")]] * 2


def test_two_runs_disagree_where_only_one_found_an_object(tmp_path):
    dataset = made(tmp_path, "k5", "k7")
    assert shown(open_view(dataset, "k5 found, k7 missed"), "ground_truth") == [[("cat", "small")]]
    assert shown(open_view(dataset, "k7 found, k5 missed"), "ground_truth") == [[("dog", "large")]]


def test_views_of_one_run_leave_out_the_others(tmp_path):
    dataset = made(tmp_path, "k5", "k7", "k9")
    runs = {"k5", "k7", "k9"}
    for name in dataset.list_saved_views()[1:]:
        kept = runs & set(dataset.load_saved_view(name).get_field_schema())
        assert kept == ({name.split(":")[0]} if ":" in name else {name[:2], name.split(", ")[1][:2]}), name
        assert {"ground_truth", "image_id"} <= set(dataset.load_saved_view(name).get_field_schema())


def test_detections_of_low_score_do_not_hide_missed_objects(tmp_path):
    dataset = made(tmp_path, "k5", "k7")
    for sample in dataset:
        for number, one in enumerate(sample["k5"].detections):
            one.confidence = 0.29 if number else 0.3
        sample.save()
    whole = [len(sample["k5"].detections) for sample in dataset]
    assert max(whole) > 1
    for name in ("k5: worst images", "k5: missed large objects", "k5 found, k7 missed", "k7 found, k5 missed"):
        view = dataset.load_saved_view(name)
        assert len(view) > 0
        assert all(len(sample["k5"].detections) == min(whole[int(sample["image_id"][-1])], 1) for sample in view), name


def test_a_view_is_opened_by_its_short_name_unless_two_runs_have_it(tmp_path):
    dataset = made(tmp_path, "k5", "k7")
    with pytest.raises(UnknownNameError, match="ambiguous: there are 'k5: duplicates', 'k7: duplicates'"):
        open_view(dataset, "duplicates")
    assert len(open_view(dataset, "k7: duplicates")) == 2
    with pytest.raises(UnknownNameError, match="did you mean 'k7: duplicates'"):
        open_view(dataset, "k7: duplicate")
