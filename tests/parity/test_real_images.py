"""A published detector on real images: its scores, and that training on does not harm it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.data.coco import CocoDataset
from rtmdet_lab.data.layout import find_coco
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.evaluate import evaluate
from rtmdet_lab.engine.load import task_from_checkpoint
from rtmdet_lab.evaluation.coco import METRICS
from rtmdet_lab.experiment.run import run

torch.set_num_threads(1)
DECODING = {"score_threshold": 0.05, "nms_iou": 0.6, "max_per_level": 1000, "max_per_image": 100}
# Computed with the published implementation on the 80 validation images.
EXPECTED = {
    320: {
        "AP": 0.4037,
        "AP50": 0.6432,
        "AP75": 0.4276,
        "APs": 0.1922,
        "APm": 0.4036,
        "APl": 0.6941,
        "AR1": 0.1651,
        "AR10": 0.4407,
        "AR100": 0.5531,
    },
    640: {
        "AP": 0.4684,
        "AP50": 0.7484,
        "AP75": 0.4994,
        "APs": 0.3930,
        "APm": 0.4876,
        "APl": 0.5804,
        "AR1": 0.1522,
        "AR10": 0.4976,
        "AR100": 0.6129,
    },
}


def weights_of(real_data: Path) -> Path:
    return real_data / "checkpoints" / "rtmdet_nano_person.pth"


@pytest.mark.slow
@pytest.mark.parametrize("size", EXPECTED)
def test_person_detector_scores_as_published(real_data, size):
    task = task_from_checkpoint(weights_of(real_data), input_size=size, batch_size=8, **DECODING)
    task.config = dataclasses.replace(task.config, train=dataclasses.replace(task.config.train, workers=0))
    paths = find_coco(real_data / "coco-mini")
    source = CocoDataset(paths["data.val_images"], paths["data.val_annotations"], ("person",))
    assert len(source) == 80
    found = evaluate(task, source).summary()
    assert set(METRICS) <= set(found)
    assert {name: found[name] for name in EXPECTED[size]} == pytest.approx(EXPECTED[size], abs=0.002)
    assert found["ARs"] < found["ARm"] < found["ARl"]  # not recorded


@pytest.mark.slow
@pytest.mark.parametrize("ema", [False, True])
def test_training_on_a_little_leaves_the_scores(real_data, tmp_path, ema):
    settings = {
        "model.size": "nano",
        "data.classes": ["person"],
        "augment.input_size": 320,
        "train.init_weights": str(weights_of(real_data)),
        "train.lr": 2e-5,
        "train.epochs": 5,
        "train.weak_epochs": 5,
        "train.batch_size": 8,
        "train.ema": ema,
        "train.workers": 0,
        **{f"test.{name}": value for name, value in DECODING.items()},
    }
    config = with_overrides(ExperimentConfig(), settings | find_coco(real_data / "coco-mini"))
    record = run(config, tmp_path / "run", device="cpu", reporter=Silent())
    scores = [one["metrics"]["AP"] for one in record.history]
    assert len(scores) == 5
    assert min(scores) >= 0.39
    assert len(set(scores)) > 1  # something was learned
