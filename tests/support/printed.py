"""The texts that tell a reader what to type, and the commands printed in them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import nbformat

from rtmdet_lab.cli.main import VERBS

ROOT = Path(__file__).parents[2]
# CHANGELOG.md tells what was, the others what is.
DOCUMENTS = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.exists()]
DOCUMENTS += sorted((ROOT / "docs").rglob("*.md"))


def joined(text: str) -> list[str]:
    """Returns the lines of a text with continued ones in one."""
    return re.sub(r" *\\\n\s*", " ", text).splitlines()


def block_commands(text: str) -> list[str]:
    """Returns the commands that stand in a text's code blocks, with the comments beside them."""
    return [line.strip() for line in joined(text) if line.startswith(("    rtmdet-lab ", "  rtmdet-lab "))]


def commands_of(text: str) -> list[str]:
    """Returns the commands of a text that can be typed as they stand, those of its running text too."""
    lines = block_commands(text)
    # In running text a verb alone is a name, not a command.
    quoted = re.findall(r"`(rtmdet-lab [^`]+)`", text)
    lines += [command for command in quoted if re.search(r"-lab \S+ .* -|-lab \w+ \w+_\w+", command)]
    lines = [line for line in lines if not re.search(r"\b(RUN|NAME|FILE|FOLDER|DIR|VERB)\b|\.\.\.", line)]
    return [re.split(r"\s{2,}[#(]", line)[0].strip() for line in lines]


def printed_commands() -> list[str]:
    """Returns every command printed in README, docs, help and notebooks, each once."""
    texts = [path.read_text() for path in DOCUMENTS]
    texts += [getattr(importlib.import_module(module), "EXAMPLES", "") for module, _ in VERBS.values()]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells if cell.cell_type == "markdown"]
    return list(dict.fromkeys(command for text in texts for command in commands_of(text)))
