"""The table from ``assigner.kind`` to an assigner."""

from __future__ import annotations

import typing

import pytest
import torch
from made_matches import made_batch

from rtmdet_lab.assigners.atss import ATSSAssigner
from rtmdet_lab.assigners.base import BoxGeometry
from rtmdet_lab.assigners.dynamic import DynamicAssigner
from rtmdet_lab.assigners.factory import ASSIGNERS, build_assigner
from rtmdet_lab.assigners.task_aligned import TaskAlignedAssigner
from rtmdet_lab.config.settings import AssignerConfig


def test_table_has_every_kind_a_config_may_name():
    assert set(ASSIGNERS) == set(typing.get_args(typing.get_type_hints(AssignerConfig)["kind"]))


@pytest.mark.parametrize(
    ("kind", "cls", "topk"),
    [
        ("dynamic_soft_label", DynamicAssigner, 13),
        ("simota", DynamicAssigner, 10),
        ("atss", ATSSAssigner, 9),
        ("task_aligned", TaskAlignedAssigner, 13),
    ],
)
def test_each_kind_has_its_published_topk_unless_it_is_set(kind, cls, topk):
    assert isinstance(build_assigner(AssignerConfig(kind=kind)), cls)
    assert build_assigner(AssignerConfig(kind=kind)).topk == topk
    assert build_assigner(AssignerConfig(kind=kind, topk=4)).topk == 4


def test_default_is_the_published_recipe():
    assigner = build_assigner(AssignerConfig())
    assert {name: weight for name, (_, weight) in assigner.terms.items()} == {"cls": 1, "iou": 3, "center": 1}
    assert assigner.terms["center"][0].keywords == {"radius": 3, "base": 10}


@pytest.mark.parametrize("kind", ASSIGNERS)
def test_another_geometry_is_asked_instead(kind):
    nowhere = BoxGeometry(
        inside=lambda points, boxes: torch.zeros(*boxes.shape[:-1], len(points), dtype=torch.bool),
        centers=lambda targets: torch.full((len(targets), 2), 1e4),
    )
    predictions, targets = made_batch(2)
    assert build_assigner(AssignerConfig(kind=kind))(predictions, targets).positive.any()
    assert not build_assigner(AssignerConfig(kind=kind), nowhere)(predictions, targets).positive.any()
