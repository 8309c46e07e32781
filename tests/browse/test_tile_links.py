"""Windows know the whole image they were cut from, and a whole image its windows."""

from __future__ import annotations

import pytest
from made_sources import made_source

from rtmdet_lab.browse.dataset import put
from rtmdet_lab.browse.tile_links import whole_of, windows_of
from rtmdet_lab.core.errors import DataError

pytestmark = pytest.mark.usefixtures("database")


def renamed(folder, names: list[str], run: str):
    source = made_source(folder, run, "rotated", count=len(names))
    for pair, name in zip(source.pairs, names, strict=True):
        pair.image_id = name
    return source


def test_each_level_finds_the_other(tmp_path):
    whole, _ = put([renamed(tmp_path / "whole", ["P1", "P2", "P3"], "k5")], f"whole {tmp_path.name}")
    names = ["P1__512__384___670", "P1__512__0___0", "P2__512__0___0", "P1__512__384___0"]
    windows, _ = put([renamed(tmp_path / "windows", names, "k5")], f"windows {tmp_path.name}")
    pieces = windows_of(windows, "P1")
    assert pieces.values("image_id") == ["P1__512__0___0", "P1__512__384___0", "P1__512__384___670"]
    assert pieces.values("window")[-1] == [384, 670, 512, 512]
    assert whole_of(whole, pieces.first()).values("image_id") == ["P1"]
    with pytest.raises(DataError, match="no windows of large images"):
        windows_of(whole, "P1")
    with pytest.raises(DataError, match="no window of 'P3': it has those of P1, P2"):
        windows_of(windows, "P3")
    with pytest.raises(DataError, match="no window of a larger one"):
        whole_of(whole, whole.first())
    whole.delete_samples(whole.match({"image_id": "P1"}))
    with pytest.raises(DataError, match="no image 'P1'"):
        whole_of(whole, pieces.first())
