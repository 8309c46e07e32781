"""One training per folder, and none over what another left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.core.errors import StorageError
from rtmdet_lab.engine.lock import LOCK_NAME, RESULTS, run_folder

HOLD = """import sys, time
from pathlib import Path
from rtmdet_lab.engine.lock import run_folder
with run_folder(Path(sys.argv[1]), print):
    child = __import__("os").fork()  # a loader process, which lives longer
    if not child:
        time.sleep(60)
    print("held", child, flush=True)
    time.sleep(60)
"""


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(StorageError) as error, run_folder(folder, print):
        pass
    assert_one_sentence(error.value, str(folder), *words)


def test_folder_is_free_before_and_after(tmp_path):
    for _ in range(2):
        with run_folder(tmp_path / "run", print):
            assert str(os.getpid()) in (tmp_path / "run" / LOCK_NAME).read_text()
    assert not (tmp_path / "run").exists()  # nothing was written


@pytest.mark.slow
def test_second_training_is_refused_and_a_killed_one_frees_the_folder_at_once(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        child = int(holder.stdout.readline().split()[1])
        refused(tmp_path, "a training is at work", f"process {holder.pid}")
    finally:
        holder.kill()
        holder.wait()
    for name in RESULTS:  # of the killed training, which had saved no state yet
        (tmp_path / name).touch()
    with run_folder(tmp_path, print):
        os.kill(child, 9)
    assert not (tmp_path / LOCK_NAME).exists()


@pytest.mark.parametrize("name", RESULTS)
def test_results_without_a_state_are_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("the user's")
    for _ in range(2):
        refused(tmp_path, name, "no state to go on from")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_run_with_a_state_goes_on(tmp_path):
    for name in (*RESULTS, "last.state"):
        (tmp_path / name).touch()
    with pytest.raises(KeyError), run_folder(tmp_path, print):
        raise KeyError
    assert not (tmp_path / LOCK_NAME).exists()


def test_strange_lock_files_are_sentences(tmp_path):
    (tmp_path / "folder" / LOCK_NAME).mkdir(parents=True)
    refused(tmp_path / "folder", "cannot lock")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / LOCK_NAME)
    begin = time.monotonic()
    refused(tmp_path / "pipe", "device or pipe")
    assert time.monotonic() - begin < 5


def test_file_system_without_locks_is_told_of(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    notes = []
    with run_folder(tmp_path / "run", notes.append):
        pass
    assert "file system without locks" in notes[0]
