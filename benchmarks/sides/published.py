"""The published implementation's side, run by a Python that has it: ``python published.py FOLDER FILE`` (see serve.py).

It imports MMDetection 3 and MMRotate 1 and nothing of ours. Models and pipelines are those of the configuration files they
ship; weights, pixels, objects and made-up predictions come from the case.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import logging
import os
import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from serve import Turn, serve


def without_torchvision() -> None:
    """Puts an empty torchvision in place where there is none: the code measured here imports it and uses nothing of it."""
    with contextlib.suppress(Exception):
        import torchvision  # noqa: F401

        return
    names = ["", ".models", ".models.resnet", ".ops", ".transforms", ".transforms.functional", ".datasets", ".utils"]
    for name in ("torchvision" + part for part in names):
        module = types.ModuleType(name)
        module.__path__, module.__spec__, module.__version__ = [], importlib.machinery.ModuleSpec(name, None), "0.0"
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


def config_of(name: str) -> Any:
    """Returns the shipped configuration of a model by our name, with batch norm of one process and no weights to fetch."""
    without_torchvision()
    logging.disable(logging.WARNING)
    import mmdet
    import mmrotate.utils
    from mmdet.utils import register_all_modules
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    register_all_modules(False)
    task, size = name.removeprefix("rtmdet-").rpartition("-")[::2]
    package, pattern = {
        "": (mmdet, f"rtmdet/rtmdet_{size}_*coco.py"),
        "ins": (mmdet, f"rtmdet/rtmdet-ins_{size}_*coco.py"),
        "r": (mmrotate, f"rotated_rtmdet/rotated_rtmdet_{size}-3x-dota.py"),
    }[task]
    if task == "r":
        mmrotate.utils.register_all_modules(False)
    init_default_scope("mmrotate" if task == "r" else "mmdet")
    (path,) = (Path(package.__file__).parent / ".mim/configs").glob(pattern)
    config = Config.fromfile(path)
    config.model = one_process(config.model)
    return config


def parts_of(value: Any) -> Any:
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from parts_of(one)


def one_process(model: Any) -> Any:
    for part in parts_of(model):
        part.pop("init_cfg", None)
        if part.get("type") == "SyncBN":
            part["type"] = "BN"
    return model


def build(folder: Path, name: str) -> tuple[Any, Any]:
    config = config_of(name)
    if name.startswith("rtmdet-r-"):
        from mmrotate.registry import MODELS
    else:
        from mmdet.registry import MODELS
    model = MODELS.build(config.model)
    model.load_state_dict(torch.load(folder / "weights.pt"))
    return model, config


def read(folder: Path) -> dict[str, np.ndarray]:
    return dict(np.load(folder / "arrays.npz"))


def train(folder: Path, case: dict[str, Any]) -> Turn:
    arrays, size = read(folder), case["size"]
    model, config = build(folder, case["model"])
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.structures import InstanceData

    rotated = case["model"].startswith("rtmdet-r-")
    init_default_scope("mmdet")
    optimizer = build_optim_wrapper(model.train(), config.optim_wrapper)
    for group in optimizer.optimizer.param_groups:
        group["lr"] = 1e-5
    if rotated:
        init_default_scope("mmrotate")
        overlap_without_gradient()
    samples = []
    for number in range(case["batch"]):
        boxes, labels = (torch.tensor(arrays[f"{field}{number}"]) for field in ("boxes", "labels"))
        if rotated:
            from mmrotate.structures.bbox import RotatedBoxes

            boxes = RotatedBoxes(boxes)
        objects = InstanceData(bboxes=boxes, labels=labels)
        if f"masks{number}" in arrays:
            objects.masks = BitmapMasks(arrays[f"masks{number}"].astype(np.uint8), size, size)
        meta = {"img_shape": (size, size), "ori_shape": (size, size), "scale_factor": (1.0, 1.0), "img_id": number}
        samples.append(DetDataSample(metainfo=meta, gt_instances=objects, ignored_instances=InstanceData()))
    images = [torch.tensor(image[::-1].copy()) for image in arrays["images"]]  # BGR

    head, levels, start = model.bbox_head, [], 0
    for stride in (8, 16, 32):
        side = size // stride
        level = torch.tensor(arrays["distances"][:, start : start + side * side])
        levels.append(level.permute(0, 2, 1).reshape(case["batch"], -1, side, side).contiguous())
        start += side * side
    loss_by_feat = head.loss_by_feat

    def loss_near_objects(cls_scores: Any, bbox_preds: Any, *rest: Any, **named: Any) -> Any:
        near = [level[:, :4] + 0 * given for level, given in zip(levels, bbox_preds, strict=False)]
        if rotated:
            angles = [level[:, 4:] + 0 * given for level, given in zip(levels, rest[0], strict=False)]
            rest = (angles, *rest[1:])
        return loss_by_feat(cls_scores, near, *rest, **named)

    head.loss_by_feat = loss_near_objects

    def fresh(sample: Any) -> Any:
        copied = sample.clone()  # the loss replaces its fields
        copied.gt_instances = sample.gt_instances.clone()
        return copied

    def turn() -> dict[str, Any]:
        losses = model.loss(batch["inputs"], [fresh(one) for one in batch["data_samples"]])
        total, values = model.parse_losses(losses)
        optimizer.update_params(total)
        return {name: value.detach().numpy() for name, value in values.items() if name != "loss"}

    batch = model.data_preprocessor({"inputs": images, "data_samples": samples}, True)
    return turn


def overlap_without_gradient() -> None:
    """Their differentiable overlap of turned boxes has no CPU kernel: takes the one without gradient, which is cheaper."""
    import mmrotate.models.losses.rotated_iou_loss as losses
    from mmcv.ops import box_iou_rotated

    def overlap(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return box_iou_rotated(one[0].detach().float(), other[0].float(), aligned=True)[None] + 0 * one.sum(-1)

    losses.diff_iou_rotated_2d = overlap


def assign(folder: Path, case: dict[str, Any]) -> Turn:
    arrays = read(folder)
    without_torchvision()
    from mmdet.models.task_modules.assigners import DynamicSoftLabelAssigner
    from mmengine.structures import InstanceData

    points, strides = torch.tensor(arrays["points"]), torch.tensor(arrays["strides"])
    priors = torch.cat([points, strides[:, None], strides[:, None]], 1)
    distances, logits, boxes, labels = (torch.tensor(arrays[name]) for name in ("distances", "logits", "boxes", "labels"))
    options: dict[str, Any] = {}
    if case["rotated"]:
        config_of("rtmdet-r-tiny")
        from mmrotate.structures.bbox import RotatedBoxes, distance2obb

        options["iou_calculator"] = {"type": "mmrotate.RBboxOverlaps2D"}
        found = [RotatedBoxes(distance2obb(points, one, angle_version="le90")) for one in distances]
        boxes = [RotatedBoxes(one) for one in boxes]
    else:
        found = [torch.cat([points - one[:, :2], points + one[:, 2:]], 1) for one in distances]
    assigner = DynamicSoftLabelAssigner(topk=13, **options)
    pairs = [
        (InstanceData(bboxes=box, scores=logit, priors=priors), InstanceData(bboxes=truth, labels=label))
        for box, logit, truth, label in zip(found, logits, boxes, labels, strict=False)
    ]

    def turn() -> dict[str, Any]:
        with torch.no_grad():
            return {"gt_index": np.stack([assigner.assign(*pair).gt_inds.numpy() - 1 for pair in pairs])}

    return turn


def infer(folder: Path, case: dict[str, Any]) -> Turn:
    model, config = build(folder, case["model"])
    from mmengine.dataset import Compose

    model.eval()
    steps = [
        dict(step) for step in config.test_pipeline if "Annotations" not in step["type"] and "BoxType" not in step["type"]
    ]
    load = Compose(steps)

    @torch.no_grad()
    def turn() -> dict[str, Any]:
        one = load({"img_path": case["image"], "img_id": 0})
        (found,) = model.test_step({"inputs": [one["inputs"]], "data_samples": [one["data_samples"]]})
        found = found.pred_instances
        names = {"boxes": "bboxes", "scores": "scores", "labels": "labels"} | (
            {"masks": "masks"} if "masks" in found else {}
        )
        return {name: getattr(found, theirs).numpy() for name, theirs in names.items()}

    return turn


def pipeline(folder: Path, case: dict[str, Any]) -> Turn:
    import random

    config = config_of(case["model"])
    from mmdet.datasets import CocoDataset

    random.seed(case["seed"])
    np.random.seed(case["seed"])
    annotations, images = case["data"]["annotations"], case["data"]["images"]
    keep = {"filter_empty_gt": True, "min_size": 32}
    dataset = CocoDataset(
        ann_file=annotations, data_prefix={"img": images + "/"}, filter_cfg=keep, pipeline=config.train_pipeline
    )
    position = 0

    def turn() -> dict[str, Any]:
        nonlocal position
        for _ in range(case["images"]):
            dataset[position % len(dataset)]
            position += 1
        return {}

    return turn


def rotated_overlaps(folder: Path, case: dict[str, Any]) -> Turn:
    without_torchvision()
    from mmcv.ops import box_iou_rotated

    arrays = read(folder)
    one, other = torch.tensor(arrays["one"]), torch.tensor(arrays["other"])
    return lambda: {"iou": box_iou_rotated(one, other).numpy()}


def rotated_suppression(folder: Path, case: dict[str, Any]) -> Turn:
    without_torchvision()
    from mmcv.ops import nms_rotated

    arrays = read(folder)
    boxes, scores = torch.tensor(arrays["boxes"]), torch.tensor(arrays["scores"])
    return lambda: {"kept": nms_rotated(boxes, scores, case["threshold"])[1].numpy()}


SETUPS = {
    "train": train,
    "assign": assign,
    "infer": infer,
    "pipeline": pipeline,
    "rotated_iou": rotated_overlaps,
    "rotated_nms": rotated_suppression,
}

if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    cv2.setNumThreads(0)
    serve(SETUPS, lambda path, arrays: np.savez(path, **arrays))
