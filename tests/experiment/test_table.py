"""Tables as data: rows that cannot be, files that hold none, and numbers compared to their last printed digit."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import DataError, SettingError, SettingTypeError, UnknownNameError
from rtmdet_lab.experiment import table
from rtmdet_lab.experiment.row import row_config
from rtmdet_lab.experiment.table import Comparison, Table, compare_static, load_table, table_names

OWN = """
from rtmdet_lab import ExperimentConfig, Table

TABLE = Table(
    title="my table",
    claim="Wider is better.",
    base=ExperimentConfig(),
    rows={"wide": {"model.width": 0.75}, "narrow": {"model.width": 0.25}},
    published={"narrow": {"params_M": "2.25"}},
    source="measured here",
)
"""


def make(**changes) -> Table:
    values = {
        "title": "a table",
        "claim": "a claim",
        "base": ExperimentConfig(),
        "rows": {"five": {}, "seven": {"model.kernel_size": 7}},
        "published": {},
        "source": "nowhere",
    }
    return Table(**(values | changes))


def test_rows_are_the_base_with_their_settings():
    table = make(base=with_overrides(ExperimentConfig(), {"model.size": "tiny"}))
    assert (table.config("five").model.kernel_size, table.config("seven").model.kernel_size) == (5, 7)
    assert table.config("seven").model.size == "tiny"
    assert table.config("seven").model.width == 0.375  # resolved


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rows": {"a": {"model.kernel": 7}}}, UnknownNameError, "row 'a': no setting 'model.kernel'"),
        ({"rows": {"a": {"model.kernel_size": "7"}}}, SettingTypeError, "row 'a': .*expected a whole number"),
        ({"rows": {"a": {"augment.mosaic": "false"}}}, SettingTypeError, "row 'a': .*expected bool .*'false'"),
        ({"rows": {"a": {"model.kernel_size": 4}}}, SettingError, "row 'a': .*must be a positive odd number"),
        ({"rows": {"a": {}, "b": {"model.kernel_size": 5}}}, SettingError, "rows 'a' and 'b' build the same run"),
        (
            {"rows": {"a": {}, "b": {"model.width": 0.5}}},
            SettingError,
            "rows 'a' and 'b' build the same run",
        ),  # the preset's
        ({"published": {"six": {"AP": "50.0"}}}, SettingError, "row 'six', which does not exist: rows are five, seven"),
        ({"notes": {"six": {"AP": "?"}}}, SettingError, "row 'six', which does not exist"),
    ],
)
def test_rows_that_cannot_be_are_refused_by_name(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


def test_unknown_row_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no row 'sven': did you mean 'seven'.* rows are five, seven"):
        make().config("sven")


def test_comparison_of_something_that_no_run_leaves_is_refused():
    with pytest.raises(SettingError, match="metric is 'AP95', but must be AP or load_ms"):
        Comparison("a", "b", metric="AP95")
    with pytest.raises(SettingError, match="leave at_least_as_good alone"):
        Comparison("a", "b", metric="load_ms", at_least_as_good=True)
    assert Comparison("a", "b").text == "a is better than b"
    assert Comparison("a", "b", at_least_as_good=True).text == "a is at least as good as (within 0.5 points of AP) b"
    assert Comparison("a", "b", metric="load_ms").text == "a loads faster than b"


def test_unknown_experiment_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no experiment 'kernel_sise': did you mean 'kernel_size'.* known are"):
        load_table("kernel_sise")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TABLE = 3\n", "has no TABLE = Table"),
        ("", "has no TABLE = Table"),
        ("import nowhere_at_all\n", "stops with ModuleNotFoundError"),
        ("def (\n", "stops with SyntaxError"),
        (OWN.replace("0.75", "-1"), "stops with SettingError: row 'wide': model.width is -1"),
        (None, "does not exist: check the path"),
    ],
)
def test_files_without_an_item_are_refused_with_their_path(text, message, tmp_path):
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message) as failure:
        load_table(path)
    assert str(path) in str(failure.value)


def test_rows_and_overrides_may_name_settings_as_earlier_versions_did(tmp_path):
    table = make(rows={"a": {}, "b": {"train.accumulate": 2}, "c": {"train": {"accumulate": 4}}})
    assert table.rows["b"] == {"train.gradient_accumulation_steps": 2}
    assert [table.config(row).train.gradient_accumulation_steps for row in table.rows] == [1, 2, 4]
    for name in ("train.accumulate", "train.gradient_accumulation_steps"):
        with pytest.raises(SettingError, match="is what row 'b' varies"):
            row_config(table, "b", "smoke", overrides={name: 3})


def test_own_experiment_is_one_short_file(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    table = load_table(str(tmp_path / "own.py"))
    assert table.config("narrow").model.width == 0.25
    (number,) = compare_static(table)
    assert (number.row, number.name, number.published) == ("narrow", "params_M", "2.25")


@pytest.mark.parametrize(
    ("params", "macs", "note", "expected"),
    [
        ("8.89", "14.76", "", ["equal", "equal"]),  # 8.8869 and 14.7607
        ("8.9", "14.8", "", ["equal", "equal"]),
        ("8.90", "14.80", "", ["differs", "within 0.5 %"]),
        ("8.887", "14.90", "", ["equal", "differs"]),
        ("8.80", "15.76", "a misprint", ["known difference", "known difference"]),
        ("8.89", "14.76", "a needless note", ["equal", "equal"]),
    ],
)
def test_numbers_are_compared_to_their_last_printed_digit(params, macs, note, expected):
    published = {"s": {"params_M": params, "macs_G": macs, "AP": "44.6"}}
    table = make(rows={"s": {}}, published=published, notes={"s": {"params_M": note, "macs_G": note}})
    assert [one.verdict for one in compare_static(table)] == expected


def test_multiply_adds_may_be_counted_under_other_settings():
    rows, published = {"s": {"model.size": "s"}}, {"s": {"macs_G": "21.5", "params_M": "10.18"}}
    base = ExperimentConfig(task="instance")
    once = compare_static(make(base=base, rows=rows, published=published))
    twice = compare_static(make(base=base, rows=rows, published=published, macs_settings={"model.head.shared_tower": False}))
    assert [one.verdict for one in twice] == ["equal", "equal"]
    assert once[0].measured == twice[0].measured  # parameters are those of the row itself
    assert once[1].measured < twice[1].measured


def test_without_a_checkout_names_are_unknown_and_paths_work(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "EXPERIMENTS_FOLDER", Path(tmp_path / "none"))
    assert table_names() == []
    with pytest.raises(UnknownNameError, match="no experiment 'kernel_size': known are none"):
        load_table("kernel_size")
    (tmp_path / "own.py").write_text(OWN)
    assert load_table(tmp_path / "own.py").title == "my table"
