"""Timing in turns, the contest of runtimes, and its figure."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest
from made_exports import CLASSES, finder, made_images

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError, UnknownNameError
from rtmdet_lab.engine.predict import predict
from rtmdet_lab.experiment.run import open_evaluation
from rtmdet_lab.export.latency import time_in_turns
from rtmdet_lab.export.runtime_benchmark import contestants, hold_contest
from rtmdet_lab.tasks.factory import build_task
from rtmdet_lab.viz.ablations import plot_runtimes


@pytest.fixture
def contest(tmp_path):
    """The task of a made network, and a set whose truth is what it finds best."""
    model = finder("detection")
    settings = {"model.num_classes": 3, "data.classes": list(CLASSES), "test.input_size": 128}
    task = build_task(with_overrides(ExperimentConfig(model=model.config), settings))
    task.model = model
    (tmp_path / "images").mkdir()
    images, annotations = [], []
    for number, (image, found) in enumerate(
        zip(made_images(3), predict(model, made_images(3), input_size=128), strict=True)
    ):
        name = f"{number}.png"
        cv2.imwrite(str(tmp_path / "images" / name), image[..., ::-1])
        height, width = image.shape[:2]
        images.append({"id": number + 1, "file_name": name, "width": width, "height": height})
        for box, label in zip(found.boxes.tolist(), found.labels.tolist(), strict=True):
            x, y, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]
            if w > 5 and h > 5 and x >= 0 and y >= 0 and x + w <= width and y + h <= height and len(annotations) < 30:
                entry = {"id": len(annotations) + 1, "image_id": number + 1, "category_id": label + 1, "bbox": [x, y, w, h]}
                annotations.append(entry | {"area": w * h, "iscrowd": 0})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    return task, tmp_path


def test_every_runtime_is_shown_every_canvas_right_after_the_others():
    seen = []
    canvases = [np.full((1, 3, 2, 2), value, np.uint8) for value in (1, 2)]
    runs = {name: lambda canvas, name=name: seen.append((name, int(canvas.max()))) for name in ("a", "b")}
    timings = time_in_turns(runs, canvases, rounds=2, warmup=1)
    assert seen == [("a", 1), ("b", 1)] + [("a", 1), ("b", 1), ("a", 2), ("b", 2)] * 2
    assert [(one.name, len(one.milliseconds)) for one in timings] == [("a", 4), ("b", 4)]
    assert timings[0].ratio == 1


def test_a_network_that_waits_longer_has_the_larger_ratio():
    runs = {"short": lambda _: time.sleep(0.002), "long": lambda _: time.sleep(0.02)}
    short, long = time_in_turns(runs, [np.zeros(1)] * 5, warmup=0)
    assert long.ratio > 1 > 0.5 > short.percentile(50) / long.percentile(50)


def test_nothing_to_time_is_refused():
    with pytest.raises(SettingError, match="at least one"):
        time_in_turns({}, [np.zeros(1)])


def test_a_runtime_that_says_the_same_scores_the_same(contest):
    task, folder = contest
    opened = contestants(task, ["pytorch", "torchscript"], folder / "out")
    source = open_evaluation(task, folder / "images", folder / "truth.json", "refuse")
    rows = hold_contest(opened, task, source, folder / "images", timed_images=2)
    assert [row["runtime"] for row in rows] == ["pytorch", "torchscript"]
    assert rows[0]["AP"] > 0.3
    assert rows[1]["AP"] == pytest.approx(rows[0]["AP"], abs=1e-3)
    assert all(0 < row["p10_ms"] <= row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] for row in rows)
    axes = plot_runtimes(rows).axes[0]
    assert [text.get_text().split(":")[0] for text in axes.get_legend().get_texts()] == ["pytorch", "torchscript"]


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (["onnx-int8"], SettingError, "calibration images"),
        (["onxx"], UnknownNameError, "did you mean 'onnx'"),
        (["torchscript-int8"], SettingError, "cannot be exported in int8"),
    ],
)
def test_impossible_runtimes_are_refused(contest, names, error, words):
    task, folder = contest
    with pytest.raises(error, match=words):
        contestants(task, names, folder / "out")
