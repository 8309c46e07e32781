"""The state of a run: the newest whole one is found, whichever file was damaged."""

from __future__ import annotations

import dataclasses
import errno
import os
import zipfile
from pathlib import Path

import pytest
import torch
from made_sets import assert_one_sentence
from torch import nn

from rtmdet_lab.config.overrides import to_dict, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import CheckpointError, StorageError
from rtmdet_lab.engine.ema import ModelEMA
from rtmdet_lab.engine.state import EARLIER_NAME, STATE_NAME, SavedState, TrainState, has_state, read_state, saved_config
from rtmdet_lab.models import safe_pickle

SPEED = {"seconds": 1.0, "images_per_s": 8.0}


@pytest.fixture
def state(tmp_path):
    """A state saved three times, after 1, 2 and 3 epochs."""
    model = nn.Linear(40, 30)
    made = TrainState(resolve(ExperimentConfig()), model, None, torch.optim.AdamW(model.parameters()), None)
    for epoch in (1, 2, 3):
        made.epoch = epoch
        made.history.append({"epoch": epoch - 1, "stage": "strong", "step": 0, "lr": 0.0, "losses": {}, **SPEED})
        made.save(tmp_path)
    return made


def read(folder: Path, **changes) -> tuple[SavedState, list[str]]:
    notes = []
    return read_state(folder, resolve(with_overrides(ExperimentConfig(), changes)), notes.append), notes


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def overwritten(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 not a state")


def one_bit_flipped(path: Path) -> None:
    """Flips a bit among the weights, which reading alone does not notice."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda one: one.file_size)
    data[largest.header_offset + 400 + largest.file_size // 2] ^= 1
    path.write_bytes(data)


DAMAGES = [cut_short, emptied, overwritten, one_bit_flipped]


def test_newest_is_read_and_the_one_before_it_is_kept(tmp_path, state):
    content, notes = read(tmp_path)
    assert (content.epoch, notes) == (3, [])
    (tmp_path / STATE_NAME).unlink()
    assert read(tmp_path)[0].epoch == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [EARLIER_NAME]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_newest_gives_the_one_before_it_and_is_told(tmp_path, state, damage):
    damage(tmp_path / STATE_NAME)
    content, notes = read(tmp_path)
    assert content.epoch == 2
    (note,) = notes
    assert_one_sentence(note, str(tmp_path / STATE_NAME), "damaged", EARLIER_NAME, "epoch 3, batch 0")


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_earlier_one_does_not_matter(tmp_path, state, damage):
    damage(tmp_path / EARLIER_NAME)
    assert read(tmp_path)[0].epoch == 3


def test_damaged_file_never_takes_the_place_of_the_whole_one(tmp_path, state):
    cut_short(tmp_path / STATE_NAME)
    state.restore(read(tmp_path)[0])
    state.epoch = 7
    state.save(tmp_path)
    (tmp_path / STATE_NAME).unlink()
    assert read(tmp_path)[0].epoch == 2  # not the damaged one
    state.epoch = 8
    state.save(tmp_path)
    state.epoch = 9
    state.save(tmp_path)
    cut_short(tmp_path / STATE_NAME)
    assert read(tmp_path)[0].epoch == 8


def test_two_damaged_files_are_both_named(tmp_path, state):
    for name in (STATE_NAME, EARLIER_NAME):
        cut_short(tmp_path / name)
    with pytest.raises(CheckpointError) as error:
        read(tmp_path)
    assert_one_sentence(error.value, str(tmp_path / STATE_NAME), str(tmp_path / EARLIER_NAME), "another output folder")
    assert has_state(tmp_path)


def test_disk_that_is_away_is_not_taken_for_damage(tmp_path, state, monkeypatch):
    def stale(*_, **__):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(safe_pickle, "StrictZip", stale)
    with pytest.raises(StorageError) as error:
        read(tmp_path)
    assert_one_sentence(error.value, str(tmp_path / STATE_NAME), os.strerror(errno.ESTALE), "try again")


def test_other_settings_are_refused_and_those_that_do_not_matter_are_not(tmp_path, state):
    assert read(tmp_path, **{"data.on_bad": "skip", "test.batch_size": 3})[0].epoch == 3
    with pytest.raises(CheckpointError) as error:
        read(tmp_path, **{"train.lr": 0.5})
    assert_one_sentence(error.value, str(tmp_path), "train.lr is 0.5")


def test_state_with_the_settings_names_of_an_earlier_version_is_read(tmp_path, state, monkeypatch):
    def as_before(config):
        plain = to_dict(config)
        plain["train"]["freeze_norm"] = plain["train"].pop("norm_eval")
        plain["augment"]["pop"] = plain["augment"].pop("cache_eviction")
        return plain

    monkeypatch.setattr("rtmdet_lab.engine.state.to_dict", as_before)
    state.save(tmp_path)
    content, notes = read(tmp_path)
    assert (content.epoch, content.config, notes) == (3, state.config, [])


def test_config_of_a_run_is_that_of_its_newest_whole_state(tmp_path, state):
    assert saved_config(tmp_path) == resolve(ExperimentConfig())
    state.config = dataclasses.replace(state.config, seed=5)
    state.save(tmp_path)
    assert saved_config(tmp_path).seed == 5
    cut_short(tmp_path / STATE_NAME)
    assert saved_config(tmp_path).seed == 0
    cut_short(tmp_path / EARLIER_NAME)
    assert saved_config(tmp_path) is None


def test_folder_without_a_run_says_so(tmp_path):
    assert not has_state(tmp_path)
    with pytest.raises(CheckpointError, match=r"no last\.state"):
        read(tmp_path)


def test_file_system_without_links_keeps_the_earlier_state_too(tmp_path, state, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    state.epoch = 4
    state.save(tmp_path)
    assert read(tmp_path)[0].epoch == 4
    (tmp_path / STATE_NAME).unlink()
    assert read(tmp_path)[0].epoch == 3


# -- what a state holds -------------------------------------------------------------------------------------------------

EPOCH = {
    "epoch": 0,
    "stage": "strong",
    "step": 2,
    "lr": 0.01,
    "losses": {"loss_cls": 1.0},
    "seconds": 1.0,
    "images_per_s": 8.0,
}


def trained(folder: Path) -> TrainState:
    """A run of one epoch with averaged weights, saved."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    own = TrainState(resolve(ExperimentConfig()), model, ModelEMA(model), torch.optim.AdamW(model.parameters()), None)
    model(torch.ones(2, 4)).sum().backward()
    own.optimizer.step()
    own.epoch, own.step, own.history, own.best = 1, 2, [EPOCH], 0.5
    own.save(folder)
    return own


def places(content, path=()):
    """Yields the path of every value of a state's nested mappings and lists."""
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


def with_value(content, path, value):
    if not path:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    if value is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = with_value(content[path[0]], path[1:], value)
    return copy


STRANGE = [..., None, "text", [], {}, -1, 2**70, float("nan"), torch.zeros(2, 2), torch.full((3,), float("nan"))]


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: str(value)[:9])
def test_every_field_of_a_state_is_taken_over_or_refused_in_a_sentence(tmp_path, value):
    own = trained(tmp_path)
    content = torch.load(tmp_path / STATE_NAME, weights_only=True)
    for place in list(places(content)):
        if place[0] == "config" and len(place) > 2:  # settings have tests of their own
            continue
        if place[:2] == ("optimizer", "state") and place[2:3] > (0,):  # what is kept of another weight, again
            continue
        torch.save(with_value(content, place, value), tmp_path / STATE_NAME)
        try:
            own.restore(read_state(tmp_path, resolve(ExperimentConfig()), misfit=own.misfit))
        except CheckpointError as error:
            assert_one_sentence(error, str(tmp_path))
            continue
        own.model(torch.ones(2, 4)).sum().backward()
        own.optimizer.step()
        own.ema.update(own.model)
        assert own.epoch + own.batch + own.step >= 0
        assert all(weight.isfinite().all() for weight in own.model.state_dict().values())


def test_state_of_another_network_gives_the_one_before_it(tmp_path):
    own = trained(tmp_path)
    own.save(tmp_path)
    content = torch.load(tmp_path / STATE_NAME, weights_only=True)
    content["model"]["0.weight"] = torch.zeros(3, 5)
    torch.save(content, tmp_path / STATE_NAME)
    notes = []
    assert read_state(tmp_path, resolve(ExperimentConfig()), notes.append, own.misfit).name == EARLIER_NAME
    assert_one_sentence(*notes, "model.0.weight", "another network", EARLIER_NAME)
