"""Errors a user can cause: one sentence that says what, where, and what to do. The command line shows nothing else.

Each also derives from the built-in error a programmer would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from rtmdet_lab.core.escaping import for_terminal


class UserError(Exception):
    """Base of every error whose message is written for the person at the keyboard."""


class SettingError(UserError, ValueError):
    """A setting has an impossible value."""


class SettingTypeError(UserError, TypeError):
    """A setting was given a value of the wrong type."""


class UnknownNameError(UserError, KeyError):
    """A model, setting or weight file of that name does not exist."""

    def __str__(self) -> str:  # KeyError would print the message quoted
        return str(self.args[0]) if self.args else ""


class DataError(UserError, ValueError):
    """A data set, image or annotation cannot be used as it is."""


class CheckpointError(UserError, ValueError):
    """A weight file does not exist, cannot be read, or does not fit the model."""


class StorageError(UserError, OSError):
    """A file cannot be written or fetched."""

    def __str__(self) -> str:  # OSError would print its error number
        return str(self.args[0]) if self.args else ""


_LONGEST, _END = 900, 200  # characters of a message


def as_sentence(error: Exception) -> str:
    r"""Returns an error's message as one line for a terminal.

    Line ends and control characters, with which the content of a file could write over the terminal, are shown as escapes;
    of a very long message the middle is left out.

    >>> as_sentence(DataError("image 'a\x1b[2J.jpg' is empty"))
    "image 'a\\x1b[2J.jpg' is empty"
    """
    text = str(error)
    if len(text) > _LONGEST:
        left_out = len(text) - _LONGEST
        text = f"{text[: _LONGEST - _END]}[{left_out:,} characters left out]{text[-_END:]}"
    return for_terminal(text)


def shortened(text: str, longest: int = 80) -> str:
    """Returns ``text`` in one line, or its beginning and its length where it is longer than ``longest`` characters.

    >>> shortened("[1, 2, 3, 4]", 6)
    '[1, 2,... (12 characters)'
    """
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Returns "did you mean 'NEAR'?" for the nearest known name, or an empty string.

    >>> did_you_mean("kernal_size", ["kernel_size", "depth"])
    "did you mean 'kernel_size'?"
    """
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"did you mean {near[0]!r}?" if near else ""
