"""Errors for the person at the keyboard: one sentence, and the built-in type a programmer expects."""

from __future__ import annotations

import pickle

import pytest

from rtmdet_lab.core.errors import (
    CheckpointError,
    DataError,
    SettingError,
    SettingTypeError,
    StorageError,
    UnknownNameError,
    UserError,
    as_sentence,
    did_you_mean,
)

BUILT_IN = {
    SettingError: ValueError,
    SettingTypeError: TypeError,
    UnknownNameError: KeyError,
    DataError: ValueError,
    CheckpointError: ValueError,
    StorageError: OSError,
}


@pytest.mark.parametrize("kind", BUILT_IN)
def test_each_error_is_a_user_error_and_its_built_in(kind):
    assert issubclass(kind, UserError)
    with pytest.raises(BUILT_IN[kind]):
        raise kind("something")
    with pytest.raises(UserError):
        raise kind("something")


@pytest.mark.parametrize("kind", BUILT_IN)
def test_message_is_shown_as_written(kind):
    # KeyError would quote it, OSError would show its number.
    message = "no 'thing' in /tmp/file.json: write one"
    assert str(kind(message)) == message


@pytest.mark.parametrize("kind", BUILT_IN)
def test_message_survives_the_way_from_a_worker_process(kind):
    again = pickle.loads(pickle.dumps(kind("it's broken")))
    assert type(again) is kind
    assert str(again) == "it's broken"


@pytest.mark.parametrize("kind", BUILT_IN)
def test_error_without_a_message_can_be_shown(kind):
    assert str(kind()) == ""


def test_nearest_name_is_suggested():
    assert did_you_mean("rtmdet-tin", ["rtmdet-s", "rtmdet-tiny"]) == "did you mean 'rtmdet-tiny'?"


def test_nothing_is_suggested_for_a_name_unlike_all():
    assert did_you_mean("zebra", ["rtmdet-s", "kernel_size"]) == ""
    assert did_you_mean("zebra", []) == ""


def test_cutoff_decides_how_near_is_near():
    assert did_you_mean("kern", ["kernel_size"], cutoff=0.9) == ""
    assert did_you_mean("kern", ["kernel_size"], cutoff=0.4) == "did you mean 'kernel_size'?"


def test_known_names_may_come_from_any_iterable():
    assert did_you_mean("deptth", {"depth": 1, "width": 2}) == "did you mean 'depth'?"


def test_sentence_is_one_printable_line_of_limited_length():
    assert as_sentence(DataError("image a.jpg is empty")) == "image a.jpg is empty"
    assert as_sentence(DataError("image \u00e9.jpg\nis\tempty")) == "image \u00e9.jpg\\nis\\tempty"
    long = as_sentence(DataError("start " + "x" * 5000 + " end"))
    assert len(long) < 1000
    assert long.startswith("start xxx")
    assert "characters left out" in long
    assert long.endswith("xxx end")
