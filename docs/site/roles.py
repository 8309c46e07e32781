"""Extension of griffe, which reads the docstrings: Sphinx's roles, as in :class:`Name`, become code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class PlainRoles(griffe.Extension):
    """Writes ``:role:`~package.Name``` as `` `Name` ``."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = without_roles(obj.docstring.value)


def without_roles(text: str) -> str:
    """Returns a docstring without the names of roles.

    >>> without_roles("one of :class:`~rtmdet_lab.tasks.base.Task` and :func:`predict`")
    'one of `Task` and `predict`'
    """
    return re.sub(r":(?:class|func|data|meth|mod|attr|exc):`(~?)([\w.]+)`", _name, text)


def _name(match: re.Match[str]) -> str:
    shown = match[2].rsplit(".", 1)[-1] if match[1] else match[2]
    return f"`{shown}`"
