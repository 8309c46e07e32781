"""RTMDet Lab: the RTMDet detector in plain PyTorch, every design choice a setting, every number a record.

The names below are the public face and stay stable. They are imported on first use, so ``import rtmdet_lab`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ExperimentConfig": "config",
    "ModelConfig": "config",
    "BackboneConfig": "config",
    "NeckConfig": "config",
    "HeadConfig": "config",
    "AssignerConfig": "config",
    "LossConfig": "config",
    "AugmentConfig": "config",
    "TrainConfig": "config",
    "TestConfig": "config",
    "DataConfig": "config",
    "with_overrides": "config",
    "Targets": "structures",
    "Detections": "structures",
    "Priors": "structures",
    "DensePredictions": "structures",
    "Assignment": "structures",
    "ImageMeta": "structures",
    "UserError": "errors",
    "create_model": "models.detector",
    "load_checkpoint": "models.checkpoints",
    "LoadReport": "models.checkpoints",
    "fuse": "layers.fuse",
    "build_task": "tasks.factory",
    "Task": "tasks.base",
    "rotated_iou": "geometry.rotated",
    "rotated_nms": "geometry.rotated",
    "quads_to_rboxes": "geometry.rotated",
    "rboxes_to_quads": "geometry.rotated",
    "evaluate_coco": "evaluation.coco",
    "evaluate_dota": "evaluation.dota",
    "predict": "inference",
    "prepare_inference": "inference",
    "task_from_checkpoint": "checkpoint_task",
    "run": "experiment",
    "PaperItem": "paper_items",
    "Comparison": "paper_items",
    "load_experiment": "paper_items",
    "run_variant": "variants",
    "variant_config": "variants",
    "RunRecord": "records",
    "read_record": "records",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # what an editor sees
    from rtmdet_lab.checkpoint_task import task_from_checkpoint
    from rtmdet_lab.config import (
        AssignerConfig,
        AugmentConfig,
        BackboneConfig,
        DataConfig,
        ExperimentConfig,
        HeadConfig,
        LossConfig,
        ModelConfig,
        NeckConfig,
        TestConfig,
        TrainConfig,
        with_overrides,
    )
    from rtmdet_lab.errors import UserError
    from rtmdet_lab.evaluation.coco import evaluate_coco
    from rtmdet_lab.evaluation.dota import evaluate_dota
    from rtmdet_lab.experiment import run
    from rtmdet_lab.geometry.rotated import quads_to_rboxes, rboxes_to_quads, rotated_iou, rotated_nms
    from rtmdet_lab.inference import predict, prepare_inference
    from rtmdet_lab.layers.fuse import fuse
    from rtmdet_lab.models.checkpoints import LoadReport, load_checkpoint
    from rtmdet_lab.models.detector import create_model
    from rtmdet_lab.paper_items import Comparison, PaperItem, load_experiment
    from rtmdet_lab.records import RunRecord, read_record
    from rtmdet_lab.structures import Assignment, DensePredictions, Detections, ImageMeta, Priors, Targets
    from rtmdet_lab.tasks.base import Task
    from rtmdet_lab.tasks.factory import build_task
    from rtmdet_lab.variants import run_variant, variant_config


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rtmdet_lab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rtmdet_lab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
