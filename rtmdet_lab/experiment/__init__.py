"""From a config to a finished run, and from a table to many; docs/glossary.md has the words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rtmdet_lab.experiment.run import choose_device as choose_device
    from rtmdet_lab.experiment.run import open_data as open_data
    from rtmdet_lab.experiment.run import open_evaluation as open_evaluation
    from rtmdet_lab.experiment.run import prepare as prepare


def __getattr__(name: str) -> Any:
    """Imports on first use what stood here when this was one file."""
    if name not in ("choose_device", "open_data", "open_evaluation", "prepare"):
        raise AttributeError(f"module 'rtmdet_lab.experiment' has no attribute {name!r}")
    from rtmdet_lab.experiment import run

    return getattr(run, name)
