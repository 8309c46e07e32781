"""Our side: ``python own.py FOLDER FILE`` runs the case of a folder (see serve.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from serve import Turn, serve
from torch import Tensor, nn

from rtmdet_lab import (
    DensePredictions,
    Detections,
    ExperimentConfig,
    Priors,
    Targets,
    TrainStep,
    build_task,
    create_model,
    predict,
    prepare_inference,
    with_overrides,
)
from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.dynamic import dynamic_soft_label
from rtmdet_lab.config.presets import STRIDES, parse_model_name, resolve_test
from rtmdet_lab.config.settings import AssignerConfig, TestConfig
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.loaders import PipelineDataset, SampleKey
from rtmdet_lab.engine.stages import plan_stages
from rtmdet_lab.export.canvases import detect_exported
from rtmdet_lab.export.exported import open_exported
from rtmdet_lab.export.targets import export_model, make_plan
from rtmdet_lab.geometry.masks import mask_centers
from rtmdet_lab.geometry.priors import decode_distances, decode_rotated, point_grid
from rtmdet_lab.geometry.rotated import rotated_iou, rotated_nms
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.instance import MASK_STRIDE
from rtmdet_lab.tasks.rotated import GEOMETRY
from rtmdet_lab.transforms.normalize import normalize


def read(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "arrays.npz"))


def decode(priors: Priors, distances: Tensor) -> Tensor:
    if distances.shape[-1] == 5:
        return decode_rotated(priors.points, distances[..., :4], distances[..., 4])
    return decode_distances(priors.points, distances)


def train(folder: Path, case: dict[str, Any]) -> Turn:
    arrays, size = read(folder), case["size"]
    name, model_size = parse_model_name(case["model"])
    settings = {"task": name, "model.size": model_size, "model.num_classes": case["classes"], "train.amp": case["amp"]}
    # As the other side: one learning rate, and no averaged weights.
    settings |= {"train.lr": 1e-5, "train.schedule": "constant", "train.warmup_steps": 0, "train.ema": False}
    task = build_task(with_overrides(ExperimentConfig(), settings))
    task.model.load_state_dict(torch.load(folder / "weights.pt"))
    targets = []
    for number in range(case["batch"]):
        boxes, labels = (torch.tensor(arrays[f"{field}{number}"]) for field in ("boxes", "labels"))
        one = Targets(boxes, labels)
        if f"masks{number}" in arrays:
            masks = torch.tensor(arrays[f"masks{number}"])
            sampled = masks[:, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]
            one = Targets(boxes, labels, masks=sampled, centers=mask_centers(masks))
        targets.append(one)
    images = normalize(torch.tensor(arrays["images"]))
    priors = point_grid([(size // stride, size // stride) for stride in STRIDES], STRIDES)
    wanted = decode(priors, torch.tensor(arrays["distances"]))

    def with_wanted_boxes(_model: nn.Module, _inputs: tuple[Tensor], predictions: DensePredictions) -> None:
        predictions.boxes = wanted + 0 * predictions.boxes

    task.model.register_forward_hook(with_wanted_boxes)
    step = TrainStep(task, batches=1)
    return lambda: {name: value.numpy() for name, value in step(images, targets).items()}


def assign(folder: Path, case: dict[str, Any]) -> Turn:
    arrays = read(folder)
    boxes, labels, distances, logits, points, strides = (torch.tensor(value) for value in arrays.values())
    priors = Priors(points, strides)
    predictions = DensePredictions(logits, decode(priors, distances), priors)
    targets = [Targets(one, label) for one, label in zip(boxes, labels, strict=True)]
    assigner = dynamic_soft_label(AssignerConfig(), GEOMETRY if case["rotated"] else BoxGeometry())
    return lambda: {"gt_index": assigner(predictions, targets).gt_index.numpy()}


def infer(folder: Path, case: dict[str, Any]) -> Turn:
    model = create_model(case["model"], case["classes"])
    model.load_state_dict(torch.load(folder / "weights.pt"))
    if case["way"] == "exported":
        find = exported(model, folder / "network.onnx", case)
    else:
        find = partial(predict, prepare_inference(model, compiled=case["way"] == "compiled"), input_size=case["size"])

    def turn() -> dict[str, Any]:
        (found,) = find([Path(case["image"])])
        arrays = {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
        return {
            name: value.numpy()
            for name, value in (arrays | ({"masks": found.masks} if "ins" in case["model"] else {})).items()
        }

    return turn


def exported(model: RTMDet, path: Path, case: dict[str, Any]) -> Callable[[list[Path]], list[Detections]]:
    """Returns what finds objects in image files with the network as ``rtmdet-lab export --to onnx`` writes it."""
    test = resolve_test(TestConfig(input_size=case["size"]), model.task)
    plan = make_plan(model.task, "onnx", test, [str(number) for number in range(case["classes"])])
    export_model(model, plan, path)
    return partial(detect_exported, open_exported(path, threads=torch.get_num_threads()))


def pipeline(folder: Path, case: dict[str, Any]) -> Turn:
    name, size = parse_model_name(case["model"])
    config = build_task(with_overrides(ExperimentConfig(), {"task": name, "model.size": size})).config
    source = CocoDataset(case["data"]["images"], case["data"]["annotations"], training=True, outlines=name == "instance")
    dataset = PipelineDataset(source, plan_stages(config, source)[0].pipeline, training=True)
    position = 0

    def turn() -> dict[str, Any]:
        nonlocal position
        for _ in range(case["images"]):
            dataset[SampleKey(0, position, position % len(source))]
            position += 1
        return {}

    return turn


def rotated_overlaps(folder: Path, case: dict[str, Any]) -> Turn:
    one, other = (torch.tensor(value) for value in read(folder).values())
    return lambda: {"iou": rotated_iou(one, other).numpy()}


def rotated_suppression(folder: Path, case: dict[str, Any]) -> Turn:
    arrays = read(folder)
    boxes, scores = torch.tensor(arrays["boxes"]), torch.tensor(arrays["scores"])
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    return lambda: {"kept": rotated_nms(boxes, scores, labels, case["threshold"]).numpy()}


SETUPS = {
    "train": train,
    "assign": assign,
    "infer": infer,
    "pipeline": pipeline,
    "rotated_iou": rotated_overlaps,
    "rotated_nms": rotated_suppression,
}

if __name__ == "__main__":
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    cv2.setNumThreads(0)
    serve(SETUPS, lambda path, arrays: np.savez(path, **arrays))
