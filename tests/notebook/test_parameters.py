"""Parameters of a notebook, checked before hours are spent."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
from IPython.core.formatters import DisplayFormatter
from made_sets import assert_one_sentence

from rtmdet_lab.config.overrides import with_overrides
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.core.errors import SettingError, SettingTypeError, UnknownNameError
from rtmdet_lab.notebook.parameters import check_parameters, keep_figure, show_tables_plain

DECLARED = """# parameters
epochs = 30  # how long
lr = 0.004
model = "nano"
mosaic = True
stage_blocks = [3, 6, 6, 3]
overrides = {}  # dotted setting -> value
row = None
threshold = -0.5
"""


def injected(text: str) -> list[str]:
    return [DECLARED, f"# Parameters\n{text}\n"]


def test_declared_parameters_alone():
    assert check_parameters([DECLARED]) == {
        "epochs": 30,
        "lr": 0.004,
        "model": "nano",
        "mosaic": True,
        "stage_blocks": [3, 6, 6, 3],
        "overrides": {},
        "row": None,
        "threshold": -0.5,
    }


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("epochs = 2", "epochs", 2),
        ("lr = 1", "lr", 1),  # a whole number may stand for a float
        ("lr = 1e-05", "lr", 1e-5),
        ('lr = float("inf")', "lr", float("inf")),
        ('lr = float("-inf")', "lr", float("-inf")),
        ("threshold = -1", "threshold", -1),
        ('model = "s"', "model", "s"),
        ('model = ""', "model", ""),
        ("mosaic = False", "mosaic", False),
        ("stage_blocks = [1, 1]", "stage_blocks", [1, 1]),
        ("stage_blocks = []", "stage_blocks", []),
        ('overrides = {"train.epochs": 2, "model.depth": None}', "overrides", {"train.epochs": 2, "model.depth": None}),
        ('row = "7x7"', "row", "7x7"),  # declared None: anything goes
        ("row = [1]", "row", [1]),
        ("row = None", "row", None),
    ],
)
def test_good_values_replace_the_declared_ones(text, name, value):
    assert check_parameters(injected(text)) == check_parameters([DECLARED]) | {name: value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('mosaic = "false"', ["'mosaic'", "True or False", "'false'"]),  # papermill -p mosaic false: a truthy text
        ("mosaic = 0", ["'mosaic'", "True or False", "0"]),
        ("mosaic = None", ["'mosaic'", "None"]),
        ('stage_blocks = "(3, 6, 6, 3)"', ["'stage_blocks'", "list", "(3, 6, 6, 3)", "-y"]),  # a tuple arrives as text
        ("stage_blocks = 3", ["'stage_blocks'", "list"]),
        ("stage_blocks = {}", ["'stage_blocks'", "list"]),
        ('overrides = "{}"', ["'overrides'", "mapping", "-y"]),
        ("overrides = [1]", ["'overrides'", "mapping"]),
        ("epochs = 2.0", ["'epochs'", "whole number", "2.0"]),
        ("epochs = True", ["'epochs'", "whole number", "True"]),
        ('epochs = "2"', ["'epochs'", "whole number", "'2'"]),
        ('epochs = float("inf")', ["'epochs'", "whole number", "inf"]),
        ('lr = "0.1"', ["'lr'", "number", "'0.1'"]),
        ("lr = True", ["'lr'", "number", "True"]),
        ("lr = None", ["'lr'", "number", "None"]),
        ("model = 5", ["'model'", "text", "5"]),
        ("model = None", ["'model'", "text", "None"]),
    ],
)
def test_values_of_another_type_are_refused_by_name(text, words):
    with pytest.raises(SettingTypeError) as error:
        check_parameters(injected(text))
    assert_one_sentence(error.value, *words)


def test_not_a_number_is_read_here_and_refused_by_the_config():
    value = check_parameters(injected('lr = float("nan")'))["lr"]
    with pytest.raises(SettingError, match=r"train\.lr.*must be finite"):
        with_overrides(ExperimentConfig(), {"train.lr": value})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 2", ["'epoch'", "did you mean 'epochs'?"]),
        ("modle = 's'", ["'modle'", "did you mean 'model'?"]),
        ("zzz = 1", ["'zzz'", "epochs, lr, model, mosaic"]),
    ],
)
def test_misspelt_name_gets_the_nearest(text, words):
    with pytest.raises(UnknownNameError) as error:
        check_parameters(injected(text))
    message = assert_one_sentence(error.value, *words)
    assert "  " not in message


def test_name_that_is_fine_does_not_hide_one_that_is_not():
    with pytest.raises(UnknownNameError, match="epoch"):
        check_parameters(injected("lr = 0.1\nepoch = 2"))


@pytest.mark.parametrize(
    "cells", [[], ["import numpy"], ["# Parameters\nepochs = 2"]], ids=["none", "other", "injected only"]
)
def test_notebook_without_parameters_cell_is_told_how_to_begin_one(cells):
    with pytest.raises(SettingError) as error:
        check_parameters(cells)
    assert_one_sentence(error.value, "# parameters")


def test_cell_that_was_run_again_counts_last():
    cells = [DECLARED, "x = 1", DECLARED.replace("30", "40")]
    assert check_parameters(cells)["epochs"] == 40


def test_cells_in_between_and_declared_expressions_do_no_harm():
    cells = [
        "import os",
        DECLARED + 'path = os.path.join("a", "b")\nseeds = list(range(3))\na.b = 1\n',
        "print(1)",
        "# Parameters\nepochs = 1\n",
    ]
    found = check_parameters(cells)
    assert found["epochs"] == 1


def test_annotated_parameters_are_parameters_too():
    cells = ["# parameters\nepochs: int = 3\n", "# Parameters\nepochs = 2\n"]
    assert check_parameters(cells) == {"epochs": 2}


def test_outside_a_notebook_the_cells_must_be_given():
    with pytest.raises(SettingError) as error:
        check_parameters()
    assert_one_sentence(error.value, "notebook")


def test_kept_figure_is_a_file_and_no_longer_open(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    figure, ax = plt.subplots()
    ax.plot([1, 2])
    assert keep_figure(figure, str(tmp_path / "deep" / "figures"), "curve") is figure
    assert (tmp_path / "deep" / "figures" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert plt.get_fignums() == before
    keep_figure(figure, tmp_path, "curve")  # again, and over an earlier one
    keep_figure(figure, tmp_path, "curve")


def test_tables_show_text_of_strangers_as_text():
    shell = SimpleNamespace(display_formatter=DisplayFormatter())
    show_tables_plain(shell)
    hostile = "$\\href{javascript:a}{x}$<script>\x1b[2J"
    frame = pd.DataFrame([{"class": hostile, "AP": 0.125, "count": 3, hostile: float("nan")}], index=[hostile])
    shown, _ = shell.display_formatter.format(frame)
    assert set(shown) == {"text/plain", "text/html"}
    for text in shown.values():
        assert not set(text) & set("$\x1b")
        assert "href" in text
    assert "0.125" in shown["text/html"]
    assert "<script>" not in shown["text/html"]
    numbers = pd.DataFrame({"AP": [0.5, 0.25], "count": [1, 2]})
    assert shell.display_formatter.format(numbers)[0]["text/plain"] == repr(numbers)
