"""``build_task``, ``decode_for``, and the parts that make a task."""

from __future__ import annotations

import pytest
import torch
from made_matches import made_batch

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.structures import ImageMeta
from rtmdet_lab.tasks.base import Evaluator, Task
from rtmdet_lab.tasks.factory import build_task, decode_for, spec_of

SMALL = {"model.size": "nano", "model.width": 0.125, "model.depth": 0.167, "model.num_classes": 3}


@pytest.mark.parametrize("name", [name for name, facts in TASKS.items() if facts.dense])
def test_task_has_its_name_and_every_part(name):
    task = build_task(with_overrides(ExperimentConfig(), SMALL | {"task": name}))
    assert isinstance(task, Task)
    assert task.name == task.config.task == name
    predictions = task.model(torch.zeros(2, 3, 64, 64))
    assert predictions.logits.shape == (2, 84, 3)
    evaluator = task.new_evaluator()
    assert all(callable(getattr(evaluator, part)) for part in vars(Evaluator) if not part.startswith("_"))
    assert task.main_metric in evaluator.summary()


def test_every_task_can_be_decoded_without_its_losses():
    assert [spec_of(name).name for name in TASKS] == list(TASKS)
    task = build_task(with_overrides(ExperimentConfig(), SMALL))
    predictions, _ = made_batch(4)
    metas = [ImageMeta(number) for number in range(len(predictions))]
    for one, other in zip(
        task.decode(predictions, metas), decode_for("detection")(predictions, metas, task.config.test), strict=True
    ):
        assert torch.equal(one.boxes, other.boxes)
        assert torch.equal(one.scores, other.scores)
