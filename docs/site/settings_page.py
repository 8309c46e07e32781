"""Writes the page of all settings from the settings themselves: their docstrings, types, limits and published values.

    python docs/site/settings_page.py

writes docs/reference/settings.md; a test keeps it current.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from rtmdet_lab.config.describe import Description, descriptions
from rtmdet_lab.config.settings import ExperimentConfig

TARGET = Path(__file__).parents[1] / "reference" / "settings.md"
HEAD = """# Settings

<!-- Written by docs/site/settings_page.py from rtmdet_lab/config/settings: change it there. -->

Everything that `--set`, a row of a table and `with_overrides` can change, by dotted names. `rtmdet-lab settings WORD` shows
the same in a terminal; [Design choices as settings](choices.md) shows how they are given. A default that differs by task or
size is the published one of each; "rotated (mixing)" is the recipe with `augment.rotated_recipe` set to `mixing`. "-" is no
value: what that means stands beside it. Sources are sections of [RTMDet in numbers](../paper.md).
"""


def page() -> str:
    """Returns the page in Markdown: a table per part of the config."""
    parts: dict[str, list[Description]] = {}
    for setting in descriptions().values():
        parts.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    lines = [HEAD]
    for part, settings in parts.items():
        lines += [f"## {part or 'The run'}", "", first_paragraph(part), ""]
        lines += ["| setting | takes | default | meaning |", "|---|---|---|---|"]
        lines += [*map(row, settings), ""]
    return "\n".join(lines)


def first_paragraph(part: str) -> str:
    """Returns the first paragraph of the docstring of a part of the config."""
    config = ExperimentConfig()
    for name in filter(None, part.split(".")):
        config = getattr(config, name)
    return " ".join((inspect.getdoc(type(config)) or "").split("\n\n")[0].split()).replace("``", "`")


def row(setting: Description) -> str:
    name = f'<code style="white-space: nowrap">{setting.name}</code>'  # a site's table would break it anywhere
    source = f" ({setting.source})" if setting.source else ""
    cells = [name, setting.values, setting.default, marked(setting.meaning) + source]
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def marked(text: str) -> str:
    """Returns a meaning with the names of other settings as code."""
    return re.sub(r"\b(?:model|assigner|loss|augment|train|test|data)(?:\.[a-z_]+)+\b", r"`\g<0>`", text)


if __name__ == "__main__":
    TARGET.write_text(page())
    print(TARGET)
