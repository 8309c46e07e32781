"""Options and tables that several verbs share."""

from __future__ import annotations

import argparse
import contextlib
import json

import matplotlib.pyplot as plt
import pytest
from made_sets import assert_one_sentence

from rtmdet_lab.cli.common import parse_overrides, print_table, save_figure, write_result
from rtmdet_lab.core.errors import SettingError, StorageError


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=7", 7),
        ("a=1e-3", 1e-3),
        ("a=tiny", "tiny"),
        ('a="7"', "7"),
        ("a=true", True),
        ("a=True", True),
        ("a=False", False),
        ("a=null", None),
        ("a=None", None),
        ("a=[3,6,6,3]", [3, 6, 6, 3]),
        ('a={"b": 1}', {"b": 1}),
        ("a=", ""),
        ("a=x=y", "x=y"),
        ("a=/data/with spaces/1", "/data/with spaces/1"),
    ],
)
def test_values_are_json_or_text(pair, value):
    found = parse_overrides([pair])["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_pair_without_name_or_equals_is_refused(pair):
    with pytest.raises(SettingError) as error:
        parse_overrides([pair])
    assert_one_sentence(error.value, "--set", repr(pair), "NAME=VALUE")


def test_later_pairs_replace_earlier_ones():
    assert parse_overrides(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}


def test_table_is_aligned(capsys):
    print_table([{"class": "a", "AP": 0.25, "objects": 3}, {"class": "longer", "AP": float("nan"), "objects": 12}])
    assert capsys.readouterr().out.splitlines() == [
        "class      AP  objects",
        "------  -----  -------",
        "a       0.250        3",
        "longer      -       12",
    ]


def test_table_of_nothing_prints_nothing(capsys):
    print_table([])
    assert capsys.readouterr().out == ""


def test_missing_cells_are_dashes(capsys):
    print_table([{"a": 1, "b": None}, {"a": 2}], columns=["a", "b"])
    assert capsys.readouterr().out.splitlines()[2:] == ["1  -", "2  -"]


def test_result_is_written_only_on_request(tmp_path):
    write_result(argparse.Namespace(json=None), {"a": 1})
    write_result(argparse.Namespace(json=tmp_path / "deep" / "r.json"), {"a": [1, None]})
    assert json.loads((tmp_path / "deep" / "r.json").read_text()) == {"a": [1, None]}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_result(argparse.Namespace(json=tmp_path / "file" / "r.json"), {})


@pytest.mark.parametrize("canvas", ["svg", "agg"])
def test_figures_are_written_in_any_format_whatever_the_backend(tmp_path, canvas):
    with plt.rc_context(), switched_to(canvas):
        figure, _ = plt.subplots()
        save_figure(figure, tmp_path / "drawn.png", "figure")
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


@contextlib.contextmanager
def switched_to(canvas: str):
    before = plt.get_backend()
    plt.switch_backend(canvas)
    yield
    plt.switch_backend(before)
