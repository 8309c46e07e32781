"""Bad input of every kind ends in one sentence and exit code 2; nothing runs, and nothing is written beside the output.

The table is ``corpus/``: a case is a function that makes the input and returns the call, and what the sentence must name.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from pathlib import Path

import pytest
from made_dota import SHIP, write_dota
from made_faults import Case, Place
from made_runs import make_config, make_task
from made_sets import write_set

from rtmdet_lab.cli.main import main
from rtmdet_lab.config.overrides import to_dict
from rtmdet_lab.core.errors import UserError, as_sentence
from rtmdet_lab.models.checkpoints import save_weights

CORPUS = Path(__file__).parent / "corpus"
sys.path.insert(0, str(CORPUS))
CASES = [case for path in sorted(CORPUS.glob("bad_*.py")) for case in importlib.import_module(path.stem).CASES]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Returns a folder of good files."""
    folder = tmp_path_factory.mktemp("shared")
    write_set(folder / "data", train=2, val=1)
    write_dota(folder / "aerial", {"P1": [SHIP]})
    for name, task in (("weights", "detection"), ("turned", "rotated")):
        settings = {"task": task, "augment.rotated_recipe": "mixing" if task == "rotated" else "plain"}
        network = make_task(**settings)
        config = to_dict(make_config(**settings))
        save_weights(
            folder / f"{name}.safetensors",
            network.model.state_dict(),
            model="rtmdet-nano",
            classes=("wide", "tall"),
            config=config,
        )
    return folder


@pytest.fixture
def place(tmp_path, shared, monkeypatch):
    (tmp_path / "bad").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # what is written to a relative path would be found
    files = {"data": shared / "data", "aerial": shared / "aerial"}
    weights = {name: shared / f"{name}.safetensors" for name in ("weights", "turned")}
    return Place(tmp_path / "bad", tmp_path / "out", **files, **weights)


def outcome(what) -> tuple[int, str]:
    """Returns exit code and error text of a call of the command, or of a function as the command would end."""
    if callable(what):
        try:
            what()
        except UserError as error:
            return 2, as_sentence(error)
        return 0, ""
    errors = _Lines()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(_Lines()), warnings.catch_warnings():
        try:
            return main([str(one) for one in what]), errors.text
        except SystemExit as stop:  # argparse ends the process itself
            return stop.code, errors.text


class _Lines:
    """Standard output that is kept."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def files_below(*folders: Path) -> dict[str, tuple]:
    """Returns size and time of everything below folders; links are not followed."""
    found = {}
    for folder in folders:
        for top, names, files in os.walk(folder):
            for name in names + files:
                status = (Path(top) / name).lstat()
                found[os.path.join(top, name)] = (status.st_size, status.st_mtime_ns) if name in files else ()
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_sentence_and_touches_nothing(case: Case, place, shared, tmp_path):
    what = case.make(place)
    before = files_below(tmp_path, shared)
    code, errors = outcome(what)
    assert code == 2, errors
    lines = [line for line in errors.splitlines() if line.strip() and "%|" not in line]  # besides progress bars
    if lines and lines[0].startswith("usage:"):  # of argparse, as everywhere
        lines = lines[-1:]
    assert len(lines) == 1, errors
    assert len(lines[0]) < 1000, "a sentence, not a dump"
    assert "Traceback" not in errors
    for words in case.words:
        assert words in lines[0]
    after = files_below(tmp_path, shared)
    out = str(tmp_path / "out")
    assert {path: after[path] for path in after if not path.startswith(out)} == before


def test_cases_are_many_and_have_names_of_their_own():
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)
