"""Generated scenes: what is on the image is what the annotations say, and the same settings give the same bytes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.data.coco_file import read_coco
from rtmdet_lab.synthetic import SCENE_CATEGORY_IDS, SCENE_CLASSES, coco_set, generate_scenes, render_scene
from rtmdet_lab.synthetic.forms import SCENE_FORMS, fill, pose
from rtmdet_lab.synthetic.scenes import _Canvas

# pycocotools 2.0.11 and earlier against NumPy 2; not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = {"train": 4, "val": 2, "size": 96, "progress": False}


@pytest.fixture(scope="module")
def scenes() -> list:
    """150 scenes at the default difficulty, as (pixels, objects)."""
    return [render_scene(seed=3, index=index, size=192) for index in range(150)]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, Path]:
    return generate_scenes(tmp_path_factory.mktemp("scenes") / "set", train=40, val=3, size=160, progress=False)


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def own_mask(annotation: dict, size: int) -> np.ndarray:
    """(size, size) bool, filled by pycocotools from the segmentation alone."""
    segmentation = annotation["segmentation"]
    runs = coco_mask.frPyObjects(segmentation, size, size)
    return coco_mask.decode(coco_mask.merge(runs) if isinstance(runs, list) else runs).astype(bool)


# --- the same bytes -----------------------------------------------------------------------------------------------------


def test_two_runs_and_any_number_of_workers_give_the_same_bytes(tmp_path):
    generate_scenes(tmp_path / "one", **SMALL)
    generate_scenes(tmp_path / "two", **SMALL, workers=2)
    first, second = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert len(first) == 4 + 2 + 2 + 1  # images, two annotation files, the record
    assert first == second


def test_larger_set_begins_with_the_smaller_one(tmp_path):
    few = generate_scenes(tmp_path / "few", **SMALL)
    many = generate_scenes(tmp_path / "many", **SMALL | {"train": 7})
    for path in sorted(few["train_images"].iterdir()):
        assert path.read_bytes() == (many["train_images"] / path.name).read_bytes()
    small, large = (json.loads(paths["train_annotations"].read_bytes()) for paths in (few, many))
    assert large["images"][:4] == small["images"]
    assert large["annotations"][: len(small["annotations"])] == small["annotations"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "val"}, {"index": 1}, {"difficulty": 0.6}])
def test_every_setting_changes_the_image(other):
    assert not np.array_equal(render_scene(size=96)[0], render_scene(**{"size": 96} | other)[0])


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    first = render_scene(size=96)[0]
    assert np.array_equal(before, np.random.get_state()[1])
    np.random.seed(1)
    assert np.array_equal(first, render_scene(size=96)[0])


# --- annotations say what is there --------------------------------------------------------------------------------------


def test_filled_segmentation_has_exactly_the_annotated_area_and_box(written):
    content = json.loads(written["train_annotations"].read_bytes())
    assert len(content["annotations"]) > 100
    for annotation in content["annotations"]:
        mask = own_mask(annotation, 160)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = columns[0], rows[0]
        assert mask.sum() == annotation["area"]
        assert annotation["bbox"] == [x, y, columns[-1] + 1 - x, rows[-1] + 1 - y]


def test_written_masks_are_those_of_the_rendered_objects(written):
    content = json.loads(written["val_annotations"].read_bytes())
    for index in range(3):
        _, objects = render_scene(seed=0, split="val", index=index, size=160)
        annotations = [one for one in content["annotations"] if one["image_id"] == index + 1]
        assert len(annotations) == len(objects)
        for annotation, thing in zip(annotations, objects, strict=True):
            assert annotation["category_id"] == SCENE_CATEGORY_IDS[thing.label]
            x, y, width, height = thing.box
            mask = own_mask(annotation, 160)
            assert np.array_equal(mask[y : y + height, x : x + width], thing.mask)
            assert mask.sum() == thing.mask.sum()


def test_annotated_pixels_are_the_painted_ones():
    rng = np.random.default_rng(0)
    for name, form in SCENE_FORMS.items():
        canvas = _Canvas(np.full((80, 80, 3), 128, np.uint8))
        coverage = fill(pose(rng, form(rng), 40, (30, 45)))
        canvas.draw(rng, canvas.claim(SCENE_CLASSES.index(name), coverage, 0.25), coverage, difficulty=0.5)
        (thing,) = canvas.objects()
        x, y, width, height = thing.box
        mask = np.zeros((80, 80), np.uint8)
        mask[y : y + height, x : x + width] = thing.mask
        painted = (np.abs(canvas.pixels.astype(int) - 128).max(2) > 2).astype(np.uint8)
        around = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        assert (painted <= around).all(), name  # nothing further than one anti-aliased pixel outside
        core = cv2.erode(mask, np.ones((3, 3), np.uint8))
        assert painted[core > 0].mean() > 0.9, name  # a texture may hit the background's grey here and there
        assert max(width, height) == pytest.approx(40, abs=1)


def test_boxes_lie_inside_and_are_tight(scenes):
    for pixels, objects in scenes:
        for thing in objects:
            x, y, width, height = thing.box
            assert 0 <= x < x + width <= pixels.shape[1]
            assert 0 <= y < y + height <= pixels.shape[0]
            assert thing.mask.shape == (height, width)
            rows, columns = thing.mask.any(1), thing.mask.any(0)
            assert all((rows[0], rows[-1], columns[0], columns[-1]))  # tight


def test_masks_of_one_image_do_not_overlap(scenes):
    for pixels, objects in scenes:
        count = np.zeros(pixels.shape[:2], int)
        for thing in objects:
            x, y, width, height = thing.box
            count[y : y + height, x : x + width] += thing.mask
        assert count.max(initial=0) <= 1


# --- the set as a whole -------------------------------------------------------------------------------------------------


def test_coco_tools_and_our_reader_load_the_set(written, capsys):
    tools = COCO(str(written["train_annotations"]))
    assert len(tools.getImgIds()) == 40
    assert "seed 0" in tools.dataset["info"]["description"]
    assert all((written["train_images"] / one["file_name"]).is_file() for one in tools.dataset["images"])
    file = read_coco(written["train_annotations"])
    assert file.classes == SCENE_CLASSES
    assert file.category_ids == SCENE_CATEGORY_IDS
    assert not file.problems
    assert not file.dropped
    assert max(SCENE_CATEGORY_IDS) > len(SCENE_CLASSES)  # gaps, so that ids are not labels


def test_every_class_occurs_about_equally_often(scenes):
    counts = Counter(thing.name for _, objects in scenes for thing in objects)
    total = sum(counts.values())
    assert set(counts) == set(SCENE_CLASSES)
    assert min(counts.values()) > 0.4 * total / len(SCENE_CLASSES)


def test_sizes_and_numbers_of_objects_vary(scenes):
    sides = [max(thing.box[2:]) for _, objects in scenes for thing in objects if not thing.crowd]
    assert min(sides) <= 12
    assert max(sides) >= 0.7 * 192
    assert sum(side < 40 for side in sides) > len(sides) / 2  # more small ones
    numbers = [len(objects) for _, objects in scenes]
    assert 1 <= sum(number == 0 for number in numbers) <= 0.06 * len(numbers)
    assert max(numbers) >= 15
    assert 3 <= np.median(numbers) <= 8


def test_crowds_are_rare_and_drawn_beside_single_objects(scenes):
    crowds = [(objects, thing) for _, objects in scenes for thing in objects if thing.crowd]
    assert 1 <= len(crowds) <= 0.1 * len(scenes)
    for objects, crowd in crowds:
        assert len(objects) > 5
        annotation = coco_set.scene_annotation(crowd, 192)
        assert annotation["iscrowd"] == 1
        assert isinstance(annotation["segmentation"]["counts"], list)
        assert own_mask(annotation, 192).sum() == annotation["area"]


def test_a_quarter_of_every_object_stays_visible():
    shares = [
        thing.visible_share
        for index in range(40)
        for thing in render_scene(seed=5, index=index, size=160, difficulty=1.0)[1]
    ]
    assert min(shares) >= 0.25
    assert max(shares) <= 1
    assert sum(share < 0.8 for share in shares) > 0.03 * len(shares)  # occlusion does occur


def test_covered_object_reports_its_visible_part():
    rng = np.random.default_rng(0)
    canvas = _Canvas(np.zeros((60, 60, 3), np.uint8))
    square = [np.array([[10, 10], [30, 10], [30, 30], [10, 30]])]
    low, high = fill(square), fill([square[0] + (0, 10)])
    below = canvas.claim(0, low, 0.5)
    canvas.draw(rng, below, low, 0.5)
    assert canvas.accepts(high, 1.0)  # leaves 10 of 20 rows
    assert not canvas.accepts(fill([square[0] + (0, 9)]), 1.0)  # leaves 9
    canvas.draw(rng, canvas.claim(1, high, 1.0), high, 0.5)
    first, second = canvas.objects()
    assert first.box == (10, 10, 20, 10)
    assert first.visible_share == pytest.approx(0.5)
    assert second.visible_share == 1


def mean_colors(scenes: list) -> tuple[np.ndarray, np.ndarray]:
    """Mean RGB (N, 3) and label (N,) of all objects but crowds."""
    colors, labels = [], []
    for pixels, objects in scenes:
        for thing in objects:
            if not thing.crowd:
                x, y, width, height = thing.box
                colors.append(pixels[y : y + height, x : x + width][thing.mask].mean(0))
                labels.append(thing.label)
    return np.array(colors), np.array(labels)


def variance_ratio(values: np.ndarray, labels: np.ndarray) -> float:
    """The F statistic of a one-way analysis of variance: about 1 where classes do not differ."""
    groups = [values[labels == label] for label in np.unique(labels)]
    between = sum(len(group) * (group.mean() - values.mean()) ** 2 for group in groups) / (len(groups) - 1)
    within = sum(((group - group.mean()) ** 2).sum() for group in groups) / (len(values) - len(groups))
    return float(between / within)


def test_class_does_not_show_in_colour(scenes):
    # One object per class and image: members of a crowd share their background, so they are not independent.
    colors, labels = mean_colors([(pixels, list({t.label: t for t in objects}.values())) for pixels, objects in scenes])
    assert len(labels) > 400
    for channel in range(3):
        assert variance_ratio(colors[:, channel], labels) < 2.5  # exceeded by chance once in a hundred and more
        tinted = colors[:, channel] + 8 * labels  # the test does see a tint of 8 of 255 levels from class to class
        assert variance_ratio(tinted, labels) > 5


def test_difficulty_lowers_contrast_and_size():
    def measure(difficulty: float) -> tuple[float, float]:
        sides, gaps = [], []
        for index in range(30):
            pixels, objects = render_scene(seed=9, index=index, size=128, difficulty=difficulty)
            for thing in objects:
                x, y, width, height = thing.box
                window = pixels[y : y + height, x : x + width]
                sides.append(max(width, height))
                if not thing.mask.all():
                    gaps.append(np.linalg.norm(window[thing.mask].mean(0) - window[~thing.mask].mean(0)))
        return float(np.median(sides)), float(np.median(gaps))

    (easy_side, easy_gap), (hard_side, hard_gap) = measure(0.0), measure(1.0)
    assert hard_side < 0.7 * easy_side
    assert hard_gap < 0.65 * easy_gap


def test_unknown_split_is_refused():
    with pytest.raises(SettingError, match="split must be one of train, val, got 'test'"):
        render_scene(split="test", size=64)


@pytest.mark.parametrize("classes", [["ring"], ["arrow", "triangle"]])
def test_chosen_classes_are_all_that_is_drawn(classes, tmp_path):
    found = {one.name for index in range(12) for one in render_scene(index=index, difficulty=1.0, classes=classes)[1]}
    assert found == set(classes)
    paths = generate_scenes(tmp_path, train=3, val=1, size=96, classes=classes, progress=False)
    content = json.loads(paths["train_annotations"].read_text())
    assert {one["name"] for one in content["categories"]} == set(classes)
    assert {one["category_id"] for one in content["annotations"]} <= {one["id"] for one in content["categories"]}
    with pytest.raises(DataError, match="other settings"):
        generate_scenes(tmp_path, train=3, val=1, size=96, progress=False)


@pytest.mark.parametrize("classes", [["star six", "ring"], ["ring", "ring"], [], "ring"])
def test_impossible_choice_of_classes_is_refused_with_the_known_ones(classes):
    with pytest.raises(SettingError, match="crescent"):
        render_scene(classes=classes)


def test_all_classes_in_any_order_are_the_default():
    pixels, _ = render_scene(index=4)
    assert (pixels == render_scene(index=4, classes=SCENE_CLASSES[::-1])[0]).all()
