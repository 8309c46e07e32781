"""``build_assigner``: the table from ``assigner.kind`` to an assigner."""

from __future__ import annotations

from collections.abc import Callable

from rtmdet_lab.assigners.atss import atss
from rtmdet_lab.assigners.base import Assigner, BoxGeometry
from rtmdet_lab.assigners.dynamic import dynamic_soft_label, simota
from rtmdet_lab.assigners.task_aligned import task_aligned
from rtmdet_lab.config.settings import AssignerConfig

ASSIGNERS: dict[str, Callable[[AssignerConfig, BoxGeometry | None], Assigner]] = {
    "dynamic_soft_label": dynamic_soft_label,
    "simota": simota,
    "atss": atss,
    "task_aligned": task_aligned,
}


def build_assigner(config: AssignerConfig, geometry: BoxGeometry | None = None) -> Assigner:
    """Returns the assigner a config names; ``geometry`` brings another task's IoU, inside test and centers."""
    return ASSIGNERS[config.kind](config, geometry)
