"""What arguments, fields and notebook parameters were called in earlier versions; they are taken under both names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

# Name of an earlier version -> name of today.
OLD_NAMES = {"budget": "scale", "budgets": "scales", "item": "title"}

P = ParamSpec("P")
Result = TypeVar("Result")


def today(values: Any, names: Mapping[str, str] = OLD_NAMES) -> Any:
    """Returns a mapping's values under the names of today; what is no mapping, as a damaged file may hold, stays.

    >>> today({"budget": "smoke", "seed": 0})
    {'scale': 'smoke', 'seed': 0}
    """
    if not isinstance(values, Mapping):
        return values
    return {names.get(name, name): value for name, value in values.items()}


def takes_old_names(**names: str) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Returns a decorator of functions that take some arguments under earlier names, too: ``budget="scale"``."""

    def decorate(function: Callable[P, Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return function(*args, **today(kwargs, names))  # type: ignore[arg-type]

        return call

    return decorate
