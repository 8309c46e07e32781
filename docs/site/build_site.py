"""Builds the documentation site into build/site: pages, API, command line, and the notebooks with their outputs.

    python docs/site/build_site.py            # executes the notebooks that changed, some minutes the first time
    python docs/site/build_site.py --quick    # takes them as they were last executed, or without outputs

All pages are gathered under build/docs/pages and MkDocs reads them there. Nothing is fetched from a network, neither by
the build nor by the pages. A warning ends the build with an error.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from gallery import write_gallery

import rtmdet_lab
from rtmdet_lab.cli.main import VERBS, read_arguments

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "build" / "docs" / "pages"
PACKAGE = ROOT / "rtmdet_lab"
ACTIONS = {"data": ("generate", "check", "split", "hrsc")}


def copy_documents() -> None:
    """Copies what is written by hand: docs/, and the pages of the root folder, README as the first one."""
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("site", "__pycache__"))
    for source, page in {"README": "index", "CONTRIBUTING": "contributing", "CHANGELOG": "changelog"}.items():
        if (ROOT / f"{source}.md").is_file():
            text = (ROOT / f"{source}.md").read_text()
            text = (
                text.replace("](docs/", "](")
                .replace("](CONTRIBUTING.md", "](contributing.md")
                .replace("](CHANGELOG.md", "](changelog.md")
            )
            (PAGES / f"{page}.md").write_text(text)


def write_command_line() -> None:
    """Writes the page of the command line: the help of every verb, as it is printed."""
    lines = ["# Command line", "", "What `rtmdet-lab VERB --help` prints.", ""]
    for verb in VERBS:
        for words in [[verb], *([verb, action] for action in ACTIONS.get(verb, ()))]:
            lines += [f"## rtmdet-lab {' '.join(words)}", "", "```text", help_of(words).rstrip(), "```", ""]
    (PAGES / "reference" / "cli.md").write_text("\n".join(lines))


def help_of(words: list[str]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        read_arguments([*words, "--help"])
    return text.getvalue()


def write_api() -> None:
    """Writes one page per folder of the package, and one of the public names; mkdocstrings fills them."""
    folder = PAGES / "reference" / "api"
    folder.mkdir(parents=True)
    homes = {name: f"{rtmdet_lab.__name__}.{home}" for name, home in rtmdet_lab._HOME.items()}
    lines = ["# Public names", "", first_paragraph(rtmdet_lab.__doc__), ""]
    old = {name: new for name in homes if (new := current_name(name)) != name}
    lines += [f"::: {homes[name]}.{name}\n    options:\n      heading_level: 2\n" for name in homes if name not in old]
    lines += ["## Old names", "", *(f"- `{name}` is what `{new}` was called." for name, new in old.items())]
    (folder / "index.md").write_text("\n".join(lines))
    for part in sorted(path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()):
        docstring = importlib.import_module(f"rtmdet_lab.{part.name}").__doc__
        lines = [f"# {part.name}/", "", first_paragraph(docstring), ""]
        modules = sorted(path for path in part.rglob("*.py") if path.stem != "__main__")
        names = [re.sub(r"\.__init__$", "", ".".join(path.relative_to(ROOT).with_suffix("").parts)) for path in modules]
        lines += [f"::: {name}\n" for name in names if name != f"rtmdet_lab.{part.name}"]
        (folder / f"{part.name}.md").write_text("\n".join(lines))


def current_name(name: str) -> str:
    """Returns the name under which what is called ``name`` in public is defined: another one for an old name."""
    return getattr(getattr(rtmdet_lab, name), "__name__", name)


def first_paragraph(docstring: str | None) -> str:
    return (docstring or "").strip().split("\n\n")[0].replace("``", "`")


def gather(execute: bool) -> None:
    """Writes all pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    copy_documents()
    write_command_line()
    write_api()
    write_gallery(PAGES / "notebooks", execute)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="execute no notebook")
    arguments = parser.parse_args()
    os.environ["COLUMNS"] = "100"  # the width help is printed in
    gather(execute=not arguments.quick)
    # Material tells of its successor on every build; docs/architecture.md says why it is taken all the same.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"], cwd=ROOT, env=environment
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
