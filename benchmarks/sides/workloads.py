"""What both sides are given: the same pixels, objects, weights and made-up predictions, written to a folder.

An untrained network fits no object, so training and assignment are given boxes near the objects instead of its own (with
gradients through the whole network), and inference gets class scores of which a chosen number pass the threshold.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from pycocotools.coco import COCO

from rtmdet_lab import create_model
from rtmdet_lab.config.presets import STRIDES
from rtmdet_lab.data.images import read_image
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.geometry.priors import point_grid
from rtmdet_lab.transforms.normalize import normalize
from rtmdet_lab.transforms.pipelines import test_pipeline

MOST_OBJECTS = 15  # generated per image where there are no annotated rotated boxes


def prepare(case: dict[str, Any], data: Path, folder: Path, seed: int) -> None:
    """Writes the case: ``case.json``, and where its kind needs them ``arrays.npz`` and ``weights.pt``."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    paths = {name.removeprefix("data.train_"): str(path) for name, path in find_coco(data).items() if "train" in name}
    case = {**case, "seed": seed, "data": paths}
    arrays = {
        "train": training_batch,
        "assign": assignment_case,
        "infer": calibrated_network,
        "pipeline": lambda *_: {},
        "rotated_iou": lambda case, *_: {name: rotated_boxes(random, case["boxes"], 1024) for name in ("one", "other")},
        "rotated_nms": lambda case, *_: {
            "boxes": rotated_boxes(random, case["boxes"], 1024),
            "scores": random.random(case["boxes"], dtype=np.float32),
        },
    }[case["kind"]](case, folder, random)
    np.savez(folder / "arrays.npz", **arrays)
    (folder / "case.json").write_text(json.dumps(case))


def images_with_objects(case: dict[str, Any], count: int, least: int = 5) -> list[tuple[Path, list[dict], COCO]]:
    """Returns the paths and annotations of the first images with at least so many objects."""
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does
        truth = COCO(case["data"]["annotations"])
    found = []
    for number in sorted(truth.imgs):
        objects = [one for one in truth.imgToAnns[number] if not one.get("iscrowd")]
        if len(objects) >= least:
            found.append((Path(case["data"]["images"]) / truth.imgs[number]["file_name"], objects, truth))
    if len(found) < count:
        raise SystemExit(f"{case['data']['annotations']} has {len(found)} images with {least} objects: {count} are needed")
    return found[:count]


def training_batch(case: dict[str, Any], folder: Path, random: np.random.Generator) -> dict[str, np.ndarray]:
    size, rotated = case["size"], case["model"].startswith("rtmdet-r-")
    model = create_model(case["model"], 15 if rotated else 80)
    torch.save(model.state_dict(), folder / "weights.pt")
    arrays: dict[str, np.ndarray] = {}
    pixels, wanted = [], []
    for number, (path, objects, truth) in enumerate(images_with_objects(case, case["batch"])):
        image = read_image(path).permute(1, 2, 0).numpy()
        scale = min(size / image.shape[0], size / image.shape[1])
        shape = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        canvas = np.full((size, size, 3), 114, np.uint8)
        canvas[: shape[1], : shape[0]] = cv2.resize(image, shape)
        pixels.append(canvas.transpose(2, 0, 1))
        if rotated:
            boxes = rotated_boxes(random, MOST_OBJECTS, size)
            labels = random.integers(0, 15, len(boxes))
        else:
            boxes = np.array([one["bbox"] for one in objects], np.float32) * scale
            boxes[:, 2:] += boxes[:, :2]
            labels = np.array([one["category_id"] - 1 for one in objects]) % 80
        arrays |= {f"boxes{number}": boxes, f"labels{number}": labels}
        if "-ins-" in case["model"]:
            masks = np.zeros((len(objects), size, size), bool)
            for mask, one in zip(masks, objects, strict=True):
                mask[: shape[1], : shape[0]] = cv2.resize(truth.annToMask(one), shape, interpolation=cv2.INTER_NEAREST)
            arrays[f"masks{number}"] = masks
        wanted.append(distances_near(boxes, size, random))
    return arrays | {"images": np.stack(pixels), "distances": np.stack(wanted)}


def distances_near(boxes: np.ndarray, size: int, random: np.random.Generator) -> np.ndarray:
    """Returns what a half-trained network would say at every point (P, 4), or (P, 5) with an angle, for ``boxes``.

    Three of four points inside an object give its sides with 20 % of noise; the others give three strides each way.
    """
    priors = point_grid([(size // stride, size // stride) for stride in STRIDES], STRIDES)
    points, strides = priors.points.numpy(), priors.strides.numpy()
    found = np.abs(random.normal(3, 1, (len(points), boxes.shape[1]))) * strides[:, None] + 1
    turned = boxes.shape[1] == 5
    if turned:
        found[:, 4] = random.normal(0, 0.5, len(points))
    for box in boxes:
        if turned:
            cosine, sine = math.cos(box[4]), math.sin(box[4])
            across = (points - box[:2]) @ np.array([[cosine, -sine], [sine, cosine]])
            sides = np.concatenate([across + box[2:4] / 2, box[2:4] / 2 - across], 1)
        else:
            sides = np.concatenate([points - box[:2], box[2:] - points], 1)
        chosen = (sides.min(axis=1) > 0) & (random.random(len(points)) < 0.75)
        found[chosen, :4] = sides[chosen] * np.exp(random.normal(0, 0.2, (chosen.sum(), 4)))
        if turned:
            found[chosen, 4] = box[4] + random.normal(0, 0.08, chosen.sum())
    return found.astype(np.float32)


def rotated_boxes(random: np.random.Generator, count: int, extent: int) -> np.ndarray:
    """Returns boxes (count, 5): center, sides of 20 to 140 pixels, angle in le90."""
    center = random.uniform(0.05 * extent, 0.95 * extent, (count, 2))
    width = np.exp(random.uniform(math.log(20), math.log(140), count))
    height, angle = width * random.uniform(0.15, 1, count), random.uniform(-math.pi / 2, math.pi / 2 - 1e-3, count)
    return np.column_stack([center, width, height, angle]).astype(np.float32)


def assignment_case(case: dict[str, Any], folder: Path, random: np.random.Generator) -> dict[str, np.ndarray]:
    size, classes = case["size"], case["classes"]
    priors = point_grid([(size // stride, size // stride) for stride in STRIDES], STRIDES)
    points, strides = priors.points.numpy(), priors.strides.numpy()
    arrays: dict[str, list[np.ndarray]] = {name: [] for name in ("boxes", "labels", "distances", "logits")}
    for _ in range(case["images"]):
        if case["rotated"]:
            boxes = rotated_boxes(random, case["objects"], size)
        else:
            side = np.exp(random.uniform(math.log(16), math.log(size / 2), (case["objects"], 2)))
            corner = random.uniform(0, 1, (case["objects"], 2)) * (size - side)
            boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
        labels = random.integers(0, classes, len(boxes))
        logits = random.normal(-5, 1.5, (len(points), classes)).astype(np.float32)
        for box, label in zip(boxes, labels, strict=True):
            center = box[:2] if case["rotated"] else (box[:2] + box[2:]) / 2
            near = np.linalg.norm(points - center, axis=1) < 4 * strides
            logits[near, label] += random.normal(3, 1, near.sum())
        values = (boxes, labels, distances_near(boxes, size, random), logits)
        for name, value in zip(arrays, values, strict=True):
            arrays[name].append(value)
    stacked = {name: np.stack(values) for name, values in arrays.items()}
    return stacked | {"points": points, "strides": strides}


@torch.no_grad()
def calibrated_network(case: dict[str, Any], folder: Path, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Saves a network of random weights that finds as much as a trained one: so many scores pass the threshold.

    Batch norm takes its statistics from the image, boxes become some strides wide, class logits spread and move.
    """
    model = create_model(case["model"], 15 if case["model"].startswith("rtmdet-r-") else 80)
    path = images_with_objects(case, 1)[0][0]
    case["image"] = str(path)
    image, _ = test_pipeline(case["size"])(read_image(path), {"boxes": torch.zeros(0, 5)})
    batch = normalize(image[None])
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(batch)
    model.eval()
    head = model.bbox_head
    for predictor in head.rtm_reg:
        predictor.weight.mul_(8)
        predictor.bias.fill_(math.log(4) if head.exp_on_reg else 4.0)
    logits = model(batch).logits.flatten()
    spread = 1.6 / logits.std()
    last = (logits * spread).topk(case["candidates"]).values[-1]
    threshold = case["threshold"]
    for predictor in head.rtm_cls:
        predictor.weight.mul_(spread)
        predictor.bias.mul_(spread).add_(math.log(threshold / (1 - threshold)) - last)
    torch.save(model.state_dict(), folder / "weights.pt")
    return {}
