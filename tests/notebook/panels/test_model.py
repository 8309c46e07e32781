"""The model explorer: numbers of the chosen networks, pictures that follow, a sentence where one cannot be built."""

from __future__ import annotations

import pytest
import torch

from rtmdet_lab import create_model
from rtmdet_lab.analysis.complexity import measure_complexity
from rtmdet_lab.core.errors import SettingError, UnknownNameError
from rtmdet_lab.notebook.panels import model as explorer_module
from rtmdet_lab.notebook.panels.model import CAREFUL, QUICK, ModelChoice, ModelExplorer, model_panel

torch.set_num_threads(1)
PLACE = "backbone, stride 8"


@pytest.fixture(scope="module")
def explorer():
    return ModelExplorer()


@pytest.fixture
def panel(explorer):
    return model_panel(first={"size": "nano"}, second={"size": "nano", "kernel_size": 9}, size=128, explorer=explorer)


def test_numbers_are_those_of_the_published_network(explorer):
    found = explorer.anatomy(ModelChoice(size="s"), "detection")
    counted = measure_complexity(create_model("rtmdet-s"), 640)
    assert sum(found.params.values()) == counted.params
    assert sum(found.macs.values()) == counted.macs


def test_every_choice_reaches_the_network(explorer):
    plain = sum(explorer.anatomy(ModelChoice(), "detection").params.values())
    for change in (
        {"size": "nano"},
        {"block": "darknet"},
        {"kernel_size": 7},
        {"depths": "3, 60, 6, 3"},
        {"attention": False},
        {"sharing": "none"},
    ):
        assert sum(explorer.anatomy(ModelChoice(**change), "detection").params.values()) != plain, change
    assert sum(explorer.anatomy(ModelChoice(), "instance").params.values()) > plain


def test_picture_and_table_follow_the_controls(panel):
    panel.refresh()
    first, table = panel.picture.value, panel.table.value
    assert bytes(first).startswith(b"\x89PNG")
    panel.controls["kernel_size_B"].value = 3
    assert panel.picture.value != first
    assert panel.table.value != table
    assert "total" in table
    total = sum(measure_complexity(create_model("rtmdet-nano"), 640).params_by_part.values())
    assert f"{total:,}" in panel.table.value


def test_wider_kernel_looks_further(explorer):
    fields = [explorer.measured(ModelChoice(size="nano", kernel_size=size), "detection", PLACE, 128)[1] for size in (3, 9)]
    assert fields[0].side(0.5) < fields[1].side(0.5)


@pytest.mark.slow
def test_only_what_changed_is_measured_again(panel, monkeypatch):
    panel.refresh()
    measured = []
    real = explorer_module.measure_latency
    monkeypatch.setattr(explorer_module, "measure_latency", lambda *a, **k: measured.append(1) or real(*a, **k))
    panel.set(kernel_size_B=11)
    panel.set(kernel_size_B=9)
    panel.set(kernel_size_B=11)
    assert len(measured) == 1


def test_large_network_is_measured_only_when_asked(explorer):
    choice = ModelChoice(size="s")
    assert explorer.measured(choice, "detection", PLACE, 256) is None
    assert explorer.at_once(choice, "detection", 128)
    panel = model_panel(first={"size": "nano"}, second={"size": "m"}, size=128, explorer=explorer)
    panel.refresh()
    assert "drawn in" in panel.message.value


@pytest.mark.slow
def test_button_measures_with_more_samples(explorer, monkeypatch):
    monkeypatch.setattr(explorer_module, "CAREFUL", explorer_module.Precision(runs=4, samples=3))
    choice = {"size": "nano", "kernel_size": 7}
    panel = model_panel(first=choice, second=choice, size=160, explorer=explorer)
    panel.refresh()
    before = panel.picture.value
    latency, _ = explorer.measured(ModelChoice(**choice), "detection", PLACE, 160)
    assert latency.runs == QUICK.runs
    panel.controls["measure"].click()
    assert panel.picture.value != before
    latency, _ = explorer.measured(ModelChoice(**choice), "detection", PLACE, 160)  # kept, not measured worse again
    assert latency.runs == 4
    assert CAREFUL.runs > QUICK.runs


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel_size_A": 4}, "model.kernel_size is 4, but must be a positive odd number"),
        ({"depths_A": "3-6-6"}, "must be four numbers"),
        ({"depths_A": "3-6-six-3"}, "must be four numbers"),
        ({"depths_A": "3-0-6-3"}, "stage_blocks"),
        ({"block_B": "darknet"}, "kernel 9 has no effect with darknet"),
        ({"task": "instance"}, "no model"),  # there is no nano with masks
    ],
)
def test_choice_that_cannot_be_built_is_told_in_one_sentence(panel, change, words):
    panel.refresh()
    before = panel.picture.value
    panel.set(**change)
    assert words in panel.message.value
    assert panel.picture.value == before


def test_beginning_that_the_controls_do_not_have_is_refused(explorer):
    with pytest.raises(SettingError, match="size_A cannot be 'huge': choose one of nano, tiny"):
        model_panel(first={"size": "huge"}, explorer=explorer)
    with pytest.raises(UnknownNameError, match="did you mean 'kernel_size_B'"):
        model_panel(second={"kernel": 7}, explorer=explorer)
