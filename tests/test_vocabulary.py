"""Names in the package use the words of docs/glossary.md; words of earlier versions stand in alias tables alone."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rtmdet_lab"
# Word that no name has -> what says it, and the files that may have it, for a reason told beside them.
BANNED: dict[str, tuple[str, tuple[str, ...]]] = {
    "budget": ("scale", ("experiment/table.py", "experiment/row.py", "experiment/run.py")),  # old names that are taken
    "window": (
        "tile",
        (
            *("browse/dataset.py", "browse/tile_links.py", "data/tiles.py", "data/tile_split.py", "cli/data.py"),  # files'
            *("tasks/test_time.py", "experiment/verify/detections.py", "viz/rotated.py"),  # pieces of data/tiles.py
            *(
                "synthetic/",
                "transforms/",
                "models/transfer.py",
                "viz/ablations.py",
            ),  # of buildings, time, screens
        ),
    ),
    "outline": (
        "polygon",
        (
            *("data/", "geometry/polygons.py", "transforms/masks.py", "engine/stages.py", "notebook/panels/assigner.py"),
            *("experiment/run.py", "experiment/verify/stimuli.py", "synthetic/"),
        ),
    ),
    "doubt": ("label issue", ("data/", "cli/data.py")),  # of one annotation while a file is read: not yet an issue
    "freeze_norm": ("norm_eval", ()),
    "accumulate": (
        "gradient_accumulation_steps",  # sums over the parts of a curve, and numpy's own
        ("engine/step.py", "evaluation/", "geometry/run_lengths.py"),
    ),
}


def names_of(source: str) -> set[str]:
    """Returns every name that Python code defines or uses: variables, attributes, arguments, functions, classes."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                names.add(value)
    return names


def words_of(name: str) -> str:
    """Returns a name as its words, plurals as one thing: ``allScales`` and ``ALL_SCALES`` are all_scale.

    >>> words_of("LabelIssues")
    'label_issue'
    """
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")
    return "_".join(part.removesuffix("s") for part in parts)


def banned_in(source: str, file: str) -> list[str]:
    return [
        f"{file}: {name!r} has {word!r}, which is called {today}"
        for name in sorted(names_of(source))
        for word, (today, allowed) in BANNED.items()
        if f"_{word}_" in f"_{words_of(name)}_" and not file.startswith(allowed)
    ]


def test_names_use_the_words_of_the_glossary():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        wrong += banned_in(path.read_text(), path.relative_to(PACKAGE).as_posix())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("def check_budget(): pass", "budget"),
        ("run(allBudgets=1)", "budget"),
        ("config.train.freeze_norm", "freeze_norm"),
        ("class OutlineMask: pass", "outline"),
        ("scale = 1", None),
        ("accumulated = 1", None),
    ],
)
def test_a_planted_word_is_found(source, word):
    wrong = banned_in(source, "layers/conv.py")
    assert len(wrong) == (word is not None)
    assert word is None or repr(word) in wrong[0]


def test_glossary_says_each_word_once_and_names_files_that_exist():
    lines = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    words = [row[0] for row in rows if row[0] != "word"]
    assert len(words) == len(set(words)) > 30
    places = [place for row in rows for place in re.findall(r"`([a-z_]+/[a-z_/.]*)`", row[2])]
    assert len(places) > 25
    assert not [place for place in places if not (PACKAGE / place).exists() and not (ROOT / place).exists()]
