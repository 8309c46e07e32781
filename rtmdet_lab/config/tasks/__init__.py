"""The table of tasks: one line each. A line makes a task known to settings, commands and reports.

What the line names is plain data; ``rtmdet_lab/tasks/NAME.py`` is found by the same name and holds the task itself.
"""

from __future__ import annotations

from rtmdet_lab.config.tasks import detection, instance, rotated
from rtmdet_lab.config.tasks.base import Recipe, TaskFacts

TASKS: dict[str, TaskFacts] = {
    "detection": detection.FACTS,
    "instance": instance.FACTS,
    "rotated": rotated.FACTS,
}

__all__ = ["TASKS", "Recipe", "TaskFacts"]
