"""What values a setting takes beside its type: the limit stands in its annotation and is checked when a config is made."""

from __future__ import annotations

import typing
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from rtmdet_lab.core.errors import SettingError


class Limit(NamedTuple):
    """What a value has to be, in a function and in words that follow "must be"."""

    allows: Callable[[Any], bool]
    words: str


POSITIVE = Limit(lambda value: value > 0, "positive")
NOT_NEGATIVE = Limit(lambda value: value >= 0, "zero or more")
AT_LEAST_ONE = Limit(lambda value: value >= 1, "at least 1")
FRACTION = Limit(lambda value: 0 <= value <= 1, "between 0 and 1")
OVER_ZERO_TO_ONE = Limit(lambda value: 0 < value <= 1, "in (0, 1]")
SIDE = Limit(lambda value: value >= 32 and value % 32 == 0, "a multiple of 32, at least 32")


class Settings:
    """One part of a config. A value outside the limit in its annotation is refused; None is always inside.

    Raises:
        SettingError: naming setting, value and what is allowed.
    """

    # Without types, so that neither is a setting.
    part = ""  # its dotted name
    limits = MappingProxyType(dict[str, Limit]())  # by name of the setting

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = typing.get_type_hints(cls, include_extras=True)
        found = {name: extra for name, hint in own.items() for extra in typing.get_args(hint) if isinstance(extra, Limit)}
        cls.limits = MappingProxyType(cls.limits | found)  # a resolved config has those of the one it narrows

    def __post_init__(self) -> None:
        for name, limit in self.limits.items():
            value = getattr(self, name)
            if value is not None and not limit.allows(value):
                raise SettingError(f"{self.part}.{name} is {value!r}, but must be {limit.words}")
