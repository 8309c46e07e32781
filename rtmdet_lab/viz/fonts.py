"""Names in any script: the installed fonts that have their letters, and what is written where none has."""

from __future__ import annotations

import unicodedata
import warnings
from functools import cache, lru_cache
from pathlib import Path

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

LONGEST = 60  # letters of a name in a picture
_NO_LETTERS = ("LastResort",)  # a font whose every letter is a box


@lru_cache(maxsize=4096)
def writable(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns a name as it can be written, and the families whose fonts have its letters, in their order.

    A letter that no installed font has is written as its number (``\\u732b``) instead of as an empty box, and a warning says
    so once. Of a very long name the end is left out.
    """
    if len(text) > LONGEST:
        text = text[: LONGEST - 3] + "..."
    families = tuple(rcParams["font.family"])
    missing = {letter for letter in text if not _is_blank(letter)} - _letters_of(findfont(FontProperties(family=families)))
    while missing:
        family, path = _best_for(frozenset(missing))
        if not path:
            break
        families += (family,)
        missing -= _letters_of(path)
    if missing:
        shown = "".join(sorted(missing)).encode("unicode_escape").decode()
        _warn_once(f"no installed font has {shown}: numbers stand for these letters; install one that has, e.g. Noto Sans")
    return "".join(letter.encode("unicode_escape").decode() if letter in missing else letter for letter in text), families


def _is_blank(letter: str) -> bool:
    """Returns whether nothing is drawn for a letter: spaces, joiners, variation selectors."""
    return letter.isspace() or unicodedata.category(letter) == "Cf" or "\ufe00" <= letter <= "\ufe0f"


@cache
def _best_for(letters: frozenset[str]) -> tuple[str, str]:
    """Returns family and path of the installed font that has most of these letters; empty where none has any."""
    best, family, path = 0, "", ""
    for entry in sorted(fontManager.ttflist, key=lambda entry: (entry.style != "normal", entry.name)):
        # What Matplotlib finds by the family's name is another file for other weights.
        if entry.style != "normal" or entry.weight not in (400, "normal", "regular"):
            continue
        found = len(letters & _letters_of(entry.fname))
        if found > best:
            best, family, path = found, entry.name, entry.fname
    return family, path


@cache
def _letters_of(path: str) -> frozenset[str]:
    """Returns the letters of a font's file; none of one that cannot be drawn with."""
    if Path(path).name.startswith(_NO_LETTERS):
        return frozenset()
    try:
        font = get_font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, stacklevel=4)
