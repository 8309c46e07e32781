"""Names in any script: drawn in a font that has them, or as numbers with a word, never as empty boxes."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib.font_manager import FontProperties, findfont, fontManager

from rtmdet_lab.core.structures import Detections
from rtmdet_lab.viz import fonts
from rtmdet_lab.viz.draw import draw_detections
from rtmdet_lab.viz.fonts import LONGEST, writable

HAN = "猫と车"


@pytest.fixture(autouse=True)
def forgotten():
    for function in (fonts.writable, fonts._best_for, fonts._warn_once):
        function.cache_clear()


def installed(*letters: str) -> bool:
    have = [fonts._letters_of(entry.fname) for entry in fontManager.ttflist]
    return all(any(letter in font for font in have) for letter in letters)


def only_plain(monkeypatch) -> None:
    plain = SimpleNamespace(name="DejaVu Sans", fname=findfont(FontProperties()), style="normal", weight=400)
    monkeypatch.setattr(fonts.fontManager, "ttflist", [plain])


@pytest.mark.parametrize("name", ["car 0.93", "ä ö ü ß é ñ", "кошка", "γάτα", "$x$ & <b>", "a\u200db\ufe0f"])
def test_names_that_the_usual_font_has_need_no_other(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert writable(name) == (name, tuple(plt.rcParams["font.family"]))


def test_names_of_another_script_get_a_font_that_has_them():
    if not installed(*HAN):
        pytest.skip("no font with these letters is installed")
    shown, families = writable(HAN)
    assert shown == HAN
    letters = set().union(*(fonts._letters_of(findfont(FontProperties(family=[family]))) for family in families))
    assert set(HAN) <= letters
    found = Detections(torch.tensor([[4.0, 30.0, 60.0, 60.0]]), torch.tensor([0.9]), torch.tensor([0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib's, of letters without a picture
        figure = draw_detections(torch.zeros(3, 64, 64, dtype=torch.uint8), found, [HAN])
        figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[0].texts] == [f"{HAN} 0.90"]
    plt.close(figure)


def test_letters_that_no_font_has_are_numbers_and_told_once(monkeypatch):
    only_plain(monkeypatch)
    with pytest.warns(UserWarning, match=r"no installed font has \\u732b: .*Noto Sans"):
        assert writable("my 猫")[0] == "my \\u732b"
    fonts.writable.cache_clear()
    found = Detections(torch.tensor([[4.0, 30.0, 60.0, 60.0]]), torch.tensor([0.9]), torch.tensor([0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_detections(torch.zeros(3, 64, 64, dtype=torch.uint8), found, ["my 猫"])
        figure.canvas.draw()
    plt.close(figure)


def test_font_of_boxes_counts_for_none():
    for entry in fontManager.ttflist:
        if "LastResort" in entry.fname:
            assert not fonts._letters_of(entry.fname)
    assert fonts._letters_of("/nowhere.ttf") == frozenset()


def test_name_without_end_is_cut():
    shown, _ = writable("x" * 1_000_000)
    assert len(shown) == LONGEST
    assert shown.endswith("...")
