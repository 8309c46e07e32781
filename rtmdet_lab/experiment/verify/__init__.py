"""Whether the settings a row varies have an effect: measured before the run trains.

A setting that is lost on its way (overwritten, forgotten by a builder, without a part to act on) would show only as a table
whose rows do not differ. So every setting of a row is put back to the table's value, and both configs are built and tried:
the network's structure, the plan of the run, training samples, assignment and losses, a few updates of the weights,
detections. Where no outcome differs, the setting changes nothing, and the run stops by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rtmdet_lab.config.overrides import iter_settings
from rtmdet_lab.config.resolved import ResolvedConfig
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.data.loaders import Source
from rtmdet_lab.experiment.record import dotted
from rtmdet_lab.experiment.verify.outcomes import OUTCOMES

# Settings whose effect is on no outcome that is tried, and why. Rows may vary them, to compare speed, memory or files.
EXEMPT = {
    "train.compile": "the same arithmetic, fused",
    "train.channels_last": "the order of the same numbers in memory",
    "train.workers": "who loads the samples; what a cache of partners holds is its worker's",
    "train.keep_every": "files that are kept beside the result",
    "data.cache_decoded": "the same pixels, decoded once",
    "data.on_bad": "acts on damaged files alone",
    "data.val_images": "what is scored, not what is learned",
    "data.val_annotations": "what is scored, not what is learned",
    "test.batch_size": "images that share a forward pass",
}

# A scale keeps their share of a shorter run, where two counts may become one.
SCALED = ("train.weak_epochs",)


def check_effective(
    varied: Mapping[str, Any],
    config_of: Callable[[Mapping[str, Any]], ResolvedConfig],
    open_source: Callable[[ResolvedConfig], Source],
) -> dict[str, Any]:
    """Returns the settings of a row with the values they took, after each has been seen to change an outcome.

    Args:
        varied: the settings the row varies; a mapping under the name of a group stands for settings of the group.
        config_of: the resolved config of the table with the given settings in place of its own.
        open_source: opens the training set of a config.

    Raises:
        SettingError: a setting was overwritten, or differs from the table's and yet changes nothing; names it.
    """
    asked = dotted(varied)
    row, table = config_of(asked), config_of({})
    taken, usual = dict(iter_settings(row)), dict(iter_settings(table))
    for name, value in asked.items():
        if taken[name] == usual[name]:
            if name not in SCALED and value is not None and _as_file(taken[name]) != value:
                raise SettingError(
                    f"setting {name!r} was not taken: {value!r} was asked for, but the run has {taken[name]!r}"
                )
            continue
        if name in EXEMPT:
            continue
        try:
            without = config_of({other: value for other, value in asked.items() if other != name})
        except SettingError:  # the other settings of the row cannot be without this one
            continue
        if not has_effect(row, without, open_source):
            raise SettingError(
                f"setting {name!r} changes nothing: with {taken[name]!r} and with {usual[name]!r} network, plan, samples, "
                "losses, updates and detections are the same"
            )
    return {name: _as_file(taken[name]) for name in asked}


def has_effect(row: ResolvedConfig, other: ResolvedConfig, open_source: Callable[[ResolvedConfig], Source]) -> bool:
    """Whether any outcome of two resolved configs differs."""
    return any(differs(row, other, open_source) for differs in OUTCOMES)


def _as_file(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
