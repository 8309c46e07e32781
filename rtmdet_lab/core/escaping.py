r"""Text from elsewhere (records, annotations, weight files, paths), made harmless for where it is shown or written.

One function per target. Each takes text of any content, shows all of it, and leaves ordinary names as they are. Whatever is
not printable, such as the control characters that write over a terminal or the marks that turn text around, is shown as
Python writes it (``\x1b``), everywhere.
"""

from __future__ import annotations

import hashlib
import html
import re
from typing import TextIO

JOINERS = "\u200c\u200d"  # not printable, but parts of words in Persian and Hindi, and of emoji
_MATH = str.maketrans({"$": "\uff04", "\\": "\uff3c"})  # full-width forms, which no typesetter of formulas knows
_MARKDOWN = re.compile(r"[`*_\[\]|~]")
# Headings, lists, numbered lists, rules: what makes more than text of a line.
_LINE_BEGINS = re.compile(r"#{1,6}(?=\s|$)|[+-](?=\s)|\d{1,9}(?=[.)](\s|$))|[-=]{2,}\s*$")
_LINKS = re.compile(r"(?<=:)//|(?<=www)\.", re.IGNORECASE)  # addresses that become links by themselves
_FORMULA = tuple("=+-@\t\r")  # what a spreadsheet computes when a cell begins with it
_NAME_LENGTH = 100  # bytes: what a file system takes (255), less what callers put around it
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # of Windows, with any ending


def for_terminal(text: object) -> str:
    r"""Returns text as one line for a terminal or a log.

    >>> for_terminal("car\x1b[2J\n\u202eexe")
    'car\\x1b[2J\\n\\u202eexe'
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        letter if letter.isprintable() or letter in JOINERS else letter.encode("unicode_escape").decode() for letter in shown
    )


def for_terminal_lines(text: object) -> str:
    """Returns text for a terminal whose line ends and tabulators are meant."""
    return re.sub(r"[^\n\t]+", lambda part: for_terminal(part[0]), str(text))


def for_html(text: object) -> str:
    """Returns text for the inside of an HTML element or a quoted attribute.

    Dollars and backslashes become full-width ones: JupyterLab typesets formulas in whatever it shows, and a formula can hold
    a link that runs JavaScript.

    >>> for_html('<img src="x">')
    '&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(for_terminal(text).translate(_MATH))


def for_table(value: object) -> object:
    """Returns text for a cell of a pandas table, which escapes HTML itself; other values as they are."""
    return for_terminal(value).translate(_MATH) if isinstance(value, str) else value


def for_markdown(text: object) -> str:
    r"""Returns text for a line of Markdown or a cell of its table, where it stands as it is and links to nothing.

    >>> for_markdown("a|b [c](javascript:d) <script>")
    'a\\|b \\[c\\](javascript:d) &lt;script&gt;'
    """
    plain = html.escape(for_terminal(text).translate(_MATH), quote=False)
    escaped = _MARKDOWN.sub(r"\\\g<0>", plain)
    escaped = _LINKS.sub(lambda part: part[0].replace("/", r"\/").replace(".", r"\."), escaped)
    begin = _LINE_BEGINS.match(escaped)
    if begin is None:
        return escaped
    number = begin[0].isdigit()
    return f"{begin[0]}\\{escaped[begin.end() :]}" if number else f"\\{escaped}"


def for_figure(text: object) -> str:
    r"""Returns text for a figure, where Matplotlib would take what stands between two dollars for a formula.

    >>> for_figure("$x$")
    '\\$x\\$'
    """
    return "\n".join(for_terminal(line) for line in str(text).split("\n")).replace("$", r"\$")


def for_csv(text: object) -> str:
    """Returns text for a cell of a table of values, behind an apostrophe where a spreadsheet would compute it.

    >>> for_csv("=HYPERLINK(1)"), for_csv("-0.5")
    ("'=HYPERLINK(1)", '-0.5')
    """
    cell = str(text)
    if not cell.lstrip().startswith(_FORMULA) and not cell.startswith(_FORMULA):
        return for_terminal(cell)
    try:
        float(cell)
    except ValueError:
        return "'" + for_terminal(cell)
    return for_terminal(cell)


def for_file_name(text: object) -> str:
    """Returns text as part of a file name: no folder, nothing reserved, not too long; different texts stay different.

    >>> for_file_name("small-vehicle"), for_file_name("../../evil")
    ('small-vehicle', '..-..-evil-0fbfd372')
    """
    name = str(text)
    safe = re.sub(r'[\x00-\x1f/\\<>:"|?*]+', "-", for_terminal(name))
    safe = safe.encode("utf-8", "replace")[:_NAME_LENGTH].decode("utf-8", "ignore").strip(" ")
    if safe.strip(".") == "" or _RESERVED.match(safe):
        safe = f"name-{safe.strip('.')}".rstrip("-")
    if safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def say(*parts: object, end: str = "\n", file: TextIO | None = None) -> None:
    """Prints as ``print`` does, at once; control characters in the parts reach no terminal, line ends in them are meant."""
    print(for_terminal_lines(" ".join(map(str, parts))), end=end, file=file, flush=True)
