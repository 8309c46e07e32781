"""``rtmdet-lab predict``."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from made_calls import call, fails
from made_dota import SHIP, write_dota
from made_runs import make_config, make_task
from made_sets import write_set

from rtmdet_lab.cli.predict import tile_bar
from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.engine.predict import predict
from rtmdet_lab.geometry.masks import decode_segmentation
from rtmdet_lab.models.checkpoints import save_weights


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    task = make_task(**{"model.exp_on_reg": True})
    config = to_dict(make_config(**{"model.exp_on_reg": True}))
    save_weights(path, task.model.state_dict(), model="rtmdet-nano", classes=("wide", "tall"), config=config)
    return path


def arguments(weights, *images, options=()):
    more = ["--input-size", 64, "--score-threshold", 0.005, "--max-per-image", 3, "--device", "cpu"]
    return ["predict", *images, "--checkpoint", weights, *more, *options]


def test_detections_are_printed_written_and_drawn(capsys, made, weights, tmp_path):
    figures = plt.get_fignums()
    options = ["--json", tmp_path / "found.json", "--out", tmp_path / "drawn", "--batch-size", 3]
    code, out, _ = call(capsys, *arguments(weights, made / "val", made / "train" / "1.png", options=options))
    assert code == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert [Path(one["image"]).name for one in results] == ["1.png", "2.png", "3.png", "4.png", "1.png"]
    for one in results:
        assert 0 < len(one["detections"]) <= 3
        for found in one["detections"]:
            assert found["class"] in ("wide", "tall")
            assert found["score"] >= 0.005
            x1, y1, x2, y2 = found["box"]
            assert 0 <= x1 <= x2 <= 64
            assert 0 <= y1 <= y2 <= 64
        assert f"{one['image']}: {len(one['detections'])} objects" in out
    assert plt.get_fignums() == figures


def test_images_of_one_name_in_two_folders_are_both_drawn(capsys, made, weights, tmp_path):
    images = [made / "val" / "1.png", made / "train" / "1.png"]
    code, _, _ = call(capsys, *arguments(weights, *images, options=["--out", tmp_path / "drawn"]))
    assert code == 0
    assert len(list((tmp_path / "drawn").iterdir())) == 2


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Returns weights that find rotated boxes, and a folder of two images of 100 x 80."""
    folder = tmp_path_factory.mktemp("turned")
    settings = {"task": "rotated", "model.size": "tiny", "model.exp_on_reg": True}
    settings |= {"augment.mosaic_cache": None, "augment.mixup_cache": None}
    path = folder / "best.safetensors"
    task, config = make_task(**settings), to_dict(make_config(**settings))
    save_weights(path, task.model.state_dict(), model="rtmdet-r-tiny", classes=("ship", "plane"), config=config)
    images, _ = write_dota(folder, {"a": [SHIP], "b": [SHIP]})
    return path, images


def test_large_images_are_cut_and_their_windows_counted(capsys, turned, tmp_path):
    weights, images = turned
    command = [
        "predict",
        images,
        "--checkpoint",
        weights,
        "--score-threshold",
        0.005,
        "--device",
        "cpu",
        "--max-per-image",
        5,
    ]
    options = ["--tile", 64, "--overlap", 16, "--json", tmp_path / "found.json", "--out", tmp_path / "drawn"]
    options += ["--submission", tmp_path / "task1.zip"]
    code, _, _ = call(capsys, *command, *options)
    assert code == 0
    results = json.loads((tmp_path / "found.json").read_text())
    assert [Path(one["image"]).name for one in results] == ["a.png", "b.png"]
    assert all(5 < len(one["detections"]) <= 20 for one in results)  # four tiles
    assert {len(found["box"]) for one in results for found in one["detections"]} == {5}
    assert len(list((tmp_path / "drawn").iterdir())) == 2
    with zipfile.ZipFile(tmp_path / "task1.zip") as archive:
        assert archive.namelist() == ["Task1_ship.txt", "Task1_plane.txt"]
        lines = [line.split() for name in archive.namelist() for line in archive.read(name).decode().splitlines()]
    assert {len(line) for line in lines} == {10}
    assert sorted(line[0] for line in lines) == sorted(Path(one["image"]).stem for one in results for _ in one["detections"])


def test_masks_are_written_as_run_lengths_of_the_image(capsys, made, tmp_path):
    settings = {"task": "instance", "model.size": "tiny"}
    task, config = make_task(**settings), to_dict(make_config(**settings))
    path = tmp_path / "best.safetensors"
    save_weights(path, task.model.state_dict(), model="rtmdet-ins-tiny", classes=("wide", "tall"), config=config)
    options = ["--json", tmp_path / "found.json", "--out", tmp_path / "drawn"]
    code, out, _ = call(capsys, *arguments(path, made / "val" / "1.png", options=options))
    assert code == 0
    assert "counts" not in out
    (result,) = json.loads((tmp_path / "found.json").read_text())
    found = predict(task.model, made / "val" / "1.png", input_size=64, score_threshold=0.005, max_per_image=3)[0]
    assert len(result["detections"]) == 3
    for one, mask in zip(result["detections"], found.masks, strict=True):
        assert decode_segmentation(one["mask"], (64, 64)).tolist() == mask.tolist()


def test_several_looks_find_more(capsys, made, weights, tmp_path):
    counts = []
    for options in ([], ["--tta"], ["--tta-scales", 1, 2, "--tta-flip"]):
        result = tmp_path / "found.json"
        code, _, _ = call(
            capsys, *arguments(weights, made / "val" / "1.png", options=[*options, "--max-per-image", 20, "--json", result])
        )
        assert code == 0
        counts.append(len(json.loads(result.read_text())[0]["detections"]))
    assert counts[0] == 20 < min(counts[1:])


@pytest.mark.parametrize("tiles", [3, 300])
def test_bar_shows_the_tiles_of_an_image_that_takes_long(capsys, monkeypatch, tiles):
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    with tile_bar("P0001.png", True) as progress:
        for done in range(1, tiles + 1):
            now[0] += 0.1
            progress(done, tiles)
    shown = capsys.readouterr().err
    assert ("P0001.png" in shown) == (tiles == 300)  # nothing for what is done within a second
    if tiles == 300:
        assert "/300" in shown
    with tile_bar("P0001.png", False) as progress:
        progress(5, 300)
    assert capsys.readouterr().err == ""


def test_image_without_detections_is_listed(capsys, made, weights):
    code, out, _ = call(capsys, *arguments(weights, made / "val" / "1.png", options=["--score-threshold", 0.99]))
    assert code == 0
    assert "1.png: 0 objects" in out


def test_mistakes_are_one_sentence(capsys, made, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no image")
    good = made / "val" / "1.png"
    for call_arguments, words in (
        (arguments(weights, tmp_path / "gone.jpg"), ["gone.jpg", "does not exist"]),
        (arguments(weights, good, tmp_path / "text.jpg"), ["text.jpg", "not an image"]),
        (arguments(weights, tmp_path / "empty"), ["empty", "no image"]),
        (arguments(tmp_path / "gone.pth", good), ["gone.pth"]),
        (arguments(weights, good, options=["--input-size", 33]), ["multiple of 32"]),
        (arguments(weights, good, options=["--batch-size", 0]), ["batch_size"]),
        (arguments(weights, good, options=["--tile", 50]), ["test.tile is 50", "multiple of 32"]),
        (arguments(weights, good, options=["--tile", 64, "--overlap", 64]), ["test.overlap is 64", "less than"]),
        (arguments(weights, good, options=["--overlap", 64]), ["test.overlap", "test.tile"]),
        (arguments(weights, good, options=["--tta-scales", 0]), ["test.tta_scales"]),
        (arguments(weights, good, options=["--device", "tpu"]), ["tpu"]),
        (arguments(weights, good, options=["--submission", tmp_path / "a.zip"]), ["--submission", "rotated"]),
    ):
        fails(capsys, *call_arguments, words=words)


def test_output_folder_that_is_a_file_is_one_sentence(capsys, made, weights, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(capsys, *arguments(weights, made / "val", options=["--out", tmp_path / "file"]), words=[str(tmp_path / "file")])
