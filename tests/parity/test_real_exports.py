"""The published person detector in other runtimes, on real images: what agrees to the digit, and what fewer bits cost."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.engine.predict import image_paths, predict
from rtmdet_lab.experiment.run import open_evaluation
from rtmdet_lab.export.canvases import detect_exported, score_exported, spread, spread_canvases
from rtmdet_lab.export.compare import compare
from rtmdet_lab.export.exported import open_exported
from rtmdet_lab.export.targets import SUFFIXES, export_model, make_plan

torch.set_num_threads(1)
SIZE = 320
DECODING = {"score_threshold": 0.05, "nms_iou": 0.6, "max_per_level": 1000, "max_per_image": 100}
PUBLISHED_AP = 0.4037  # of the published implementation on these images, see test_real_images.py


def person_detector(folder: Path):
    return task_from_checkpoint(folder / "checkpoints" / "rtmdet_nano_person.pth", input_size=SIZE, **DECODING)


def written(task, target: str, precision: str, folder: Path, calibration=()):
    plan = make_plan(task.name, target, task.config.test, ["person"], precision=precision)
    path = folder / f"person{SUFFIXES[target]}"
    export_model(task.model, plan, path, calibration)
    return open_exported(path, threads=1, fixed=(1, SIZE, SIZE))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_detections_are_those_of_pytorch(real_data, tmp_path, target):
    task = person_detector(real_data)
    images = spread(image_paths(Path(find_coco(real_data / "coco-mini")["data.val_images"])), 40)
    exported = detect_exported(written(task, target, "fp32", tmp_path), images)
    difference = compare(predict(task.model, images, input_size=SIZE, **DECODING), exported)
    assert difference.detections == difference.exported == difference.matched > 1000
    assert difference.boxes_px < 0.05
    assert difference.scores < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "precision", "cost"),
    [("onnx", "fp16", 0.005), ("openvino", "fp16", 0.005), ("openvino", "int8", 0.01), ("onnx", "int8", 0.02)],
)
def test_fewer_bits_cost_little(real_data, tmp_path, target, precision, cost):
    task, paths = person_detector(real_data), find_coco(real_data / "coco-mini")
    calibration = spread_canvases(Path(paths["data.train_images"]), 80, SIZE) if precision == "int8" else ()
    exported = written(task, target, precision, tmp_path, calibration)
    assert exported.description["precision"] == precision
    source = open_evaluation(task, Path(paths["data.val_images"]), Path(paths["data.val_annotations"]), "refuse")
    score = score_exported(exported, task, source, batch_size=1).summary()["AP"]
    assert score > PUBLISHED_AP - cost
