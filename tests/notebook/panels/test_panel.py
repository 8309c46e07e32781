"""Panels: controls draw, mistakes become a sentence, and without a front end a figure is left."""

from __future__ import annotations

import base64

import ipywidgets as widgets
import pytest
from matplotlib.figure import Figure

from rtmdet_lab.core.errors import SettingError, UnknownNameError
from rtmdet_lab.notebook.panels import panel as panel_module
from rtmdet_lab.notebook.panels.panel import Panel, View, html_table

PNG = b"\x89PNG"


def made_panel():
    calls = []

    def draw(sides, word):
        calls.append((sides, word))
        if sides < 3:
            raise SettingError(f"sides are {sides}, but a figure has <at least> 3")
        figure = Figure(figsize=(1, 1))
        figure.text(0.1, 0.5, f"{word} {sides}")
        return View(figure, f"<p>{word}</p>")

    controls = {
        "sides": widgets.IntText(4),
        "word": widgets.Dropdown(options=["red", "blue"]),
        "go": widgets.Button(description="go"),
    }
    return Panel(controls, [["first", "sides"], ["word", "go"]], draw), calls


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *objects, **_: shown.extend(objects))
    return shown


def test_every_change_of_a_control_draws_once():
    panel, calls = made_panel()
    panel.refresh()
    first = panel.picture.value
    assert bytes(first).startswith(PNG)
    panel.controls["sides"].value = 5
    assert bytes(panel.picture.value).startswith(PNG)
    assert panel.picture.value != first
    assert panel.table.value == "<p>red</p>"
    assert calls == [(4, "red"), (5, "red")]
    panel.set(sides=6, word="blue")
    assert calls[2:] == [(6, "blue")]
    assert "drawn in" in panel.message.value


def test_same_choice_gives_the_same_picture():
    panel, _ = made_panel()
    panel.set(sides=7)
    first = panel.picture.value
    panel.set(sides=8)
    panel.set(sides=7)
    assert panel.picture.value == first


def test_mistake_is_told_in_the_panel_and_leaves_the_picture():
    panel, _ = made_panel()
    panel.refresh()
    before = panel.picture.value
    panel.controls["sides"].value = 2
    assert "sides are 2, but a figure has &lt;at least&gt; 3" in panel.message.value
    assert panel.picture.value == before
    panel.controls["sides"].value = 3
    assert "sides" not in panel.message.value
    assert panel.picture.value != before


def test_error_that_is_no_users_mistake_is_not_hidden():
    panel = Panel({"one": widgets.IntText(1)}, [["one"]], lambda one: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        panel.refresh()


def test_unknown_control_and_impossible_value_are_named():
    panel, calls = made_panel()
    with pytest.raises(UnknownNameError, match="did you mean 'sides'"):
        panel.set(side=3)
    with pytest.raises(SettingError, match="word cannot be 'green': choose one of red, blue"):
        panel.set(word="green")
    assert calls == []


def test_without_a_front_end_picture_and_table_are_plain_outputs(displayed, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    panel, _ = made_panel()
    panel.show()
    assert [type(one).__name__ for one in displayed] == ["HTML", "Image"]
    assert displayed[1].data.startswith(PNG)


def test_without_a_front_end_an_impossible_choice_stops_the_notebook(displayed, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    panel, _ = made_panel()
    panel.set(sides=1)
    with pytest.raises(SettingError, match="sides are 1"):
        panel.show()
    assert displayed == []


def test_in_jupyterlab_the_controls_are_shown_with_the_picture_for_other_viewers(displayed, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "some.ipynb")
    panel, _ = made_panel()
    panel.show()
    assert displayed == [panel.box]
    bundle = panel.box._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]) == panel.picture.value
    displayed.clear()
    panel.show("figure")
    assert type(displayed[-1]).__name__ == "Image"


def test_unknown_way_to_show_is_refused():
    panel, _ = made_panel()
    with pytest.raises(SettingError, match="auto, controls or figure"):
        panel.show("both")


def test_row_is_laid_out_as_named():
    panel, _ = made_panel()
    heading, sides = panel.box.children[0].children
    assert heading.value == "<b>first</b>"
    assert sides is panel.controls["sides"]


def test_table_is_escaped():
    table = html_table(["", "a<b"], [["x & y", "1"]], strong=[0])
    assert "a&lt;b" in table
    assert "x &amp; y" in table
    assert table.count("<tr") == 2


def test_front_end_is_a_jupyter_server(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "x")
    assert panel_module.has_front_end()
    monkeypatch.delenv("JPY_SESSION_NAME")
    assert not panel_module.has_front_end()
