"""``rtmdet-lab settings``: every setting in a terminal, and as JSON."""

from __future__ import annotations

import json

from made_calls import call

from rtmdet_lab.config.describe import descriptions


def test_lists_every_setting_with_meaning_and_default(capsys, tmp_path):
    code, out, _ = call(capsys, "settings", "--json", tmp_path / "settings.json")
    assert code == 0
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == list(descriptions())
    assert "    default: 0.0002\n" in out
    listed = json.loads((tmp_path / "settings.json").read_text())["settings"]
    assert listed[-1]["name"] == "seed"
    assert all(setting["meaning"] and setting["values"] for setting in listed)


def test_words_choose(capsys):
    code, out, _ = call(capsys, "settings", "train.EMA_", "pyramid")
    assert code == 0
    names = [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert names == ["model.backbone.spp", "train.ema_momentum", "train.ema_gamma"]
    assert "[paper.md 4.6]" in out


def test_word_that_no_setting_has_is_refused_with_the_nearest(capsys):
    code, _, err = call(capsys, "settings", "augment.mozaic")
    assert code == 2
    assert err.startswith("rtmdet-lab settings: no setting 'augment.mozaic': did you mean 'augment.mosaic'?")
