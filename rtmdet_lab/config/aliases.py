"""What settings were called in earlier versions: such a name is taken wherever a setting is named, and in every old file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# First name -> name of today, in the same part of the config.
RENAMED = {
    "augment.pop": "augment.cache_eviction",
    "train.accumulate": "train.gradient_accumulation_steps",
    "train.freeze_norm": "train.norm_eval",
}
_FIRST_NAMES = {today: first for first, today in RENAMED.items()}


def current_names(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns settings, dotted or nested, under the names of today.

    >>> current_names({"train.accumulate": 2, "augment": {"pop": "oldest"}, "seed": 1})
    {'train.gradient_accumulation_steps': 2, 'augment': {'cache_eviction': 'oldest'}, 'seed': 1}
    """
    renamed = {}
    for name, value in settings.items():
        today = RENAMED.get(f"{prefix}{name}", f"{prefix}{name}").removeprefix(prefix)
        renamed[today] = current_names(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
    return renamed


def first_name(name: str) -> str:
    """Returns what a setting was called first: under that name it is in what a hash of earlier versions was made of."""
    return _FIRST_NAMES.get(name, name)
