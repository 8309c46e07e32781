"""The table of tasks: one line each. A line makes a task known to settings, commands and reports.

``rtmdet_lab/config/tasks/NAME.py`` holds the plain data of a task and ``rtmdet_lab/tasks/NAME.py`` the task itself; both are
found by the name.
"""

from __future__ import annotations

import importlib

from rtmdet_lab.config.tasks.base import Recipe, TaskFacts

NAMES = (
    "detection",
    "instance",
    "rotated",
    "classification",
)
TASKS: dict[str, TaskFacts] = {name: importlib.import_module(f"{__name__}.{name}").FACTS for name in NAMES}

__all__ = ["NAMES", "TASKS", "Recipe", "TaskFacts"]
