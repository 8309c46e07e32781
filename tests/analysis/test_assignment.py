"""The table of one object's candidates."""

from __future__ import annotations

import pytest
import torch

from rtmdet_lab.analysis.assignment import candidate_table
from rtmdet_lab.assigners.dynamic import DynamicAssigner
from rtmdet_lab.core.structures import DensePredictions, Targets
from rtmdet_lab.geometry.priors import point_grid


@pytest.fixture
def explanation():
    torch.manual_seed(3)
    priors = point_grid([(8, 8), (4, 4), (2, 2)], (8, 16, 32))
    sides = priors.strides[:, None] * (1 + 2 * torch.rand(len(priors), 4))
    boxes = torch.cat([priors.points - sides[:, :2], priors.points + sides[:, 2:]], dim=1)
    predictions = DensePredictions(torch.randn(1, len(priors), 3), boxes[None], priors)
    objects = torch.tensor([[4.0, 4.0, 40.0, 36.0], [20.0, 10.0, 60.0, 62.0]])
    return DynamicAssigner().explain(predictions, [Targets(objects, torch.tensor([0, 2]))])


@pytest.mark.parametrize("number", [0, 1])
def test_rows_are_the_cheapest_points_and_agree_with_the_assignment(explanation, number):
    rows = candidate_table(explanation, 0, number)
    costs = [row["cost"] for row in rows]
    assert costs == sorted(costs)
    assert len(rows) == 13
    for row in rows:
        assert row["cost"] == pytest.approx(row["cls cost"] + row["iou cost"] + row["center cost"], rel=1e-5)
        assert row["stride"] in (8, 16, 32)
    assert sum(row["chosen"] for row in rows) == int(explanation.dynamic_k[0, number])
    kept = int((explanation.assignment.gt_index[0] == number).sum())
    assert sum(row["learns"] for row in candidate_table(explanation, 0, number, count=1000)) == kept


def test_only_candidates_have_a_row(explanation):
    rows = candidate_table(explanation, 0, 0, count=1000)
    assert len(rows) == int(explanation.candidates[0].sum())
