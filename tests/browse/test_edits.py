"""What is changed in the App comes back as corrections: moved, renamed, deleted, drawn, tagged."""

from __future__ import annotations

import json

import pytest
from made_sources import made_source

from rtmdet_lab.browse.dataset import put
from rtmdet_lab.browse.edits import ADD, REMOVE, corrections_of, write_edits
from rtmdet_lab.core.errors import DataError

pytestmark = pytest.mark.usefixtures("database")


def numbered(source):
    """Gives the objects ids, as files have them, and writes the file."""
    annotations = []
    for image, pair in enumerate(source.pairs):
        pair.truth.ids = [100 + 10 * image, 101 + 10 * image]
        for row, box in enumerate(pair.truth.boxes[:, :4].tolist()):
            entry = {"id": pair.truth.ids[row], "image_id": pair.image_id, "category_id": row + 1, "bbox": box}
            annotations.append({**entry, "area": 1.0, "iscrowd": 0})
    images = [{"id": pair.image_id, "height": 60, "width": 80} for pair in source.pairs]
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    source.truth.write_text(json.dumps(content))
    return source


@pytest.fixture
def name(tmp_path):
    import fiftyone

    chosen = f"edits {tmp_path.name}"
    yield chosen
    if fiftyone.dataset_exists(chosen):
        fiftyone.delete_dataset(chosen)


def edit(dataset, image: int) -> None:
    """Does on one image what the App lets a user do."""
    import fiftyone

    sample = dataset.match({"image_id": f"image {image}"}).first()
    first, second = sample.ground_truth.detections
    first.label = "dog"
    second.bounding_box = [0.5, 0.5, 0.25, 0.25]
    sample.ground_truth.detections.append(fiftyone.Detection(label="cat", bounding_box=[0, 0, 0.1, 0.1]))
    sample.k5.detections[2].tags.append(ADD)
    sample.save()


def test_nothing_changed_is_nothing_to_correct(tmp_path, name):
    source = numbered(made_source(tmp_path))
    dataset, _ = put([source], name)
    assert corrections_of(dataset, [source]) == []
    path, count = write_edits(dataset, [source], tmp_path / "corrected.json")
    assert (json.loads(path.read_text()), count) == (json.loads(source.truth.read_text()), 0)


def test_edits_and_tags_become_a_corrected_file(tmp_path, name):
    source = numbered(made_source(tmp_path))
    dataset, _ = put([source], name)
    edit(dataset, 0)
    other = dataset.match({"image_id": "image 1"}).first()
    other.ground_truth.detections.pop(0)
    other.ground_truth.detections[0].tags.append(REMOVE)
    other.save()
    dataset, _ = put([source], name)  # put again in between: edits stay
    path, count = write_edits(dataset, [source], tmp_path / "corrected.json")
    assert count == 6
    content = json.loads(path.read_text())
    rows = {one["id"]: one for one in content["annotations"]}
    assert rows[100]["category_id"] == 2
    assert rows[100]["bbox"] == [20, 20, 16, 8]
    assert rows[101]["bbox"] == pytest.approx([40, 30, 20, 15])
    assert {110, 111}.isdisjoint(rows)
    new = [one for one in content["annotations"] if one["id"] > 121]
    assert [one["bbox"] for one in new] == [pytest.approx([0, 0, 8, 6]), pytest.approx([2, 40, 10, 10])]
    assert [one["category_id"] for one in new] == [1, 1]
    assert all(one["image_id"] == "image 0" for one in new)


def test_rotated_objects_come_back_as_corners(tmp_path, name):
    source = made_source(tmp_path, kind="rotated")
    labels = tmp_path / "labels"
    labels.mkdir()
    for pair in source.pairs:
        pair.image_id = pair.image_id.replace(" ", "")
        pair.truth.ids = [1, 2]
        (labels / f"{pair.image_id}.txt").write_text("0 0 9 0 9 9 0 9 cat 0\n1 1 9 1 9 9 1 9 dog 0\n")
    source.truth = labels
    dataset, _ = put([source], name)
    sample = dataset.match({"image_id": "image0"}).first()
    sample.ground_truth.polylines[1].points = [[[0.5, 0.5], [0.75, 0.5], [0.75, 0.75], [0.6, 0.76], [0.5, 0.75]]]
    sample.ground_truth.polylines[0].label = "dog"
    sample.save()
    out, count = write_edits(dataset, [source], tmp_path / "out")
    assert count == 2
    first, second, _ = (out / "image0.txt").read_text().split("\n")
    assert first == "0 0 9 0 9 9 0 9 dog 0"
    corners = [float(value) for value in second.split()[:8]]
    assert second.endswith(" dog 0")
    assert (min(corners[::2]), max(corners[::2])) == pytest.approx((40, 60), abs=0.6)
    assert (out / "image1.txt").read_text() == (labels / "image1.txt").read_text()


def test_edits_are_never_written_over_the_annotations(tmp_path, name):
    source = numbered(made_source(tmp_path))
    dataset, _ = put([source], name)
    with pytest.raises(DataError, match="another place"):
        write_edits(dataset, [source], source.truth)
