"""Cutting aerial images into windows, and detections of windows back into whole images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_dota import SHIP, TILTED, write_dota
from made_sets import assert_one_sentence
from PIL import Image

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.structures import Detections, ImageMeta
from rtmdet_lab.data import tile_split
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.data.label_file import read_label_file
from rtmdet_lab.data.tile_split import split_dota
from rtmdet_lab.data.tiles import Window, lay_windows, merge_windows, parse_window_name, shares_inside
from rtmdet_lab.geometry.rotated import rotated_nms


def split(folders, out, **settings):
    settings = {"patch": 64, "overlap": 16, "progress": False} | settings
    return split_dota(*folders, out, **settings)


def stems(folder):
    return sorted(path.stem for path in folder.iterdir())


@pytest.fixture
def folders(tmp_path):
    return write_dota(tmp_path / "set", {"a": [SHIP, TILTED], "b": [SHIP], "c": []})  # 100 x 80


def pixels(path):
    return np.asarray(Image.open(path))


def test_windows_end_with_the_image():
    windows = lay_windows("a", (80, 100), 64, 16, 0.6)
    assert [(one.x, one.y) for one in windows] == [(0, 0), (0, 16), (36, 0), (36, 16)]
    assert [one.x for one in lay_windows("a", (64, 160), 64, 16, 0.6)] == [0, 48, 96]
    assert [one.x for one in lay_windows("a", (64, 161), 64, 16, 0.6)] == [0, 48, 96, 97]
    assert lay_windows("a", (10, 10), 64, 16, 0.6) == [Window("a", 64, 0, 0)]  # too small a share, but the best there is


def test_windows_cover_every_pixel():
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 200, 2)
        size = int(rng.integers(8, 90))
        covered = np.zeros((height, width), dtype=bool)
        for one in lay_windows("a", (int(height), int(width)), size, int(rng.integers(0, size)), 0.6):
            covered[one.y : one.y + size, one.x : one.x + size] = True
        assert covered.all()


def test_names_go_there_and_back():
    window = Window("P__7__image", 512, 384, 670)
    assert window.name == "P__7__image__512__384___670"
    assert parse_window_name(window.name) == window
    for bad in ("P0706", "P0706__512__3__4", "P0706__1__3___4", "__512__0___0", "P__512__-3___4", None):
        with pytest.raises(DataError) as error:
            parse_window_name(bad)
        assert_one_sentence(error.value, repr(bad))


def test_shares_of_known_shapes():
    quads = np.array(
        [
            [10, 10, 20, 10, 20, 20, 10, 20],  # inside
            [-10, 10, 10, 10, 10, 20, -10, 20],  # half
            [-10, -10, 10, -10, 10, 10, -10, 10],  # a quarter, at the corner
            [64, 0, 80, 0, 80, 10, 64, 10],  # touches
            [0, -10, 10, 0, 0, 10, -10, 0],  # a diamond around the corner
            [-100, -100, 200, -100, 200, 200, -100, 200],  # contains the window
        ],
        dtype=float,
    )
    want = [1, 0.5, 0.25, 0, 0.25, 64**2 / 300**2]
    assert shares_inside(quads, Window("a", 64, 0, 0)).tolist() == pytest.approx(want)
    moved = quads + np.tile([1000, 500], 4)
    assert shares_inside(moved, Window("a", 64, 1000, 500)).tolist() == pytest.approx(want)


def test_shares_of_random_shapes_against_counted_pixels():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-60:124:0.5, -60:124:0.5] + 0.25
    for _ in range(20):
        center, angle, sides = rng.uniform(0, 64, 2), rng.uniform(0, np.pi), rng.uniform(10, 50, 2)
        u = (x - center[0]) * np.cos(angle) + (y - center[1]) * np.sin(angle)
        v = (y - center[1]) * np.cos(angle) - (x - center[0]) * np.sin(angle)
        inside = (abs(u) < sides[0] / 2) & (abs(v) < sides[1] / 2)
        counted = (inside & (x > 0) & (x < 64) & (y > 0) & (y < 64)).sum() / inside.sum()
        signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * sides / 2
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        quad = (signs @ turn + center).reshape(1, 8)
        assert shares_inside(quad, Window("a", 64, 0, 0))[0] == pytest.approx(counted, abs=0.02)


def test_pixels_and_objects_move_with_the_window(folders, tmp_path):
    result = split(folders, tmp_path / "out")
    assert (result["sources"], result["windows"], result["patch"]) == (3, 12, 64)
    assert stems(result["images"]) == stems(result["labels"])
    whole = pixels(folders[0] / "a.png")
    assert np.array_equal(pixels(result["images"] / "a__64__36___16.png"), whole[16:80, 36:100])
    file = read_label_file(result["labels"] / "a__64__36___16.txt")  # the ship lies outside
    assert file.names == ["plane"]
    assert file.quads[0].tolist() == [14, 4, 24, 14, 14, 24, 4, 14]
    assert read_label_file(result["labels"] / "a__64__0___0.txt").names == ["ship", "plane"]
    assert (result["labels"] / "c__64__0___0.txt").read_text() == ""
    assert len(DotaDataset(result["images"], result["labels"], training=True)) == 5


def test_cut_objects_are_difficult_and_small_parts_left_out(tmp_path):
    lines = ["54 10 68 10 68 20 54 20 ship 0", "58 30 72 30 72 40 58 40 ship 0", SHIP]  # 10 and 6 of 14 pixels inside
    result = split(write_dota(tmp_path / "set", {"a": lines}), tmp_path / "out")
    text = (result["labels"] / "a__64__0___0.txt").read_text()
    assert text == "54 10 68 10 68 20 54 20 ship 2\n10 10 30 10 30 20 10 20 ship 0\n"
    assert result["difficult"] == 1  # the windows to the right hold both whole


def test_small_images_are_padded_with_the_published_colour(tmp_path):
    folders = write_dota(tmp_path / "set", {"a": [SHIP]}, size=(50, 40))
    result = split(folders, tmp_path / "out")
    cut = pixels(result["images"] / "a__64__0___0.png")
    assert cut.shape == (64, 64, 3)
    assert np.array_equal(cut[:40, :50], pixels(folders[0] / "a.png"))
    assert (cut[40:] == (124, 116, 104)).all()
    assert (cut[:, 50:] == (124, 116, 104)).all()
    bare = split(folders, tmp_path / "bare", pad=False)
    assert pixels(bare["images"] / "a__64__0___0.png").shape == (40, 50, 3)


def test_scales_make_larger_and_smaller_windows_of_one_file_size(folders, tmp_path):
    result = split(folders, tmp_path / "out", scales=(0.5, 2.0), overlap=8)
    names = [parse_window_name(name) for name in stems(result["images"])]
    assert {one.size for one in names} == {128, 32}
    assert {pixels(path).shape for path in result["images"].iterdir()} == {(64, 64, 3)}
    assert read_label_file(result["labels"] / "a__128__0___0.txt").quads[0].tolist() == [5, 5, 15, 5, 15, 10, 5, 10]
    assert read_label_file(result["labels"] / "a__32__0___0.txt").quads[0].tolist() == [20, 20, 60, 20, 60, 40, 20, 40]


def test_images_without_labels_are_cut_too(folders, tmp_path):
    result = split((folders[0], None), tmp_path / "out")
    assert result["labels"] is None
    assert result["windows"] == 12
    assert not (tmp_path / "out" / "labelTxt").exists()


def test_several_processes_make_the_same_files(folders, tmp_path):
    one, two = split(folders, tmp_path / "one"), split(folders, tmp_path / "two", workers=2)
    assert {**one, "images": 0, "labels": 0} == {**two, "images": 0, "labels": 0}
    for kind in ("images", "labels"):
        assert stems(one[kind]) == stems(two[kind])
        assert all(path.read_bytes() == (two[kind] / path.name).read_bytes() for path in one[kind].iterdir())


def test_stopped_split_goes_on_where_it_was(folders, tmp_path, monkeypatch):
    out, cut, seen = tmp_path / "out", tile_split.cut_window, []

    def stop(pixels, window, patch, pad):
        if window.image == "b" and window.x:
            raise KeyboardInterrupt
        return cut(pixels, window, patch, pad)

    monkeypatch.setattr(tile_split, "cut_window", stop)
    with pytest.raises(KeyboardInterrupt):
        split(folders, out)
    monkeypatch.setattr(tile_split, "cut_window", lambda *arguments: seen.append(arguments[1].image) or cut(*arguments))
    result = split(folders, out)
    assert set(seen) == {"b", "c"}
    assert result == split(folders, tmp_path / "whole") | {"images": out / "images", "labels": out / "labelTxt"}
    seen.clear()
    assert split(folders, out) == result
    assert not seen
    (out / "images" / "a__64__36___0.png").unlink()
    split(folders, out)
    assert set(seen) == {"a"}


def test_changed_source_is_cut_again(folders, tmp_path):
    split(folders, tmp_path / "out")
    (folders[1] / "a.txt").write_text(f"{SHIP}\n{SHIP}\n{SHIP}\n")
    result = split(folders, tmp_path / "out")
    assert len(read_label_file(result["labels"] / "a__64__0___0.txt").names) == 3


def test_several_folders_fill_one_split(folders, tmp_path):
    more = write_dota(tmp_path / "more", {"d": [SHIP]})
    split(folders, tmp_path / "out")
    result = split(more, tmp_path / "out")
    assert result["windows"] == 4
    assert {name.split("__")[0] for name in stems(result["images"])} == {"a", "b", "c", "d"}
    same = write_dota(tmp_path / "same", {"a": [TILTED]})
    with pytest.raises(DataError) as error:
        split(same, tmp_path / "out")
    assert_one_sentence(error.value, str(same[0] / "a.png"), str(folders[0] / "a.png"))


def test_other_settings_or_a_folder_of_something_else_are_refused(folders, tmp_path):
    split(folders, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "split.json").read_text())["patch"] == 64
    with pytest.raises(DataError) as error:
        split(folders, tmp_path / "out", patch=32, overlap=8)
    assert_one_sentence(error.value, str(tmp_path / "out"), "patch 64 instead of 32", "overlap 16 instead of 8")
    with pytest.raises(DataError) as error:
        split(folders, folders[0])
    assert_one_sentence(error.value, str(folders[0]))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"patch": 0}, "patch"),
        ({"patch": 64.5}, "patch"),
        ({"overlap": 64}, "overlap"),
        ({"overlap": -1}, "overlap"),
        ({"scales": ()}, "scales"),
        ({"scales": (0,)}, "scales"),
        ({"scales": 0.5}, "scales"),
        ({"scales": (1.0, 1.0)}, "same size twice"),
        ({"scales": (20.0,)}, "scale 20.0"),
        ({"window_share": 0}, "window_share"),
        ({"object_share": 1.5}, "object_share"),
        ({"workers": 0}, "workers"),
    ],
)
def test_impossible_settings_are_refused(folders, tmp_path, settings, word):
    with pytest.raises(SettingError) as error:
        split(folders, tmp_path / "out", **settings)
    assert_one_sentence(error.value, word)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_data_is_refused_or_left_out(folders, tmp_path, workers):
    (folders[1] / "b.txt").write_text(f"1 2 3\n{SHIP}\n")
    with pytest.raises(DataError) as error:
        split(folders, tmp_path / "out", workers=workers)
    assert_one_sentence(error.value, str(folders[1] / "b.txt"), "line 1")
    (folders[0] / "c.png").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"b.txt, line 1.*and 1 more"):
        result = split(folders, tmp_path / "out", workers=workers, on_bad="skip")
    assert result["windows"] == 8
    with pytest.raises(DataError, match="line 1"):
        split(folders, tmp_path / "out", workers=workers)


def test_nothing_to_cut_is_one_sentence(tmp_path):
    with pytest.raises(DataError) as error:
        split(write_dota(tmp_path / "set", {}), tmp_path / "out")
    assert_one_sentence(error.value, "has no images")


def found(name, boxes, scores, labels=None, size=None):
    labels = torch.zeros(len(scores), dtype=torch.int64) if labels is None else torch.tensor(labels)
    return Detections(torch.tensor(boxes).reshape(-1, 5), torch.tensor(scores), labels, meta=ImageMeta(name, size))


def test_merging_shifts_scales_and_removes_doubles():
    windows = [
        found("a__64__0___0", [[50.0, 30, 10, 20, 0.3]], [0.7]),
        found("a__64__36___16", [[14.5, 14, 10, 20, 0.3]], [0.9]),  # the same object
        found("a__32__0___0", [[14.0, 14, 10, 20, 0.3]], [0.8], [1]),  # another class at 14, 14
        found("b__64__0___0", [], []),
    ]
    merged = merge_windows(windows, [ImageMeta("a", (80, 100)), ImageMeta("b"), ImageMeta("c")])
    assert [one.meta.image_id for one in merged] == ["a", "b", "c"]
    assert [len(one) for one in merged] == [2, 0, 0]
    torch.testing.assert_close(merged[0].boxes, torch.tensor([[50.5, 30, 10, 20, 0.3], [14.0, 14, 10, 20, 0.3]]))
    assert merged[0].scores.tolist() == pytest.approx([0.9, 0.8])
    assert merged[0].labels.tolist() == [0, 1]
    scaled = merge_windows([found("a__128__100___0", [[10.0, 20, 4, 8, 0.3]], [0.5])], [ImageMeta("a")], patch=64)
    torch.testing.assert_close(scaled[0].boxes, torch.tensor([[120.0, 40, 8, 16, 0.3]]))


def test_merging_is_suppression_of_all_boxes_at_once():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.rand(400, 5, generator=generator) * torch.tensor([100, 100, 30, 15, 3]) + torch.tensor([0, 0, 5, 5, -1.5])
    scores = (torch.rand(400, generator=generator) * 50).round() / 50  # many equal ones
    labels = torch.randint(0, 3, (400,), generator=generator)
    windows = [Detections(boxes, scores, labels, meta=ImageMeta("a__64__0___0"))]
    (merged,) = merge_windows(windows, [ImageMeta("a")])
    keep = rotated_nms(boxes, scores, labels, 0.1)
    assert 0 < len(keep) < 400
    assert torch.equal(merged.boxes, boxes[keep])
    assert torch.equal(merged.labels, labels[keep])


def test_window_without_its_image_is_named():
    with pytest.raises(DataError) as error:
        merge_windows([found("P1__64__0___0", [], [])], [ImageMeta("P2")])
    assert_one_sentence(error.value, "'P1'", "P1__64__0___0")
    with pytest.raises(DataError, match="twice"):
        merge_windows([found("P1__64__0___0", [], [])] * 2, [ImageMeta("P1")])
    with pytest.raises(DataError, match="not the name of a window"):
        merge_windows([found("P1", [], [])], [ImageMeta("P1")])


def test_wrong_patch_size_is_noticed():
    whole = [ImageMeta("a", (500, 500))]
    windows = [found("a__128__0___0", [[10.0, 20, 4, 8, 0.3]], [0.5], size=(64, 64))]
    assert len(merge_windows(windows, whole, patch=64)[0]) == 1
    for patch in (None, 32, 128):
        with pytest.raises(DataError) as error:
            merge_windows(windows, whole, patch=patch)
        assert_one_sentence(error.value, "a__128__0___0", "64 x 64")
    cut_off = [found("a__128__400___400", [[10.0, 20, 4, 8, 0.3]], [0.5], size=(50, 50))]
    assert len(merge_windows(cut_off, whole, patch=64)[0]) == 1
