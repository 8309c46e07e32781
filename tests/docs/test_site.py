"""The documentation site shows every page, folder and notebook there is; `make docs-quick` builds it without a warning."""

from __future__ import annotations

import re
from pathlib import Path

import angles
import build_site
import gallery
import nbformat
import pytest
import settings_page
import yaml
from printed import ROOT
from roles import without_roles

CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())


def pages_of(navigation) -> list[str]:
    if isinstance(navigation, str):
        return [navigation]
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return [page for part in parts for page in pages_of(part)]


@pytest.fixture(scope="module")
def gathered(tmp_path_factory):
    """The folder of all pages, as MkDocs reads it; no notebook is executed."""
    folder = tmp_path_factory.mktemp("site") / "pages"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_site, "PAGES", folder)
        patch.setattr(gallery, "KEPT", folder.parent / "notebooks")
        patch.setenv("COLUMNS", "100")
        build_site.gather(execute=False)
    return folder


def test_navigation_has_every_page_once(gathered):
    listed = pages_of(CONFIG["nav"])
    assert sorted(listed) == sorted(str(path.relative_to(gathered)) for path in gathered.rglob("*.md"))


def test_pages_fetch_nothing_from_other_hosts(gathered):
    assert CONFIG["theme"]["font"] is False
    assert CONFIG["extra"]["generator"] is False
    for path in gathered.rglob("*.md"):
        assert not re.findall(r"!\[[^]]*\]\(http|<(?:img|script|iframe)[^>]+http", path.read_text()), path


def test_lists_are_lists_in_the_site_too(gathered):
    """GitHub begins a list below a line of text, MkDocs only below an empty one."""
    for path in gathered.rglob("*.md"):
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        wrong = re.findall(r"^(?![*#>|\s-]|\d+\. )[^\n]+\n(?:[*-] |1\. )[^\n]+", text, flags=re.MULTILINE)
        assert wrong == [], path


def test_command_line_page_shows_every_option(gathered):
    text = (gathered / "reference" / "cli.md").read_text()
    assert "## rtmdet-lab data hrsc" in text
    for option in ("--resume", "--save-edits", "--dry-run", "--tta-flip", "--object-share"):
        assert option in text


def test_settings_page_is_what_the_settings_say():
    assert settings_page.TARGET.read_text() == settings_page.page(), "run docs/site/settings_page.py"


def test_first_page_links_to_pages_of_the_site(gathered):
    targets = re.findall(r"\]\((?!http)([^)]+)\)", (gathered / "index.md").read_text())
    assert len(targets) > 15
    assert [target for target in targets if not (gathered / target).exists()] == []


@pytest.mark.parametrize("page", gallery.pages(), ids=lambda page: page.name)
def test_small_parameters_of_a_notebook_are_its_own(page):
    cells = nbformat.read(page.path, as_version=4).cells
    declared = re.findall(r"^(\w+) = ", next(cell.source for cell in cells if cell.cell_type == "code"), re.MULTILINE)
    chosen = page.parameters()
    assert set(chosen) <= set(declared)
    assert set(gallery.SPECIAL.get(page.name, {})) <= set(declared)
    defaults = {name for name, value in chosen.items() if str(value).startswith("../")}
    assert not defaults, "data and runs of the site go into its own folder"


def test_every_small_parameter_is_needed():
    declared = {name for page in gallery.pages() for name in page.parameters()}
    assert set(gallery.SMALL) <= declared
    assert set(gallery.SPECIAL) <= {page.name for page in gallery.pages()}


def test_notebook_is_executed_again_only_if_something_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "KEPT", tmp_path)
    page = gallery.Page(tmp_path / "notebook.ipynb")
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("# parameters\nepochs = 9")]
    cells[1].metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), page.path)
    assert page.parameters() == {"epochs": gallery.SMALL["epochs"]}
    assert not page.executed.with_suffix(".key").exists()
    page.executed.with_suffix(".key").write_text(page.key())
    assert page.is_current()
    monkeypatch.setitem(gallery.SMALL, "epochs", 1)
    assert not page.is_current()


def test_outputs_are_cleaned_for_a_page(tmp_path):
    assert gallery.plain("a\x1b[31mred\x1b[0m\n10%\r100%\n") == "ared\n100%\n"
    assert gallery.plain(f"in {gallery.ROOT}/runs/a and {Path.home()}/b") == "in runs/a and ~/b"
    bar = [nbformat.v4.new_output("stream", name="stderr", text=text) for text in ("\r 0%", "\r50%", "\r100%\n")]
    (whole,) = gallery.joined_streams(bar)
    gallery.prepare(whole)
    assert whole.text == "100%\n"
    output = nbformat.v4.new_output("display_data", {"image/png": "cG5n", "text/plain": "<Figure>"})
    gallery.prepare(output)
    assert set(output.data) == {"image/png"}


def test_roles_become_code():
    assert without_roles("a :class:`~x.y.Name` and :func:`f`") == "a `Name` and `f`"


def test_drawn_angles_are_those_of_the_code(tmp_path, monkeypatch):
    kept = angles.TARGET.read_text()
    monkeypatch.setattr(angles, "TARGET", tmp_path / "figure.svg")
    angles.main()
    assert (tmp_path / "figure.svg").read_text() == kept
