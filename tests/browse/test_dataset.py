from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from made_sources import CLASSES, SIZE, made_source

from rtmdet_lab.browse.dataset import put
from rtmdet_lab.core.errors import DataError

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def name(request, tmp_path):
    """A data set name of the test's own, deleted afterwards."""
    import fiftyone

    chosen = f"{request.node.name[:60]} {tmp_path.name}"
    yield chosen
    if fiftyone.dataset_exists(chosen):
        fiftyone.delete_dataset(chosen)


def labels(dataset, field: str) -> list:
    """Returns the labels of each image, as FiftyOne reads them."""
    values = [sample[field] for sample in dataset.sort_by("image_id")]
    return [value.polylines if "polylines" in value else value.detections for value in values]


def counts(dataset) -> tuple:
    return len(dataset), [len(one) for one in labels(dataset, "ground_truth")], [len(one) for one in labels(dataset, "k5")]


def test_boxes_lie_where_they_were_with_what_the_matching_said(tmp_path, name):
    dataset, notes = put([made_source(tmp_path)], name)
    assert notes == []
    assert dataset.persistent
    assert counts(dataset) == (3, [2, 2, 2], [3, 3, 0])
    first = dataset.match({"image_id": "image 0"}).first()
    assert Path(first.filepath) == (tmp_path / "images" / "0.png").resolve()
    assert (first.metadata.height, first.metadata.width) == SIZE
    box = first.k5.detections[0]
    np.testing.assert_allclose(box.bounding_box, [20 / 80, 20 / 60, 16 / 80, 8 / 60])
    assert (box.label, box.confidence, box.error, box.iou, box.tags) == ("cat", 0.9, "true positive", 1.0, ["true positive"])
    assert not first.k5.detections[2].has_field("iou")
    truth = first.ground_truth.detections
    assert [one.label for one in truth] == list(CLASSES)
    assert [one.missed_k5 for one in truth] == [False, True]
    assert [one.tags for one in truth] == [[], ["missed by k5"]]
    assert (truth[1].size, truth[1].truncated) == ("large", True)
    assert (first.k5_missed, first.k5_wrong) == (1, 2)
    assert first.k5_mistakes == pytest.approx(1 + 0.8 + 0.6)
    last = dataset.match({"image_id": "image 2"}).first()
    assert (last.k5_missed, last.k5_mistakes) == (2, 2.0)


def test_masks_are_cropped_to_their_box(tmp_path, name):
    dataset, _ = put([made_source(tmp_path, kind="segm")], name)
    for label in (labels(dataset, "ground_truth")[0][0], labels(dataset, "k5")[0][0]):
        assert label.mask.shape == (8, 16)
        assert label.mask.dtype == bool
        wanted = np.ones((8, 16), bool)
        wanted[:4, :8] = False
        np.testing.assert_array_equal(label.mask, wanted)


def test_rotated_boxes_are_filled_closed_outlines_on_their_corners(tmp_path, name):
    dataset, _ = put([made_source(tmp_path, kind="rotated")], name)
    outline = labels(dataset, "ground_truth")[0][0]
    assert outline.closed
    assert outline.filled
    cos, sin = np.cos(0.5), np.sin(0.5)
    corners = [[20 + x * cos - y * sin, 20 + x * sin + y * cos] for x, y in ((-8, -4), (8, -4), (8, 4), (-8, 4))]
    np.testing.assert_allclose(np.array(outline.points[0]) * [80, 60], corners, atol=1e-4)


def test_attributes_are_declared_so_that_the_app_filters_by_them(tmp_path, name):
    dataset, _ = put([made_source(tmp_path)], name)
    schema = dataset.get_field_schema(flat=True)
    for field in (
        "k5.detections.error",
        "k5.detections.iou",
        "ground_truth.detections.size",
        "ground_truth.detections.missed_k5",
    ):
        assert field in schema
    assert dataset.count_values("k5.detections.error") == {"true positive": 2, "duplicate": 2, "background": 2}
    assert dataset.bounds("k5.detections.iou") == (0.88, 1.0)


def test_twice_changes_nothing_and_another_run_adds_a_field(tmp_path, name):
    first, _ = put([made_source(tmp_path)], name)
    ids = first.values("ground_truth.detections.id"), first.values("k5.detections.id"), first.values("id")
    second, _ = put([made_source(tmp_path)], name)
    assert (second.values("ground_truth.detections.id"), second.values("k5.detections.id"), second.values("id")) == ids
    third, _ = put([made_source(tmp_path, "k7"), made_source(tmp_path)], name)
    assert counts(third) == (3, [2, 2, 2], [3, 3, 0])
    assert third.values("k5.detections.id") == ids[1]
    assert [len(one) for one in labels(third, "k7")] == [3, 3, 0]
    assert set(labels(third, "ground_truth")[0][1].tags) == {"missed by k5", "missed by k7"}
    assert len(third.list_saved_views()) == len(set(third.list_saved_views()))


def test_runs_of_the_same_name_get_fields_of_their_own(tmp_path, name):
    one = made_source(tmp_path, "first/seed0")
    two = made_source(tmp_path, "second/seed0")
    one.name = two.name = "seed0"
    dataset, _ = put([one, two], name)
    again, _ = put([two, one], name)
    assert set(again.info["rtmdet_lab"]["runs"]) == {"seed0", "second_seed0"}
    assert again.info["rtmdet_lab"]["runs"] == dataset.info["rtmdet_lab"]["runs"]


def test_edits_and_tags_stay_while_the_files_are_the_same(tmp_path, name):
    dataset, _ = put([made_source(tmp_path)], name)
    sample = dataset.match({"image_id": "image 0"}).first()
    sample.ground_truth.detections[0].label = "dog"
    sample.ground_truth.detections[0].bounding_box = [0.1, 0.1, 0.2, 0.2]
    sample.ground_truth.detections.pop(1)
    sample.k5.detections[2].tags.append("add")
    sample.save()
    again, _ = put([made_source(tmp_path)], name)
    sample = again.match({"image_id": "image 0"}).first()
    assert [one.label for one in sample.ground_truth.detections] == ["dog"]
    assert sample.ground_truth.detections[0].bounding_box == [0.1, 0.1, 0.2, 0.2]
    assert sample.k5.detections[2].tags == ["add", "background"]
    # Other annotations, other labels: said, and the edits are gone.
    (tmp_path / "annotations.json").write_text('{"changed": 1}')
    again, notes = put([made_source(tmp_path)], name)
    assert len(notes) == 1
    assert "has changed" in notes[0]
    assert [one.label for one in labels(again, "ground_truth")[0]] == ["cat", "dog"]
    assert put([made_source(tmp_path)], name)[1] == []


def test_name_taken_by_other_data_is_refused(tmp_path, name):
    import fiftyone

    put([made_source(tmp_path / "one")], name)
    with pytest.raises(DataError, match=r"already has a data set .*annotations\.json.* --name"):
        put([made_source(tmp_path / "two")], name)
    fiftyone.delete_dataset(name)
    foreign = fiftyone.Dataset(name)
    foreign.add_sample(fiftyone.Sample(filepath="/a.png"))
    with pytest.raises(DataError, match="was not made here"):
        put([made_source(tmp_path / "one")], name)
    assert len(foreign) == 1


def test_runs_on_different_annotations_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="browse them one by one"):
        put([made_source(tmp_path / "one"), made_source(tmp_path / "two", "k7")], name)


def test_missing_images_are_named_and_the_rest_is_shown(tmp_path, name):
    source = made_source(tmp_path)
    Path(source.pairs[1].path).unlink()
    dataset, notes = put([source], name)
    assert len(dataset) == 2
    assert len(notes) == 1
    assert notes[0].startswith("1 images are not where they should be")
    assert notes[0].endswith("1.png")
    for pair in source.pairs:
        pair.path = None
    with pytest.raises(DataError, match="none of the 3 images"):
        put([source], f"{name} none")


def test_progress_counts_the_images_of_all_runs(tmp_path, name, monkeypatch):
    monkeypatch.setattr("rtmdet_lab.browse.dataset.BATCH", 2)
    told = []
    put([made_source(tmp_path), made_source(tmp_path, "k7")], name, lambda done, total: told.append((done, total)))
    assert told == [(2, 6), (3, 6), (5, 6), (6, 6)]


@pytest.mark.slow
def test_two_at_once_make_one_data_set(tmp_path, name, database):
    made_source(tmp_path, count=40)
    code = (
        "import sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1] / 'support')!r})\n"
        "from made_sources import made_source\nfrom rtmdet_lab.browse.dataset import put\n"
        "folder, run, name = sys.argv[1:]\n"
        "put([made_source(Path(folder), run, count=40)], name)\n"
    )
    environment = os.environ | {"FIFTYONE_DATABASE_URI": database}
    both = []
    for run in ("k5", "k7"):
        with (tmp_path / f"{run}.txt").open("w") as out:
            command = [sys.executable, "-c", code, str(tmp_path), run, name]
            both.append((run, subprocess.Popen(command, env=environment, stdout=out, stderr=out)))
    for run, process in both:
        assert process.wait(180) == 0, (tmp_path / f"{run}.txt").read_text()
    import fiftyone

    dataset = fiftyone.load_dataset(name)
    size, objects, found = counts(dataset)
    assert (size, objects, sorted(found)) == (40, [2] * 40, [0] + [3] * 39)
    assert set(dataset.info["rtmdet_lab"]["runs"]) == {"k5", "k7"}


@pytest.mark.parametrize("kind", ["segm", "rotated"])
def test_what_is_filled_lets_the_image_through(tmp_path, name, kind):
    dataset, _ = put([made_source(tmp_path, "k5", kind)], name)
    assert 0 < dataset.app_config.color_scheme.opacity < 0.5


def test_masks_let_the_image_through_where_the_set_was_first_opened_with_boxes(tmp_path, name):
    put([made_source(tmp_path, "k5")], name)
    dataset, _ = put([made_source(tmp_path, "k7", "segm")], name)
    assert 0 < dataset.app_config.color_scheme.opacity < 0.5


def test_runs_have_colors_of_their_own_and_those_a_user_chose_stay(tmp_path, name):
    def colors(dataset) -> dict[str, str]:
        dataset.reload()
        return {one["path"]: one["fieldColor"] for one in dataset.app_config.color_scheme.fields}

    dataset, _ = put([made_source(tmp_path, "k5"), made_source(tmp_path, "k7")], name)
    first = colors(dataset)
    assert dataset.app_config.color_scheme.opacity == 1
    assert list(first) == ["ground_truth", "k5", "k7"]
    assert len(set(first.values())) == 3
    dataset.app_config.color_scheme.fields[1]["fieldColor"] = "#123456"
    dataset.app_config.color_scheme.opacity = 0.9
    dataset.save()
    dataset, _ = put([made_source(tmp_path, "k9")], name)
    later = colors(dataset)
    assert list(later) == ["ground_truth", "k5", "k7", "k9"]
    assert later["k5"] == "#123456"
    assert dataset.app_config.color_scheme.opacity == 0.9
