"""Small networks that find something, and exported once for all tests of a process."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import cv2
import numpy as np
import torch
from made_networks import SMALL, settle_norms

from rtmdet_lab.config.presets import model_name, resolve_test
from rtmdet_lab.config.settings import TestConfig
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.export.targets import SUFFIXES, export_model, make_plan
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.tasks.factory import create_model
from rtmdet_lab.tasks.test_time import View, to_canvas
from rtmdet_lab.transforms.normalize import normalize

CLASSES = ("a", "b", "c")
# Few blocks: exporting costs by the node, not by the weight.
TINY = SMALL | {"backbone.stage_blocks": [1, 1, 1, 1], "head.stacked_convs": 1}


def made_images(count: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Returns (H, W, 3) uint8 RGB images of smooth noise, each of another size."""
    generator = np.random.default_rng(seed)
    sides = [(150, 230), (200, 131), (96, 96), (77, 300)]
    coarse = [generator.integers(0, 256, (9, 9, 3)).astype(np.uint8) for _ in range(count)]
    return [cv2.resize(one, sides[number % 4][::-1], interpolation=cv2.INTER_CUBIC) for number, one in enumerate(coarse)]


@cache
def finder(task: str = "detection", seed: int = 0) -> RTMDet:
    """Returns an untrained network whose scores and boxes depend on the image and spread widely."""
    torch.manual_seed(seed)
    model = create_model(model_name(task, "s"), len(CLASSES), **TINY)
    images = made_images(4) + made_images(4, 1)
    canvases = [to_canvas(image, ImageMeta(), View(side=128), 128)[0] for image in images]
    pixels = normalize(torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2))
    settle_norms(model, pixels)
    head = model.bbox_head
    # What each predictor gives on average, and how far it spreads.
    wanted = {"rtm_cls": (-2.5, 1.5), "rtm_reg": (3.0, 1.0), "rtm_kernel": (0.0, 1.0), "rtm_ang": (0.0, 1.0)}
    with torch.no_grad():
        features = model.neck(model.backbone(pixels))
        for name, (middle, spread) in wanted.items():
            for level, predictor in enumerate(getattr(head, name, ())):
                towers = {"rtm_cls": head.cls_convs, "rtm_kernel": getattr(head, "kernel_convs", None)}
                tower = towers.get(name, head.reg_convs)[level](features[level])
                predictor.weight.normal_()
                predictor.bias.zero_()
                given = predictor(tower)
                predictor.weight.mul_(spread / given.std())
                predictor.bias.fill_(middle - (spread * given.mean() / given.std()).item())
    return model


def test_settings(task: str, **settings) -> TestConfig:
    return resolve_test(TestConfig(**{"input_size": 128, "score_threshold": 0.3} | settings), task)


test_settings.__test__ = False


@cache
def exported(task: str, target: str = "onnx", output: str | None = None, **settings) -> Path:
    """Returns the file of ``finder(task)`` for a target; settings as in ``TestConfig``."""
    folder = Path(mkdtemp(prefix="made-exports-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    plan = make_plan(task, target, test_settings(task, **settings), CLASSES, output)
    path = folder / f"network{SUFFIXES[target]}"
    export_model(finder(task), plan, path)
    return path
