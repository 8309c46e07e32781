"""Whether weights mean in a model what they meant where they were trained: the one place that all loading goes through.

Keys and shapes say little of it: weights whose distances are exponents, or whose levels had heads of their own, fit a
network that reads them otherwise and find nothing there. So whatever a file knows of itself is equal to what the model has,
or is converted without loss, or is refused by the name of the setting. Class rows go by the names of their classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtmdet_lab.config.overrides import iter_settings
from rtmdet_lab.core.errors import CheckpointError
from rtmdet_lab.models.detector import RTMDet
from rtmdet_lab.models.knowledge import Knowledge

# Two networks of the same keys and shapes compute something else with these.
_DECIDE_MEANING = ("exp_on_reg", "block")
# With these, too, unless the weights that the model shares happen to be equal in the file.
_SHARING = ("head.sharing", "head.shared_tower")


def require_same_meaning(path: Path, knowledge: Knowledge, model: RTMDet, given: Mapping[str, Tensor]) -> list[str]:
    """Returns sentences about what was converted, after comparing all that the file knows with ``model``.

    Raises:
        CheckpointError: the weights would mean something else in the model; names the setting and both values.
    """
    if knowledge.task is not None and knowledge.task != model.task:
        raise CheckpointError(
            f"{path} was trained for the task {knowledge.task}, this model is for {model.task}: choose weights of its task"
        )
    for what, (theirs, ours) in knowledge.differences.items():
        raise CheckpointError(
            f"{path} was trained with {what} {_shown(theirs)}, but here it is {_shown(ours)}, which cannot be changed: "
            "choose other weights"
        )
    different = _different(knowledge, model)
    # Of the others, those that matter show in keys and shapes: a depth that makes the same network is the same.
    names = _DECIDE_MEANING if _same_shapes(model, given) else [name for name in different if name not in _SHARING]
    names = [name for name in names if name in different]
    if names:
        raise CheckpointError(_settings_differ(path, names, different))
    untied = _untied(model, given)
    if untied is not None:
        name, key, other = untied
        theirs, ours = different.get(name, ("another value", dict(iter_settings(model.config))[name]))
        raise CheckpointError(
            f"{path} was trained with model.{name} {_shown(theirs)}: its {key} and {other} differ, where this model, with "
            f"model.{name} {_shown(ours)}, has a single tensor: set model.{name} as in the file, or choose other weights"
        )
    return [
        f"{path} was trained with model.{name} {_shown(theirs)}, the model has {_shown(ours)}: shared weights were copied"
        for name, (theirs, ours) in different.items()
        if name in _SHARING
    ]


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raises CheckpointError where a weight is NaN or infinite: such a network finds nothing, or anything."""
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            count = int((~torch.isfinite(value)).sum())
            raise CheckpointError(
                f"{path} holds {count} values in {key} that are NaN or infinite: its training diverged or the file is "
                "damaged, use earlier weights"
            )


@dataclass(frozen=True)
class RowMatch:
    """Which class row of a file each label of a model gets: its number, or -1 for a class that the file lacks."""

    rows: tuple[int, ...] | None = None  # None: all as they are
    notes: tuple[str, ...] = ()  # sentences to be told


def match_rows(
    path: Path,
    theirs: Sequence[str] | None,
    count: int,
    ours: Sequence[str] | None,
    num_classes: int,
    *,
    new_classes: bool,
) -> RowMatch:
    """Matches the class rows of a file with a model's labels, by name where both know their names.

    Args:
        theirs, count: the names a file knows, if any, and how many class rows it has.
        ours, num_classes: the same of the model.
        new_classes: classes that the file lacks keep the rows the model has (they are to be trained).

    Raises:
        CheckpointError: other numbers of classes without names, no class in common, or classes that the file lacks.
    """
    unusable = _unusable_names(theirs, count)
    if unusable or theirs is None or ours is None:
        if count != num_classes:
            reason = f" ({unusable})" if unusable and ours is not None else ""
            raise CheckpointError(
                f"{path} was made for {count} class(es), the model for {num_classes}{reason}: load everything but the class "
                "predictors with reset_predictors=True (--reset-predictors)"
            )
        if ours is None or tuple(ours) == tuple(theirs or ()):
            return RowMatch()
        why = unusable or "it does not name its classes"
        return RowMatch(None, (f"the class rows of {path} are taken in the order of {listed(ours)}: {why}",))
    theirs, ours = tuple(theirs), tuple(ours)
    if theirs == ours:
        return RowMatch()
    number = {name: row for row, name in enumerate(theirs)}
    rows = tuple(number.get(name, -1) for name in ours)
    lacking = [name for name, row in zip(ours, rows, strict=True) if row < 0]
    if len(lacking) == len(ours):
        raise CheckpointError(
            f"{path} knows none of the classes {listed(ours)}: it was trained on {listed(theirs)}; name them alike, or "
            "load everything but the class predictors with reset_predictors=True (--reset-predictors)"
        )
    if lacking and not new_classes:
        raise CheckpointError(f"{path} has no class {listed(lacking)}: it was trained on {listed(theirs)}")
    notes = [f"class rows of {path} were matched by name: {len(ours) - len(lacking)} of {len(theirs)} are used"]
    if len(lacking) == 0 and len(ours) == len(theirs):
        notes = [f"class rows of {path} were put into the order of {listed(ours)}, by name"]
    if lacking:
        notes[0] += f", {len(lacking)} new one(s) start untrained ({listed(lacking)})"
    return RowMatch(rows, tuple(notes))


def rows_by_name(match: RowMatch, given: Tensor, own: Tensor) -> Tensor:
    """Returns the class rows (C, ...) of a model: those of the file where it has the class, else the model's own."""
    if match.rows is None:
        return given
    rows = torch.tensor(match.rows)
    result = own.detach().to("cpu", given.dtype, copy=True)
    result[rows >= 0] = given[rows[rows >= 0]]
    return result


def listed(names: Iterable[str], most: int = 6) -> str:
    """Returns names in quotes for a sentence, shortened where there are many.

    >>> listed(["car", "bus", "tram"], most=2)
    "'car', 'bus' and 1 more"
    """
    return shortened([repr(name) for name in names], most)


def shortened(words: Sequence[str], most: int = 6) -> str:
    """Returns words for a sentence, shortened where there are many."""
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def _unusable_names(names: Sequence[str] | None, count: int) -> str:
    """Returns why the names in a file cannot be those of its class rows, or nothing."""
    if names is None:
        return ""
    if len(names) != count:
        return f"it names {len(names)} classes, but has rows for {count}"
    name, often = Counter(names).most_common(1)[0]
    return f"it names the class {name!r} {often} times" if often > 1 else ""


def _different(knowledge: Knowledge, model: RTMDet) -> dict[str, tuple[Any, Any]]:
    ours = dict(iter_settings(model.config))
    return {name: (theirs, ours[name]) for name, theirs in knowledge.settings.items() if theirs != ours[name]}


def _settings_differ(path: Path, names: Sequence[str], different: Mapping[str, tuple[Any, Any]]) -> str:
    theirs = ", ".join(f"model.{name} {_shown(different[name][0])}" for name in names[:4])
    ours = ", ".join(f"model.{name} {_shown(different[name][1])}" for name in names[:4])
    remedy = " ".join(f"model.{name}={_shown(different[name][0])}" for name in names[:4])
    return f"{path} was trained with {theirs}, this model has {ours}: set {remedy}, or choose other weights"


def _shown(value: Any) -> str:
    """Returns a value as ``--set`` takes it."""
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def _same_shapes(model: RTMDet, given: Mapping[str, Tensor]) -> bool:
    """Whether the file holds what the model has, class rows aside, in the same shapes, and nothing else of its parts."""
    own = model.state_dict()
    parts = tuple(f"{name}." for name, _ in model.named_children())
    theirs = {key: value.shape for key, value in given.items() if key.startswith(parts) and not model.class_rows.match(key)}
    return theirs == {key: value.shape for key, value in own.items() if not model.class_rows.match(key)}


def _untied(model: RTMDet, given: Mapping[str, Tensor]) -> tuple[str, str, str] | None:
    """Returns (setting, key, other key) of two tensors that differ in the file and are one in the model, or None."""
    first: dict[int, str] = {}
    for key, value in model.state_dict(keep_vars=True).items():
        if key not in given:
            continue
        other = first.setdefault(id(value), key)
        if other != key and not torch.equal(given[key], given[other]):
            towers = {key.split(".")[1], other.split(".")[1]}
            return ("head.shared_tower" if len(towers) > 1 else "head.sharing"), other, key
    return None
