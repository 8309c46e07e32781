"""One object's candidates as a table: what each cost term says, which points are chosen, and which of them it keeps."""

from __future__ import annotations

from typing import Any

from rtmdet_lab.assigners.dynamic import Explanation


def candidate_table(
    explanation: Explanation, image_number: int, object_number: int, count: int = 13
) -> list[dict[str, Any]]:
    """Returns the ``count`` cheapest candidate points of one object, cheapest first (paper.md 4.1).

    Each row has the point (``x``, ``y``, ``stride``, pixels), the ``IoU`` of its predicted box, one ``NAME cost`` per term,
    their sum ``cost``, ``chosen`` (among the dynamic k) and ``learns`` (chosen, and no other object was cheaper).

    Args:
        explanation: what ``DynamicAssigner.explain`` returned.
        image_number, object_number: which image of the batch, which of its objects.
    """
    pair = (image_number, object_number)
    cost = explanation.cost[pair]
    priors = explanation.inputs.priors
    order = cost.argsort(stable=True)[:count]
    rows = []
    for point in order[cost[order].isfinite()].tolist():
        x, y = priors.points[point].tolist()
        row = {"x": x, "y": y, "stride": int(priors.strides[point]), "IoU": float(explanation.inputs.iou[pair][point])}
        row |= {f"{name} cost": float(value[pair][point]) for name, value in explanation.terms.items()}
        row["cost"] = float(cost[point])
        row["chosen"] = bool(explanation.selected[pair][point])
        row["learns"] = int(explanation.assignment.gt_index[image_number, point]) == object_number
        rows.append(row)
    return rows
