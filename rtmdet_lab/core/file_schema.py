"""What the files of a run must hold: checked by their types in one place, whoever wrote or edited them.

Records, logs, states and run files are read by many parts that trust what they read. Here a field that is missing, of
another type or impossible becomes one sentence with its place. The comparing is pydantic's: it names the exact place of a
fault in nested data, which is most of the work.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import (
    Annotated,
    Any,
    NotRequired,  # pydantic needs this one before Python 3.12
    TypeVar,
    get_type_hints,
)

import pydantic
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from rtmdet_lab.core.errors import DataError, shortened

# Counts up to the largest integer that JSON's other readers hold exactly.
Count = Annotated[int, Field(ge=0, le=2**53)]
Number = Annotated[float, Field(allow_inf_nan=False)]
NumberOrNaN = float | None  # JSON has no NaN: what is not a number is null in a file
Positive = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Mapped = dict[str, Any]


class EpochRecord(TypedDict):
    """What a run says of one epoch: a line of ``metrics.jsonl`` and an entry of a record's or a state's history."""

    epoch: Count  # from 0
    stage: str
    step: Count  # optimizer steps at its end
    lr: Positive
    losses: dict[str, Number]  # means over the epoch
    seconds: Positive
    load_seconds: NotRequired[Positive]
    images_per_s: Positive
    metrics: NotRequired[dict[str, NumberOrNaN]]


Kind = TypeVar("Kind")

# pydantic's names of what is wrong -> what is needed, in the words of this project's other messages.
_NEEDED = {
    "float_type": "a number",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "is_instance_of": "another kind of value",
}


def require(kind: type[Kind], content: Any, what: str) -> Kind:
    """Returns ``content`` as a ``kind``, its fields as they were.

    Args:
        kind: a dataclass; its annotations say what each field may be. Fields with defaults may be missing.
        content: what a file holds.
        what: names the file and what it should be, for the message: "runs/a/results.json is not a run record".

    Raises:
        DataError: not a mapping, or a field is missing, unknown, of another type or out of range; names the field.
    """
    if not isinstance(content, Mapping):
        raise DataError(f"{what} but a {type(content).__name__}")
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = [str(name) for name in content if name not in names]
    missing = [item.name for item in dataclasses.fields(kind) if _is_required(item) and item.name not in content]  # type: ignore[arg-type]
    if missing or unknown:
        fault = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(unknown)}, which this version does not know"
        raise DataError(f"{what}: it {fault}")
    plain: type = kind
    if problem := _first_problem(_checker(plain), content):
        raise DataError(f"{what}: {problem}")
    return kind(**content)


def epoch_problem(content: Any) -> str | None:
    """Returns what is wrong with an epoch's record, or None."""
    return _first_problem(_epochs(), content)


def _first_problem(checker: pydantic.TypeAdapter, content: Any) -> str | None:
    try:
        checker.validate_python(content, strict=True)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _place(first["loc"])).lstrip(".")
        if first["type"] == "missing":
            return f"its {place} is missing"
        needed = _NEEDED.get(first["type"]) or first["msg"].removeprefix("Input should be ")
        return f"its {place or 'content'} is {shortened(repr(first['input']))}, but {needed} is needed"
    return None


def _place(loc: tuple[int | str, ...]) -> list[int | str]:
    # pydantic adds the alternatives of a union ("float", "none") to the place of what fits none of them.
    return [part for part in loc if part not in ("float", "constrained-float", "none", "str", "int")]


@functools.cache
def _checker(kind: type) -> pydantic.TypeAdapter:
    hints = get_type_hints(kind, include_extras=True)
    fields: Any = {item.name: (hints[item.name], ... if _is_required(item) else None) for item in dataclasses.fields(kind)}
    config = ConfigDict(strict=True, arbitrary_types_allowed=True, protected_namespaces=())
    return pydantic.TypeAdapter(pydantic.create_model(kind.__name__, __config__=config, **fields))


@functools.cache
def _epochs() -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(EpochRecord)


def _is_required(item: dataclasses.Field) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
