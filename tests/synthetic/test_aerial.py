"""Generated aerial scenes: quads are tight rectangles around what is drawn, and files are DOTA's."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.synthetic import AERIAL_CLASSES, AerialObject, dota_set, generate_aerial, ground, render_aerial
from rtmdet_lab.synthetic.aerial_forms import AERIAL_FORMS, object_coverage, paint_object
from rtmdet_lab.synthetic.dota_set import dota_lines
from rtmdet_lab.synthetic.ground import land
from rtmdet_lab.synthetic.paint import finish, row_strips
from rtmdet_lab.synthetic.sites import Layout

SMALL = {"train": 3, "val": 1, "size": 128, "progress": False}


@pytest.fixture(scope="module")
def scenes() -> list:
    """30 aerial scenes at the default difficulty, as (pixels, objects)."""
    return [render_aerial(seed=4, index=index) for index in range(30)]


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def read_labels(path: Path) -> list[tuple[np.ndarray, str, int]]:
    """(4, 2) corners, class and difficult flag of each line, split the way DOTA's own tools do."""
    lines = path.read_text().splitlines()
    assert lines[:2] == ["imagesource:generated", "gsd:null"]
    rows = [line.split(" ") for line in lines[2:]]
    assert all(len(row) == 10 for row in rows)
    return [(np.array(row[:8], float).reshape(4, 2), row[8], int(row[9])) for row in rows]


# --- boxes --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AERIAL_CLASSES)
def test_drawn_object_fills_its_quad_to_all_four_sides(name):
    rng = np.random.default_rng(AERIAL_CLASSES.index(name))
    for _ in range(6):
        length, heading = rng.uniform(40, 120), rng.uniform(-np.pi, np.pi)
        thing = AerialObject((100.3, 99.6), length, length * rng.uniform(0.2, 1), heading, AERIAL_CLASSES.index(name))
        pixels = np.full((200, 200, 3), 127, np.uint8)
        layers = AERIAL_FORMS[name](rng, np.array([230, 30, 30], np.float32))
        paint_object(pixels, thing, layers)
        y, x = np.nonzero((pixels != 127).any(2))
        # Into the object's frame by hand: along the heading, and a quarter turn clockwise from it.
        dx, dy = x + 0.5 - 100.3, y + 0.5 - 99.6
        along = dx * np.cos(heading) + dy * np.sin(heading)
        across = dy * np.cos(heading) - dx * np.sin(heading)
        # Half a pixel's diagonal of anti-aliasing outside; a pointed bow or wing tip covers less than a pixel at its end.
        assert np.abs(along).max() <= length / 2 + 1
        assert np.abs(across).max() <= thing.width / 2 + 1
        for reached, half in ((along.max(), length / 2), (-along.min(), length / 2)):
            assert reached >= half - 2.5
        for reached in (across.max(), -across.min()):
            assert reached >= thing.width / 2 - 2.5


def test_quad_starts_at_the_front_left_and_runs_clockwise():
    ship = AerialObject((50.0, 60.0), 20.0, 8.0, -np.pi / 2, AERIAL_CLASSES.index("ship"))  # heading up the image
    # Front is y - 10, back y + 10, left x - 4, right x + 4.
    np.testing.assert_allclose(ship.quad, [[46, 50], [54, 50], [54, 70], [46, 70]], atol=1e-9)


def test_bow_is_at_the_front():
    rng = np.random.default_rng(0)
    ship = AerialObject((50.0, 50.0), 60.0, 16.0, 0.0, AERIAL_CLASSES.index("ship"))
    solid = object_coverage(ship, AERIAL_FORMS["ship"](rng, np.full(3, 200, np.float32))).solid.sum(0)
    columns = np.flatnonzero(solid)
    assert solid[columns[-4:]].mean() < 0.5 * solid[columns[:4]].mean()  # narrow at +x, where it heads


def test_written_quads_are_clockwise_rectangles(tmp_path):
    paths = generate_aerial(tmp_path / "set", train=0, val=4, size=384, progress=False)
    quads = [quad for path in paths["val_labels"].iterdir() for quad, _, _ in read_labels(path)]
    assert len(quads) > 20
    for quad in quads:
        sides = np.roll(quad, -1, axis=0) - quad
        lengths = np.linalg.norm(sides, axis=1)
        np.testing.assert_allclose(sides[0] + sides[2], 0, atol=0.21)  # corners are rounded to a tenth
        cosines = (sides * np.roll(sides, -1, axis=0)).sum(1) / (lengths * np.roll(lengths, -1))
        assert np.abs(cosines).max() < 0.08
        x, y = quad.T
        assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0  # clockwise, as y points down


def test_labels_are_the_rendered_objects(tmp_path):
    paths = generate_aerial(tmp_path / "set", train=0, val=1, size=384, seed=2, progress=False)
    pixels, objects = render_aerial(seed=2, split="val", index=0, size=384)
    image = cv2.imread(str(paths["val_images"] / "000001.png"))[:, :, ::-1]
    assert np.array_equal(image, pixels)
    labels = read_labels(paths["val_labels"] / "000001.txt")
    assert len(labels) == len(objects) > 3
    for (quad, name, difficult), thing in zip(labels, objects, strict=True):
        np.testing.assert_allclose(quad, thing.quad, atol=0.0501)
        assert (name, difficult) == (thing.name, int(thing.difficult))


def test_zero_coordinate_has_no_minus_sign():
    thing = AerialObject((4.0, 4.0), 8.0, 8.0, 1e-9, 0)
    assert dota_lines([thing])[2] == "8.0 0.0 8.0 8.0 0.0 8.0 0.0 0.0 plane 0"


def test_difficult_object_is_marked_in_the_file():
    thing = AerialObject((40.0, 40.0), 6.0, 4.0, 0.5, AERIAL_CLASSES.index("ship"), difficult=True)
    assert dota_lines([thing])[2].endswith(" ship 1")


# --- scenes -------------------------------------------------------------------------------------------------------------


def test_every_class_occurs(scenes):
    counts = Counter(thing.name for _, objects in scenes for thing in objects)
    assert set(counts) == set(AERIAL_CLASSES)
    assert min(counts.values()) >= 5


def test_sizes_shapes_and_angles_vary(scenes):
    things = [thing for _, objects in scenes for thing in objects]
    lengths = [max(thing.length, thing.width) for thing in things]
    aspects = [max(thing.length, thing.width) / min(thing.length, thing.width) for thing in things]
    assert min(lengths) < 12
    assert 150 < max(lengths) < 230
    assert 6 < max(aspects) <= 8.01
    angles = np.array([thing.heading_rad for thing in things])
    assert (np.abs(angles) <= np.pi).all()
    assert (np.histogram(angles, 8, (-np.pi, np.pi))[0] > 0.03 * len(angles)).all()


def test_some_objects_are_parked_in_dense_rows(scenes):
    def row_mates(thing: AerialObject, others: list[AerialObject]) -> int:
        aligned = [
            one
            for one in others
            if one.name == thing.name
            and abs(np.sin(one.heading_rad - thing.heading_rad)) < 0.02
            and np.hypot(one.center[0] - thing.center[0], one.center[1] - thing.center[1]) < 6 * thing.width
        ]
        return len(aligned)

    best = Counter()
    for _, objects in scenes:
        for thing in objects:
            best[thing.name] = max(best[thing.name], row_mates(thing, objects))
    assert best["vehicle"] >= 6
    assert best["ship"] >= 4


def test_centers_are_inside_and_objects_do_not_overlap(scenes):
    for pixels, objects in scenes:
        for thing in objects:
            assert 0 <= min(thing.center) <= max(thing.center) < len(pixels)
        boxes = [(thing.center, (thing.length, thing.width), np.degrees(thing.heading_rad)) for thing in objects]
        for number, box in enumerate(boxes):
            for other in boxes[:number]:
                _, corners = cv2.rotatedRectangleIntersection(box, other)
                shared = 0.0 if corners is None else cv2.contourArea(cv2.convexHull(corners))
                # Ground is taken in steps of two pixels, so neighbours in a row may touch by a pixel.
                assert shared <= 0.15 * min(np.prod(box[1]), np.prod(other[1]))


def test_objects_stand_out_from_what_lies_around_them(scenes):
    """Each quad must be on its object: the pixels in it differ from those of a ring around it."""
    gaps = []
    for pixels, objects in scenes[:10]:
        for thing in objects:
            inner = np.zeros(pixels.shape[:2], np.uint8)
            cv2.fillConvexPoly(inner, np.round(thing.quad).astype(np.int32), 1)
            ring = cv2.dilate(inner, np.ones((7, 7), np.uint8)) - inner
            if inner.any() and ring.any():
                gaps.append(np.linalg.norm(pixels[inner > 0].mean(0) - pixels[ring > 0].mean(0)))
    assert len(gaps) > 100
    assert np.median(gaps) > 30
    assert np.quantile(gaps, 0.1) > 10


def test_visible_share_counts_what_the_border_cuts():
    objects = [thing for index in range(12) for thing in render_aerial(seed=6, index=index, size=200, difficulty=0.0)[1]]
    cut = 0
    for thing in objects:  # difficulty 0: no trees
        inside = ((thing.quad >= 0) & (thing.quad <= 200)).all()
        if inside:
            assert thing.visible_share == 1
        elif thing.name == "court":  # fills its box, so that the share of the box is the share of the object
            (x, y), half = thing.center, 100.0
            image = ((half, half), (200.0, 200.0), 0.0)
            box = ((x, y), (thing.length, thing.width), np.degrees(thing.heading_rad))
            _, corners = cv2.rotatedRectangleIntersection(box, image)
            share = cv2.contourArea(cv2.convexHull(corners)) / (thing.length * thing.width)
            assert thing.visible_share == pytest.approx(share, abs=0.03)
            cut += 1
    assert cut >= 2


def test_tiny_and_mostly_hidden_objects_are_difficult():
    things = [thing for index in range(25) for thing in render_aerial(seed=8, index=index, difficulty=1.0)[1]]
    for thing in things:
        tiny = max(thing.length, thing.width) < 8
        assert thing.difficult == (tiny or thing.visible_share < 0.5)
    assert sum(max(one.length, one.width) < 8 for one in things) >= 3
    hidden = [one for one in things if one.visible_share < 0.5]
    assert hidden
    assert 0.03 < np.mean([one.visible_share < 0.95 for one in things]) < 0.4
    # A corner may leave less of an object whose center it holds; trees alone never do.
    whole = [one for one in hidden if ((one.quad > 0) & (one.quad < 512)).all()]
    assert min((one.visible_share for one in whole), default=1) >= 0.25


def test_taken_ground_is_refused():
    layout = Layout(100)
    assert layout.add("ship", (50, 50), 40, 10, 0.3)
    assert not layout.add("ship", (55, 52), 40, 10, 1.3)
    assert layout.add("ship", (50, 80), 40, 10, 0.3)
    assert not layout.add("ship", (-1, 20), 40, 10, 0.3)  # center outside
    assert len(layout.objects) == 2


@pytest.mark.parametrize("size", [64, 333])
def test_any_size_renders(size):
    pixels, _ = render_aerial(size=size)
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.std() > 3


@pytest.mark.slow
def test_land_is_the_same_in_strips_of_any_height(monkeypatch):
    image = land(np.random.default_rng(0), 1100, 0.5)
    monkeypatch.setattr(ground, "row_strips", lambda height: row_strips(height, rows=120))
    strips = land(np.random.default_rng(0), 1100, 0.5)
    np.testing.assert_allclose(strips.astype(int), image, atol=1)  # floats may round to either neighbour


def test_fine_noise_has_no_seam_where_it_repeats():
    image = land(np.random.default_rng(0), 1100, 0.5).astype(float)
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean((1 - axis, 2))  # (1099,) change from row to row
        assert steps[511] < 1.25 * np.median(steps)


def test_blur_is_the_same_across_strips():
    """With the noise taken out, a strip's last rows are blurred with the rows below and the first with those above."""
    image = np.random.default_rng(0).integers(0, 256, (1100, 8, 3)).astype(np.uint8)
    for seed in range(40):  # a stream whose blur is strong
        if np.random.default_rng(seed).uniform(0, 1.2) > 1.0:
            break
    rng = np.random.default_rng(seed)
    blur, contrast = rng.uniform(0, 1.2), 1 + rng.uniform(-0.5, 0.3)
    shift = rng.uniform(-30, 30) + rng.uniform(-12, 12, 3)
    noise_level = rng.uniform(0, 14)
    noise = np.concatenate([rng.standard_normal((rows, 8, 1), dtype=np.float32) for rows in (1024, 76)]) * noise_level
    expected = (cv2.GaussianBlur(image, (9, 9), blur).astype(float) - 128) * contrast + 128 + shift + noise
    finish(np.random.default_rng(seed), image, 1.0)
    np.testing.assert_allclose(image, np.clip(expected, 0, 255), atol=1.01)


@pytest.mark.slow
def test_scene_of_12000_pixels_renders_in_bounded_time():
    started = time.process_time()
    pixels, objects = render_aerial(size=12_000)
    assert time.process_time() - started < 120  # about 40 s of processor time; twice that on a slow machine
    assert pixels.shape == (12_000, 12_000, 3)
    assert len(objects) > 3000


# --- files --------------------------------------------------------------------------------------------------------------


def test_two_runs_and_any_number_of_workers_give_the_same_bytes(tmp_path):
    generate_aerial(tmp_path / "one", **SMALL)
    generate_aerial(tmp_path / "two", **SMALL, workers=2)
    first = contents(tmp_path / "one")
    assert len(first) == 2 * (3 + 1) + 1
    assert first == contents(tmp_path / "two")


def test_larger_set_begins_with_the_smaller_one(tmp_path):
    generate_aerial(tmp_path / "few", **SMALL)
    generate_aerial(tmp_path / "many", **SMALL | {"train": 5})
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    few.pop("generated.json")
    assert few.items() <= many.items()


def test_set_is_reused_completed_or_refused(tmp_path, monkeypatch):
    paths = generate_aerial(tmp_path / "set", **SMALL)
    whole = contents(tmp_path / "set")
    (paths["train_labels"] / "000002.txt").unlink()
    assert generate_aerial(tmp_path / "set", **SMALL) == paths
    assert contents(tmp_path / "set") == whole

    def forbid(*args, **kwargs):
        raise AssertionError("rendered again")

    monkeypatch.setattr(dota_set, "render_aerial", forbid)
    generate_aerial(tmp_path / "set", **SMALL)
    with pytest.raises(DataError, match=r"difficulty 0\.5 instead of 0\.7"):
        generate_aerial(tmp_path / "set", **SMALL, difficulty=0.7)


def test_impossible_setting_is_refused_by_name(tmp_path):
    with pytest.raises(SettingError, match="size must be a whole number from 64 to 24000, got 32"):
        generate_aerial(tmp_path / "set", **SMALL | {"size": 32})
    with pytest.raises(SettingError, match="difficulty must be"):
        render_aerial(size=64, difficulty=-0.1)
