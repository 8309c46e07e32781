"""What each setting means, what it takes and what it is when left alone: for the command, the docs and the panels.

The meaning is the docstring below the setting, limits stand in its annotation, published values in the recipes of the tasks.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rtmdet_lab.config.overrides import iter_settings, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.recipes import published_recipe
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.config.settings.limits import Settings
from rtmdet_lab.config.tasks import TASKS

_KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


@dataclass(frozen=True)
class Description:
    """One setting in words."""

    name: str
    values: str  # what it takes
    default: str  # what it is when left alone, by task and size where they differ; "-" for None
    meaning: str
    source: str  # of the paper's digest, docs/paper.md; may be empty


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Returns the docstring below each field of a class, in one line: Python drops them, so they are read from the source.

    Without its source a class has none.
    """
    try:
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except OSError:
        return {}
    assert isinstance(definition, ast.ClassDef)
    docstrings = {}
    for field, below in itertools.pairwise(definition.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docstrings[name] = " ".join(text.split())
    return docstrings


@functools.cache
def descriptions() -> Mapping[str, Description]:
    """Returns all settings by their dotted names, in the order of the dataclasses."""
    values = _published_values()
    return {
        name: Description(name, words, _default(name, values), *_split(docstring))
        for name, words, docstring in _described(ExperimentConfig)
    }


def meaning_of(name: str) -> str:
    """Returns what the setting of a dotted name means."""
    return descriptions()[name].meaning


def _described(kind: type[Settings], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    docstrings, limits = attribute_docstrings(kind), kind.limits
    for name, hint in typing.get_type_hints(kind).items():
        if isinstance(hint, type) and issubclass(hint, Settings):
            yield from _described(hint, f"{prefix}{name}.")
        else:
            words = _type_words(hint)
            if name in limits:  # of a list the limit says it all
                words = limits[name].words if words.startswith("list") else f"{words}, {limits[name].words}"
            yield prefix + name, words, docstrings.get(name, "")


def _split(docstring: str) -> tuple[str, str]:
    """Returns meaning and source of a docstring, which ends in "(paper.md 3.2)." where it names one."""
    meaning, _, source = docstring.partition(" (paper.md ")
    return (f"{meaning}.", f"paper.md {source.removesuffix(').')}") if source else (meaning, "")


def _type_words(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_words(arg) for arg in args if arg is not type(None))
    if origin is Literal:
        return " / ".join(args)
    if origin is tuple:
        return f"list of {_type_words(args[0])}s"
    return _KINDS[hint]


def _published_values() -> dict[tuple[str, str], dict[str, Any]]:
    """Returns the settings of every published recipe by (recipe, size); a recipe is called as its task is."""
    values: dict[tuple[str, str], dict[str, Any]] = {}
    for task, facts in TASKS.items():
        for size in facts.sizes:
            config = with_overrides(ExperimentConfig(), {"task": task, "model.size": size})
            values[task, size] = dict(iter_settings(resolve(config)))
            if other := published_recipe(task, size).other:
                setting, _, value = other[0].partition(" to ")
                config = with_overrides(config, {setting: value})
                values[f"{task} ({value})", size] = dict(iter_settings(resolve(config)))
    return values


def _default(name: str, published: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Returns the value of a setting that is left alone: one, or those of recipes and sizes."""
    own = dict(iter_settings(ExperimentConfig()))[name]
    if own is not None:
        return _shown(own)
    # A recipe without a value has no such step.
    values = {key: _shown(every[name]) for key, every in published.items() if every[name] is not None}
    by_size: dict[str, set[str]] = {}
    for (_, size), value in values.items():
        by_size.setdefault(size, set()).add(value)
    if all(len(of_size) == 1 for of_size in by_size.values()):
        return _by_size({size: value for size, (value,) in by_size.items()}) or "-"
    recipes: dict[str, list[str]] = {}  # values by size -> names of recipes
    for recipe in dict.fromkeys(recipe for recipe, _ in values):
        said = _by_size({size: value for (of, size), value in values.items() if of == recipe})
        if recipe.partition(" (")[0] not in recipes.setdefault(said, []):  # else the task's other recipe says the same
            recipes[said].append(recipe)
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in recipes.items())


def _by_size(values: Mapping[str, str]) -> str:
    sizes: dict[str, list[str]] = {}
    for size, value in values.items():
        sizes.setdefault(value, []).append(size)
    return ", ".join(value if len(sizes) == 1 else f"{value} ({' '.join(of)})" for value, of in sizes.items())


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"
