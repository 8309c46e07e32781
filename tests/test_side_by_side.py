"""benchmarks/side_by_side.py: the ratio it prints, the inputs both sides get, and our side run for real."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from made_sets import annotation, content, image, write_annotations
from PIL import Image

from rtmdet_lab.geometry.rotated import rotated_nms

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script():
    """The script as a module; the folder beside it is importable only as long as the tests of this file run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    spec = importlib.util.spec_from_file_location("side_by_side", ROOT / "benchmarks/side_by_side.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    (folder / "train").mkdir()
    numbers = range(1, 9)  # images of a training step
    for number in numbers:
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"train/{number}.jpg")
    images = [image(number, file_name=f"{number}.jpg") for number in numbers]
    listed = content(images, [annotation(10 * number + count, number) for number in numbers for count in range(6)])
    for part in ("train", "val"):
        write_annotations(folder / f"annotations/instances_{part}.json", listed)
    (folder / "val").symlink_to(folder / "train")
    return folder


def arguments(**changes) -> Namespace:
    settings = {"data": None, "reference": Path("published"), "threads": 1, "seed": 0, "turns": 11, "seconds": 60}
    return Namespace(**settings | changes)


class Scripted:
    """A side whose turns last what the test says, and that keeps the order in which sides were asked."""

    asked: ClassVar[list[str]] = []
    seconds: ClassVar[dict[str, list[float]]] = {}

    def __init__(self, python, name, folder, threads):
        self.name, self.peak_mb = name.removesuffix(".py"), 100.0
        self.result = folder / f"{self.name}.npz"
        np.savez(self.result, kept=np.arange(3))
        self.left = iter(self.seconds[self.name])

    def turn(self):
        self.asked.append(self.name)
        return next(self.left)

    def close(self):
        pass


def measured(script, monkeypatch, own, published, **changes):
    Scripted.asked, Scripted.seconds = [], {"own": own, "published": published}
    monkeypatch.setattr(script, "Side", Scripted)
    monkeypatch.setattr("sides.workloads.prepare", lambda *_: None)
    line = script.LINES["rotated NMS 2000 at 0.1"]
    return script.measure("a line", line, arguments(turns=len(own) - 1, **changes))


def test_ratio_is_the_median_of_neighbouring_turns_without_the_first(script, monkeypatch):
    # The ratio of the medians would be 2 / 2 = 1; the machine slowed both sides of the third turn.
    row = measured(script, monkeypatch, own=[9, 1, 2, 20], published=[1, 3, 2, 60])
    assert (row["ratio"], row["lowest"], row["highest"], row["turns"]) == (3, 1, 3, 3)
    assert (row["own ms"], row["published ms"]) == (2000, 3000)
    assert row["difference"] == "0 of 3 kept"


def test_each_side_goes_first_every_other_turn(script, monkeypatch):
    measured(script, monkeypatch, own=[1] * 5, published=[1] * 5)
    pairs = [tuple(Scripted.asked[start : start + 2]) for start in range(0, 10, 2)]
    assert pairs == [("own", "published"), ("published", "own")] * 2 + [("own", "published")]


def test_line_that_takes_too_long_still_has_three_turns(script, monkeypatch):
    row = measured(script, monkeypatch, own=[1] * 12, published=[2] * 12, seconds=0)
    assert row["turns"] == 3


@pytest.mark.parametrize(
    ("kind", "own", "published", "words"),
    [
        ("train", {"loss_cls": 1.001, "loss_bbox": 2.0}, {"loss_cls": 1.0, "loss_bbox": 2.0}, "bbox 0e+00, cls 1e-03"),
        ("assign", {"gt_index": [0, 1, -1]}, {"gt_index": [0, 2, -1]}, "1 of 3 points"),
        ("infer", {"boxes": [1, 2], "scores": [0.5, 0.5]}, {"boxes": [1], "scores": [0.5]}, "2 and 1 detections"),
        ("infer", {"boxes": [1], "scores": [0.5]}, {"boxes": [1], "scores": [0.4]}, "1 detections, scores within 1e-01"),
        (
            "infer",
            {"boxes": [1], "scores": [0.5], "masks": [[True, False]]},
            {"boxes": [1], "scores": [0.5], "masks": [[True, True]]},
            "50.0000% of mask pixels equal",
        ),
        ("rotated_iou", {"iou": [0.5]}, {"iou": [0.25]}, "within 2e-01"),
        ("rotated_nms", {"kept": [0, 3, 5]}, {"kept": [0, 3]}, "1 of 3 kept"),
    ],
)
def test_what_the_sides_computed_is_compared(script, kind, own, published, words):
    found = script.difference(kind, *({name: np.array(value) for name, value in side.items()} for side in (own, published)))
    assert words in found


def test_inputs_repeat_with_the_seed_alone(script, data, tmp_path):
    from sides.workloads import prepare

    case = {"kind": "assign", **script.LINES["assign 5"].case, "images": 1}
    arrays = []
    for number, seed in enumerate((0, 0, 1)):
        folder = tmp_path / str(number)
        folder.mkdir()
        prepare(case, data, folder, seed)
        arrays.append(dict(np.load(folder / "arrays.npz")))
    same, other = (
        [np.array_equal(arrays[0][name], arrays[one][name]) for name in ("boxes", "labels", "logits")] for one in (1, 2)
    )
    assert all(same)
    assert not any(other)


@pytest.mark.slow
def test_own_side_answers_with_what_the_library_computes(script, data, tmp_path):
    from sides.workloads import prepare

    prepare({"kind": "rotated_nms", "boxes": 60, "threshold": 0.1}, data, tmp_path, seed=3)
    side = script.Side(sys.executable, "own.py", tmp_path, threads=1)
    assert side.turn() > 0
    side.close()
    arrays = dict(np.load(tmp_path / "arrays.npz"))
    boxes, scores = torch.tensor(arrays["boxes"]), torch.tensor(arrays["scores"])
    kept = rotated_nms(boxes, scores, torch.zeros(60, dtype=torch.int64), 0.1)
    assert 0 < len(kept) < 60
    assert np.array_equal(np.load(side.result)["kept"], kept.numpy())


@pytest.mark.slow
def test_side_that_breaks_ends_the_benchmark_with_its_last_words(script, tmp_path):
    (tmp_path / "case.json").write_text(json.dumps({"kind": "no such kind"}))
    with pytest.raises(SystemExit, match=r"(?s)'own' failed.*KeyError"):
        script.Side(sys.executable, "own.py", tmp_path, threads=1)


@pytest.mark.slow
def test_command_alone_prints_limits_and_our_times(data, tmp_path):
    command = [sys.executable, ROOT / "benchmarks/side_by_side.py", "--data", data, "--threads", "1", "--turns", "1"]
    lines = ["rotated IoU 2000x2000", "train tiny 8x320", "infer tiny exported"]
    command += ["--lines", *lines, "--json", tmp_path / "rows.json"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
    result = json.loads((tmp_path / "rows.json").read_text())
    assert [row["line"] for row in result["rows"]] == lines
    assert all(row["own ms"] > 0 and "ratio" not in row for row in result["rows"])
    assert len(result["limits"]) == 4
    assert all(row["median"] > 0 for row in result["limits"])


def test_unknown_line_is_named(data):
    command = [sys.executable, str(ROOT / "benchmarks/side_by_side.py"), "--data", str(data), "--lines", "train nothing"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 2
    assert "no line 'train nothing': one of train tiny 8x320" in answer.stderr
