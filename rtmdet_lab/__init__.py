"""RTMDet Lab: the RTMDet detector in plain PyTorch, every design choice a setting, every number a record.

The names below are the public face and stay stable. They are imported on first use, so ``import rtmdet_lab`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "ExperimentConfig": "config.settings",
    "ModelConfig": "config.settings",
    "BackboneConfig": "config.settings",
    "NeckConfig": "config.settings",
    "HeadConfig": "config.settings",
    "AssignerConfig": "config.settings",
    "LossConfig": "config.settings",
    "AugmentConfig": "config.settings",
    "TrainConfig": "config.settings",
    "TestConfig": "config.settings",
    "DataConfig": "config.settings",
    "with_overrides": "config.overrides",
    "Targets": "core.structures",
    "Detections": "core.structures",
    "Priors": "core.structures",
    "DensePredictions": "core.structures",
    "Assignment": "core.structures",
    "ImageMeta": "core.structures",
    "UserError": "core.errors",
    "create_model": "tasks.factory",
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
    "TrainStep": "engine.step",
    "predict": "engine.predict",
    "prepare_inference": "engine.predict",
    "task_from_checkpoint": "engine.load",
    "run": "experiment.run",
    "Table": "experiment.table",
    "Comparison": "experiment.table",
    "load_table": "experiment.table",
    "run_row": "experiment.row",
    "row_config": "experiment.row",
    "RunRecord": "experiment.record",
    "read_record": "experiment.record",
    # What Table, load_table, run_row and row_config were called in earlier versions.
    "PaperItem": "experiment.table",
    "load_experiment": "experiment.table",
    "run_variant": "experiment.row",
    "variant_config": "experiment.row",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # what an editor sees
    from rtmdet_lab.config.overrides import with_overrides
    from rtmdet_lab.config.settings import (
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
    )
    from rtmdet_lab.core.errors import UserError
    from rtmdet_lab.core.structures import Assignment, DensePredictions, Detections, ImageMeta, Priors, Targets
    from rtmdet_lab.engine.load import task_from_checkpoint
    from rtmdet_lab.engine.predict import predict, prepare_inference
    from rtmdet_lab.engine.step import TrainStep
    from rtmdet_lab.evaluation.coco import evaluate_coco
    from rtmdet_lab.evaluation.dota import evaluate_dota
    from rtmdet_lab.experiment.record import RunRecord, read_record
    from rtmdet_lab.experiment.row import row_config, run_row, run_variant, variant_config
    from rtmdet_lab.experiment.run import run
    from rtmdet_lab.experiment.table import Comparison, PaperItem, Table, load_experiment, load_table
    from rtmdet_lab.geometry.rotated import quads_to_rboxes, rboxes_to_quads, rotated_iou, rotated_nms
    from rtmdet_lab.layers.fuse import fuse
    from rtmdet_lab.models.checkpoints import LoadReport, load_checkpoint
    from rtmdet_lab.tasks.base import Task
    from rtmdet_lab.tasks.factory import build_task, create_model


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rtmdet_lab' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rtmdet_lab.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
