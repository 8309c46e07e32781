"""Whichever file of a run is damaged, the run goes on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_kills import error_of, final, run
from made_runs import assert_same
from made_sets import assert_one_sentence

from rtmdet_lab.models.checkpoints import read_checkpoint

NAMES = ("last.state", "earlier.state", "last.safetensors", "best.safetensors", "metrics.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0
    return final(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run that was killed after its second epoch of three."""
    folder = tmp_path_factory.mktemp("killed")
    assert run(folder, "after an epoch", 2) == -9
    return folder


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbled(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(0, len(data), 97):
        data[place] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("last.state", garbled),
        *((name, damage) for name in NAMES for damage in (halved, emptied)),
    ],
)
def test_run_goes_on_to_the_same_end(tmp_path, whole, killed, name, damage):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    damage(folder / name)
    assert run(folder) == 0
    found = final(folder)
    if name == "best.safetensors":  # the best weights so far are lost: it has those of what came later
        assert read_checkpoint(folder / name).tensors
        assert_same(whole["last"], found["last"])
        assert_same(whole["log"], found["log"])
    else:
        assert_same(whole, found)


@pytest.mark.slow
def test_run_without_a_whole_state_says_what_is_damaged_and_touches_nothing(tmp_path, killed):
    folder = tmp_path / "run"
    shutil.copytree(killed, folder)
    for name in ("last.state", "earlier.state"):
        halved(folder / name)
    before = {name: (folder / name).read_bytes() for name in NAMES}
    assert run(folder) == 2
    assert_one_sentence(error_of(folder), "last.state is damaged", "earlier.state is damaged", "another output folder")
    assert {name: (folder / name).read_bytes() for name in NAMES} == before
