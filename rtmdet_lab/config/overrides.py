"""From plain values to settings and back: dotted names, checked by name and by type.

A row of a paper table is a mapping from dotted setting names to values; :func:`with_overrides` turns it into a new config
and refuses what does not fit, because a value that comes through a notebook parameter is less typed than it looks (a tuple
arrives as a string, ``false`` as the truthy string ``"false"``).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

from rtmdet_lab.config.aliases import current_names
from rtmdet_lab.config.other_names import meant_setting
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import SettingError, SettingTypeError, UnknownNameError

Config = TypeVar("Config")


def with_overrides(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Returns a copy of ``config`` with dotted settings replaced, for example ``{"model.kernel_size": 7}``.

    Lists become tuples where the field is a tuple, whole numbers become floats where the field is a float. Nothing else
    is converted. A mapping may also be given for a nested config: ``{"backbone": {"spp": False}}``, and a
    setting by the name it had in an earlier version.

    Raises:
        UnknownNameError (a KeyError): no such setting; the nearest name is suggested.
        SettingTypeError (a TypeError): a value of another type than the setting's.
        SettingError (a ValueError): right type, impossible value.

    >>> from rtmdet_lab.config.settings import ModelConfig
    >>> with_overrides(ModelConfig(), {"kernel_size": 7, "backbone.stage_blocks": [3, 9, 9, 3]}).backbone.stage_blocks
    (3, 9, 9, 3)
    """
    for name, value in current_names(overrides).items():
        config = _replaced(config, name, name, value)
    if isinstance(config, ExperimentConfig):
        refuse_secrets(config)
    return config


def refuse_secrets(config: ExperimentConfig) -> None:
    """Raises SettingError if a setting holds what may be secret: a run's records and weights carry its settings."""
    train, model = config.train, config.model
    sources = (("train.init_weights", train.init_weights), ("model.pretrained_backbone", model.pretrained_backbone))
    for name, source in sources:
        if isinstance(source, str) and re.search(r":/+[^/]*@|:/.*[?#]", source):
            raise SettingError(
                f"{name} is an address with a password or a query, which would stand in every record of the run: "
                "download the file and name it"
            )


# Reading the hints, which are text, takes a hundred times as long as changing a setting.
_hints_of = functools.cache(typing.get_type_hints)


def _replaced(config: Any, path: str, full_name: str, value: Any) -> Any:
    head, _, rest = path.partition(".")
    kind: type = type(config)
    hints = _hints_of(kind)
    if head not in hints:
        raise UnknownNameError(f"no setting {full_name!r}{_suggestion(config, path, full_name)}")
    current = getattr(config, head)
    if dataclasses.is_dataclass(current):
        if rest:
            new = _replaced(current, rest, full_name, value)
        elif isinstance(value, Mapping):
            new = current
            for key, inner in value.items():
                new = _replaced(new, key, f"{full_name}.{key}", inner)
        elif type(value) is type(current):
            new = value
        else:
            raise SettingTypeError(f"setting {full_name!r}: expected a mapping of settings, got {value!r}")
    elif rest:
        raise UnknownNameError(f"no setting {full_name!r}: {full_name[: -len(rest) - 1]!r} has no parts")
    else:
        new = _checked(full_name, hints[head], value)
    return dataclasses.replace(config, **{head: new})


def _suggestion(config: Any, path: str, full_name: str) -> str:
    prefix = full_name[: len(full_name) - len(path)]
    if meant := meant_setting(full_name):
        return f": {meant}"
    names = [name for name, _ in iter_settings(config)]
    # A setting is often remembered by its last word only: compare both the whole path and that word.
    near = difflib.get_close_matches(path, names, n=1, cutoff=0.6)
    if not near:
        last = path.rpartition(".")[2]
        words = {name.rpartition(".")[2]: name for name in names}
        near = [words[word] for word in difflib.get_close_matches(last, words, n=1, cutoff=0.6)]
    return f": did you mean {prefix + near[0]!r}?" if near else f"; settings here: {', '.join(names)}"


def _checked(name: str, hint: Any, value: Any) -> Any:
    """Returns ``value`` as the type ``hint`` asks for, or raises naming setting, value and what is allowed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [arg for arg in args if arg is not type(None)]
        is_text = isinstance(value, str) and value.lower() not in ("true", "false")  # a mistyped bool is no path
        return _checked(name, str if is_text and str in options else options[0], value)
    if origin is Literal:
        if not isinstance(value, str) or value not in args:
            near = difflib.get_close_matches(str(value), [str(arg) for arg in args], n=1)
            hint_text = f" (did you mean {near[0]!r}?)" if near else ""
            raise SettingError(f"setting {name!r} is {value!r}, but must be one of {list(args)}{hint_text}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise SettingTypeError(f"setting {name!r}: expected a list, got {_kind(value)} {value!r}")
        if args[-1] is Ellipsis:
            return tuple(_checked(name, args[0], item) for item in value)
        if len(value) != len(args):
            raise SettingTypeError(f"setting {name!r}: expected {len(args)} values, got {len(value)}: {value!r}")
        return tuple(_checked(name, arg, item) for arg, item in zip(args, value, strict=True))
    if hint is bool and not isinstance(value, bool):
        raise SettingTypeError(f"setting {name!r}: expected bool (True or False), got {_kind(value)} {value!r}")
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SettingTypeError(f"setting {name!r}: expected a number, got {_kind(value)} {value!r}")
        if not math.isfinite(value):
            raise SettingError(f"setting {name!r} is {value!r}, but must be finite")
        return float(value)
    if hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise SettingTypeError(f"setting {name!r}: expected a whole number, got {_kind(value)} {value!r}")
    if hint is str and not isinstance(value, str):
        raise SettingTypeError(f"setting {name!r}: expected text, got {_kind(value)} {value!r}")
    return value


def _kind(value: Any) -> str:
    return "the string" if isinstance(value, str) else type(value).__name__


def iter_settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf setting as (dotted name, value), in the order of the dataclasses."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from iter_settings(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, value


def to_dict(config: Any) -> dict[str, Any]:
    """Returns the config as plain nested dictionaries and lists, ready for JSON."""
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            value = to_dict(value)
        plain[item.name] = list(value) if isinstance(value, tuple) else value
    return plain


def from_dict(plain: Mapping[str, Any]) -> ExperimentConfig:
    """Returns the :class:`ExperimentConfig` that :func:`to_dict` of this or an earlier version wrote.

    Missing settings keep their defaults.
    """
    config = ExperimentConfig()
    for name, value in current_names(plain).items():
        config = _replaced(config, name, name, value)
    if config.train.weak_epochs and TASKS[config.task].recipe(config.model.size, config.augment.rotated_recipe).single_stage:
        # Earlier versions wrote the weak epochs of other tasks for recipes that never had any.
        config = _replaced(config, "train.weak_epochs", "train.weak_epochs", 0)
    return config


def differences(config: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """Returns the settings in which two configs of one type differ: dotted name to (value, other value)."""
    theirs = dict(iter_settings(other))
    return {name: (value, theirs[name]) for name, value in iter_settings(config) if value != theirs[name]}
