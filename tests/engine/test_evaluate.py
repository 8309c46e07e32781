"""A model run over a validation set."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from made_runs import Recorder, Squares, make_task
from made_samples import make_sample
from made_sets import assert_one_sentence
from torch import nn

from rtmdet_lab.core.errors import DataError
from rtmdet_lab.core.structures import Detections
from rtmdet_lab.engine.console import Silent
from rtmdet_lab.engine.evaluate import evaluate, iter_batches, make_val_loader, run_evaluation
from rtmdet_lab.engine.predict import predict

CPU = torch.device("cpu")


class Wide(Squares):
    """Squares on images that are wider than high, so that the network's canvas is not the file's."""

    def load(self, index):
        image, target = super().load(index)
        wide = torch.cat([image.as_subclass(torch.Tensor), image.as_subclass(torch.Tensor)], dim=2)
        return self.widened(wide, target)

    def widened(self, image, target):
        _, moved = make_sample(self.size, 2 * self.size, target["boxes"].tolist(), target["labels"].tolist())
        moved["meta"] = dataclasses.replace(moved["meta"], image_id=target["meta"].image_id)
        count = len(moved["labels"])
        moved["ignore"], moved["areas"] = torch.zeros(count, dtype=torch.bool), torch.full((count,), 500.0)
        return type(make_sample(2, 2, [])[0])(image), moved


def oracle_task(source, shift: float = 0.0, **changes):
    """Returns a task whose decoding is the ground truth itself, moved by ``shift`` pixels."""
    task = make_task(**changes)
    seen = []

    def decode(predictions, metas):
        found = []
        for meta in metas:
            seen.append(meta)
            target = source.load(meta.image_id)[1]
            boxes = target["boxes"].as_subclass(torch.Tensor) + shift
            found.append(Detections(boxes, torch.ones(len(boxes)), target["labels"]))
        return found

    task.model = nn.Identity()
    task.decode = decode
    return task, seen


def test_every_image_is_scored_once_in_the_pixels_of_its_file():
    source = Wide(5)
    task, seen = oracle_task(source, **{"test.batch_size": 2})
    summary = evaluate(task, source).summary()
    assert summary["AP"] == pytest.approx(1.0)
    assert [meta.image_id for meta in seen] == [0, 1, 2, 3, 4]
    assert seen[0].original_size == (64, 128)
    assert seen[0].canvas_size == (64, 64)
    assert seen[0].scale == (0.5, 0.5)


def test_worse_detections_score_less():
    source = Wide(5)
    shifted = evaluate(oracle_task(source, shift=2.0)[0], source).summary()
    assert shifted["AP"] < 0.8
    assert shifted["AP50"] > shifted["AP"]


@pytest.mark.parametrize("workers", [0, 2])
def test_network_gets_normalised_batches_of_the_set_size(workers):
    shapes = []

    class Look(nn.Module):
        def forward(self, images):
            shapes.append((tuple(images.shape), images.dtype))
            assert images.abs().max() < 4
            return images

    source = Wide(5)
    task, _ = oracle_task(source, **{"test.batch_size": 3, "test.input_size": 96, "train.workers": workers})
    task.model = Look()
    evaluate(task, source)
    assert shapes == [((3, 3, 96, 96), torch.float32), ((2, 3, 96, 96), torch.float32)]


def test_progress_is_reported_batch_by_batch():
    told = []

    class Told(Silent):
        def validating(self, done, total):
            told.append((done, total))

    source = Wide(5)
    evaluate(oracle_task(source, **{"test.batch_size": 2})[0], source, reporter=Told())
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_cancelled_evaluation_has_no_result():
    source = Wide(5)
    task, seen = oracle_task(source, **{"test.batch_size": 2})
    loader = make_val_loader(source, task.config, CPU)
    assert run_evaluation(task, loader, CPU, task.model, Silent(), lambda: len(seen) >= 2) is None
    assert len(seen) == 2


class Damaged(Wide):
    def load(self, index):
        if index == 3:
            raise DataError("image 3.jpg is truncated or damaged")
        return super().load(index)


def test_bad_image_stops_the_evaluation_with_its_name():
    source = Damaged(5)
    with pytest.raises(DataError, match=r"3\.jpg is truncated or damaged; .*on_bad=skip"):
        evaluate(oracle_task(source)[0], source)


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_image_is_reported_and_the_others_are_scored(workers):
    source, recorder = Damaged(5), Recorder()
    task, seen = oracle_task(source, **{"data.on_bad": "skip", "test.batch_size": 1, "train.workers": workers})
    assert evaluate(task, source, reporter=recorder).summary()["AP"] == pytest.approx(1.0)
    assert recorder.notes == ["skipped: image 3.jpg is truncated or damaged"]
    assert [meta.image_id for meta in seen] == [0, 1, 2, 4]


def test_images_without_objects_and_without_detections_are_scored():
    class Empty(Wide):
        def widened(self, image, target):
            image, target = super().widened(image, target)
            target = {name: value if name == "meta" else value[:0] for name, value in target.items()}
            target["boxes"] = make_sample(64, 128, [])[1]["boxes"]
            return image, target

    source = Empty(3)
    summary = evaluate(oracle_task(source)[0], source).summary()
    assert summary["AP"] == -1  # the benchmark's own mark for "no objects"


def test_untrained_network_is_scored_and_left_in_eval_mode():
    task = make_task()
    task.model.train()
    summary = evaluate(task, Squares(3)).summary()
    assert 0 <= summary["AP"] < 0.5
    assert not task.model.training
    assert all(parameter.grad is None for parameter in task.model.parameters())


def test_skipped_image_is_never_silent_even_without_a_reporter(capsys):
    source = Damaged(5)
    task, _ = oracle_task(source, **{"data.on_bad": "skip"})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluate(task, source)
    said = "".join([*capsys.readouterr(), *(str(one.message) for one in caught)])
    assert "3.jpg" in said


def test_set_of_damaged_images_only_is_not_scored_as_if_it_were_empty():
    class AllDamaged(Wide):
        def load(self, index):
            raise DataError(f"image {index}.jpg is truncated or damaged")

    task, _ = oracle_task(Wide(3), **{"data.on_bad": "skip"})
    with pytest.raises(DataError) as error:
        evaluate(task, AllDamaged(3)).summary()
    assert_one_sentence(error.value)


def test_batches_carry_targets_to_the_device():
    task, _ = oracle_task(Wide(3))
    loader = make_val_loader(Wide(3), task.config, CPU)
    ((images, targets),) = list(iter_batches(loader, CPU, Silent()))
    assert images.shape == (3, 3, 64, 64)
    assert [target.meta.image_id for target in targets] == [0, 1, 2]


class Collector:
    """An evaluator that keeps what it is given."""

    def __init__(self) -> None:
        self.found, self.truth = [], []

    def add(self, detections, targets):
        self.found += detections
        self.truth += targets


VIEWS = [
    ("detection", {"tta": True}),
    ("detection", {"tile": 32, "overlap": 8}),
    ("rotated", {"tile": 32, "overlap": 8, "tta_scales": (0.5, 1.0)}),
    ("rotated", {"tta_flip": True, "batch_size": 3}),
]


@pytest.mark.parametrize(("kind", "views"), VIEWS, ids=str)
@pytest.mark.parametrize("workers", [0, 2])
def test_windows_and_several_looks_are_those_of_predict(kind, views, workers):
    common = {"test.batch_size": 2, "test.score_threshold": 0.0, "test.max_per_image": 20, "train.workers": workers}
    own = {f"test.{name}": value for name, value in views.items()}
    task = make_task(task=kind, **{"model.size": "tiny", "model.exp_on_reg": True} | plain(kind) | common | own)
    task.new_evaluator = Collector
    source = Wide(3) if kind == "detection" else Turned(3)
    seen = evaluate(task, source)
    images = [source.load(number)[0] for number in range(3)]
    common = {"score_threshold": 0.0, "max_per_image": 20, "batch_size": 2, "input_size": task.config.test.input_size}
    expected = predict(task.model, images, **common | views)
    assert [one.meta.image_id for one in seen.found] == [0, 1, 2] == [one.meta.image_id for one in seen.truth]
    for one, other in zip(seen.found, expected, strict=True):
        assert len(one) == len(other) > 0
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-4)
    assert torch.equal(seen.truth[1].boxes, source.load(1)[1]["boxes"].as_subclass(torch.Tensor))


def plain(kind):
    """Returns the settings of a task that differ from those of the tiny detection runs."""
    return {"augment.mosaic_cache": None, "augment.mixup_cache": None} if kind == "rotated" else {}


class Turned(Squares):
    """Squares with rotated boxes."""

    def load(self, index):
        image, target = super().load(index)
        x1, y1, x2, y2 = target["boxes"].as_subclass(torch.Tensor).unbind(1)
        boxes = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, torch.zeros_like(x1)], dim=1)
        return image, target | {"boxes": boxes}


def test_skipped_image_is_reported_where_images_are_cut():
    source, recorder = Damaged(5), Recorder()
    task, _ = oracle_task(source, **{"data.on_bad": "skip", "test.tile": 32, "test.overlap": 0})
    task.decode = lambda _, metas: [
        Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), meta=m) for m in metas
    ]
    task.new_evaluator = Collector
    assert [one.meta.image_id for one in evaluate(task, source, reporter=recorder).found] == [0, 1, 2, 4]
    assert recorder.notes == ["skipped: image 3.jpg is truncated or damaged"]
