"""Image classification, from folders to a backbone that starts a detector."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from rtmdet_lab import ExperimentConfig, load_checkpoint, predict, task_from_checkpoint, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.core.errors import CheckpointError, SettingError
from rtmdet_lab.core.structures import Detections, ImageMeta, Targets
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.hooks import Hook
from rtmdet_lab.engine.loop import fit
from rtmdet_lab.evaluation.top_k import TopKEvaluator
from rtmdet_lab.experiment.run import open_data, prepare, run
from rtmdet_lab.models.checkpoints import read_checkpoint
from rtmdet_lab.tasks.classification import best_labels, draw_labelled, smoothed_cross_entropy
from rtmdet_lab.tasks.common import NonFiniteOutputError
from rtmdet_lab.tasks.factory import build_task, decode_for, spec_of

CLASSES = ("cross", "ring", "triangle")
SMALL = {
    "task": "classification",
    "model.size": "tiny",
    "model.width": 0.125,
    "augment.input_size": 64,
    "train.batch_size": 4,
    "train.epochs": 2,
    "train.lr": 0.002,
    "train.workers": 0,
}
DETECTOR = {"model.size": "tiny", "model.width": 0.125, "augment.input_size": 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("labelled")


@pytest.fixture(scope="module")
def data(folder):
    return draw_labelled(folder / "data", train=8, val=6, size=64, classes=CLASSES, progress=False)


@pytest.fixture(scope="module")
def trained(folder, data):
    record = run(config(data), folder / "run", device="cpu", reporter=Silent())
    return folder / "run", record


class StopAfterOne(Hook):
    """Ends the process after the first epoch, when its state is saved."""

    def after_epoch(self, run, record):
        raise KeyboardInterrupt


def config(data, **changes):
    return with_overrides(ExperimentConfig(), {**SMALL, **data, **changes})


def test_smoothing_by_hand():
    logits = torch.log(torch.tensor([[0.7, 0.2, 0.1]]))
    # 0.9 on the label, 0.1 shared by the three: weights 0.9333, 0.0333, 0.0333.
    by_hand = -(28 / 30 * math.log(0.7) + 1 / 30 * math.log(0.2) + 1 / 30 * math.log(0.1))
    assert_close(smoothed_cross_entropy(logits, torch.tensor([0])).item(), by_hand, rtol=1e-6, atol=0)
    assert_close(smoothed_cross_entropy(logits, torch.tensor([0]), smoothing=0.0).item(), -math.log(0.7), rtol=1e-6, atol=0)


def test_top_k_by_hand():
    evaluator = TopKEvaluator([f"c{label}" for label in range(7)])
    # The true class is 0; its place among the guesses is 1st, 2nd, 5th and none of them.
    for number, labels in enumerate(([0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5])):
        scores = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1])
        guesses = Detections(torch.zeros(5, 4), scores, torch.tensor(labels))
        evaluator.add([guesses], [Targets(torch.zeros(1, 4), torch.tensor([0]), meta=ImageMeta(number))])
    assert evaluator.summary() == {"top1": 0.25, "top5": 0.75}
    assert evaluator.per_class()[0] == {"class": "c0", "top1": 0.25, "top5": 0.75, "images": 4}
    assert evaluator.recall_by_image()[-1] == (0, 1.0)
    other = TopKEvaluator(evaluator.classes)
    other.merge([evaluator.state(), evaluator.state()])
    assert other.summary() == evaluator.summary()


def test_best_labels_come_first_and_cover_the_image():
    test = resolve(config({})).test
    (result,) = best_labels(torch.tensor([[0.0, 2.0, 1.0]]), [ImageMeta(0, (20, 30))], test)
    assert result.labels.tolist() == [1, 2, 0]
    assert_close(result.scores.sum().item(), 1.0)
    assert result.boxes.tolist() == [[0, 0, 30, 20]] * 3


def test_output_that_is_no_number_is_refused():
    test = resolve(config({})).test
    with pytest.raises(NonFiniteOutputError, match="image 7"):
        decode_for("classification")(torch.tensor([[math.nan, 0.0]]), [ImageMeta(7, (8, 8))], test)


def test_run_leaves_scores_weights_and_labels(trained, data):
    out, record = trained
    assert record.model == "cspnext-tiny"
    assert set(record.metrics) == {"top1", "top5"}
    assert record.metrics["top5"] == 1.0  # of three classes
    assert [row["images"] for row in record.per_class] == [2, 2, 2]
    task = build_task(config(data, **{"model.num_classes": 3, "data.classes": list(CLASSES)}))
    load_checkpoint(task.model, out / "last.safetensors").require_complete()
    results = predict(task, data["data.val_images"] + "/ring")
    assert len(results) == 2
    assert all(len(result) == 3 for result in results)


def test_resumed_run_is_the_uninterrupted_one_to_the_bit(trained, data, folder):
    out, _ = trained

    train, val = open_data(config(data))
    task, _ = prepare(resolve(config(data)), train.classes)

    with pytest.raises(KeyboardInterrupt):
        fit(task, train, val, folder / "stopped", reporter=Silent(), hooks=[StopAfterOne()])
    run(config(data), folder / "stopped", device="cpu", resume=True, reporter=Silent())
    first, second = (read_checkpoint(path / "last.safetensors").tensors for path in (out, folder / "stopped"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_backbone_starts_a_detector(trained):
    weights = trained[0] / "last.safetensors"
    start = with_overrides(ExperimentConfig(), {**DETECTOR, "model.pretrained_backbone": str(weights)})
    task, report = prepare(resolve(start), ("a", "b"))
    own, given = task.model.state_dict(), read_checkpoint(weights).tensors
    backbone = [key for key in own if key.startswith("backbone.")]
    assert sorted(report.loaded) == sorted(backbone)
    assert all(torch.equal(own[key], given[key]) for key in backbone)


def test_backbone_of_another_size_is_refused_by_name(trained):
    weights = str(trained[0] / "last.safetensors")
    for changes in ({"model.width": 0.25}, {"model.depth": 0.7}):
        start = with_overrides(ExperimentConfig(), {**DETECTOR, **changes, "model.pretrained_backbone": weights})
        with pytest.raises((CheckpointError, SettingError), match=r"last\.safetensors"):
            prepare(resolve(start), ("a", "b"))


def test_augmentation_is_left_out_by_one_setting(data):
    train, _ = open_data(config(data))
    for crop, kinds in ((True, 4), (False, 2)):
        (phase,) = spec_of("classification").phases(resolve(config(data, **{"augment.crop": crop})), train)
        assert len(phase.pipeline.transforms) == kinds
        image, target = phase.pipeline(*train.load(0))
        assert image.shape == (3, 64, 64)
        assert target["boxes"].tolist() == [[0, 0, 64, 64]]


def test_class_rows_go_by_name(trained, data):
    weights = trained[0] / "last.safetensors"
    images = sorted(Path(data["data.val_images"]).rglob("*.jpg"))
    scores = {}
    for classes in (CLASSES, ("triangle", "cross", "ring")):
        results = predict(task_from_checkpoint(weights, classes=classes), images)
        scores[classes] = [
            {classes[label]: score for label, score in zip(result.labels.tolist(), result.scores.tolist(), strict=True)}
            for result in results
        ]
    for first, second in zip(*scores.values(), strict=True):
        assert first == pytest.approx(second, rel=1e-6)
    fewer = task_from_checkpoint(weights, classes=("ring", "cross"))
    rows, own = read_checkpoint(weights).tensors["head.fc.weight"], fewer.model.state_dict()["head.fc.weight"]
    assert torch.equal(own, rows[[CLASSES.index("ring"), CLASSES.index("cross")]])
