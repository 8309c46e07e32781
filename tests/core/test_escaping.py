"""Text of strangers, where it is shown: nothing of it acts, all of it is there."""

from __future__ import annotations

import ast
import csv
import io
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import mistune
import pytest

import rtmdet_lab
from rtmdet_lab.core.escaping import (
    for_csv,
    for_figure,
    for_file_name,
    for_html,
    for_markdown,
    for_terminal,
    for_terminal_lines,
    say,
)

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</title></td><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "[a](javascript:alert(1)) ![b](http://host/c.png) <http://host>",
    r"$\href{javascript:alert(1)}{x}$ and \(x\) and \begin{a}x\end{a}",
    "a | b\n\n# c\n\n* d\n\n```\ne",
    "&lt;script&gt; &#36; `x` **x** _x_ ~~x~~",
    "https://host/x www.host.com",
    "\x1b]0;title\x07\x1b[2J\x1b[1A\r\x08\x9b31m",
    "\u202eexe.txt\u2066x\u200b\ufeff",
    "# a",
    "1. a",
    "- a",
    "=== a",
)
ORDINARY = ("car", "small-vehicle", "Straße 1", "汽车", "می‌خواهم", "👨‍👩‍👧", "kernel 7x7 (paper)", "50 % of 3 & more")


@pytest.mark.parametrize("text", HOSTILE)
def test_terminal_gets_one_printable_line(text):
    shown = for_terminal(text)
    assert not [letter for letter in shown if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert "\\x1b" in shown or "\x1b" not in text  # seen, not lost


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_names_stay_as_they_are(text):
    assert for_terminal(text) == for_terminal_lines(text) == for_figure(text) == for_csv(text) == text
    assert for_file_name(text.replace(" ", "_")) == text.replace(" ", "_")
    assert plain_text(render(for_markdown(text))) == text
    assert plain_text(for_html(text)) == text


# As GitHub and JupyterLab read it: HTML passes, addresses become links.
render = mistune.create_markdown(escape=False, plugins=["strikethrough", "table", "url"])


class Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def plain_text(page: str) -> str:
    return read(page).text.strip()


@pytest.mark.parametrize("text", HOSTILE)
def test_html_holds_it_as_text(text):
    reader = read(f'<p title="{for_html(text)}">{for_html(text)}</p>')
    (tag, attributes), *others = reader.tags
    assert (tag, others) == ("p", [])
    assert attributes == [("title", reader.text)]
    assert not set(reader.text) & set("$\\\x1b\u202e")  # no formula, no control


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("around", ["{}", "* {}", "# {}"])
def test_markdown_holds_it_as_text(text, around):
    page = render(around.format(for_markdown(text)) + "\n")
    reader = read(page)
    assert {tag for tag, _ in reader.tags} <= {"p", "ul", "li", "h1"}
    assert len(reader.tags) <= 2
    assert reader.text.strip() == plain_text(for_html(text))


def test_markdown_table_keeps_its_cells():
    rows = ["| a | b |", "|---|---|", *(f"| {for_markdown(text)} | {for_markdown(text)} |" for text in HOSTILE)]
    reader = read(render("\n".join(rows)))
    tags = [tag for tag, _ in reader.tags]
    assert tags.count("tr") == len(HOSTILE) + 1
    assert tags.count("td") == 2 * len(HOSTILE)
    assert set(tags) == {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.mark.parametrize("cell", ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_spreadsheet_computes_nothing(cell):
    stream = io.StringIO()
    csv.writer(stream).writerow([for_csv(cell)])
    assert stream.getvalue().startswith(("'", "\"'"))


@pytest.mark.parametrize("cell", ["-0.5", "+3", "-1e-05", "41.2", "", "5x5", "a-b"])
def test_numbers_stay_numbers_for_a_spreadsheet(cell):
    assert for_csv(cell) == cell


NAMES = [
    "",
    ".",
    "..",
    "/",
    "../../../evil",
    "a/b",
    "a\\b",
    "a\x00b",
    "CON",
    "nul.txt",
    "a\nb",
    "x" * 300,
    "汽" * 200,
    "C:x",
]


@pytest.mark.parametrize("name", NAMES)
def test_file_name_is_one_of_its_folder(name, tmp_path):
    safe = for_file_name(name)
    (tmp_path / f"{safe}.txt").write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [f"{safe}.txt"]
    assert not set(safe) & set('/\\:*?"<>|')


def test_different_names_make_different_files():
    assert len({for_file_name(name).lower() for name in [*NAMES, "a-b", "name", "-"]}) == len(NAMES) + 3


def test_say_keeps_the_line_ends_that_are_meant(capsys):
    say("two\nlines", "\x1b[2J\r", 3)
    assert capsys.readouterr().out == "two\nlines \\x1b[2J\\r 3\n"


# Files that run without the package, or that other programs read.
PRINTS = {"core/escaping.py", "export/runner.py", "experiment/sweep/ray_driver.py"}


def test_nothing_is_printed_past_the_escapes():
    package = Path(rtmdet_lab.__file__).parent
    printing = set()
    for path in package.rglob("*.py"):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if any(isinstance(call, ast.Name) and call.id == "print" for call in calls):
            printing.add(path.relative_to(package).as_posix())
    assert printing == PRINTS
