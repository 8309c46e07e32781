"""``rtmdet-lab browse``; what it puts into the data set is tested in tests/browse."""

from __future__ import annotations

import json
import socket

import pytest
from made_calls import call, fails
from made_database import MISSING, REASON, used_here
from made_sets import write_split


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The options that name images, annotations and detections that are the annotations."""
    folder = tmp_path_factory.mktemp("browse")
    write_split(folder, "val", 3)
    annotations = folder / "annotations" / "instances_val.json"
    objects = json.loads(annotations.read_text())["annotations"]
    found = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in objects]
    (folder / "found.json").write_text(json.dumps(found))
    names = {"--predictions": folder / "found.json", "--images": folder / "val", "--annotations": annotations}
    return [word for pair in names.items() for word in pair], len(found)


@pytest.mark.slow
@pytest.mark.skipif(MISSING, reason=REASON)
def test_puts_detections_into_a_data_set_and_counts_them(capsys, files, tmp_path):
    options, count = files
    with used_here():
        for _ in range(2):
            code, out, err = call(capsys, "browse", *options, "--no-app", "--json", tmp_path / "r.json")
            assert (code, err) == (0, "")
            result = json.loads((tmp_path / "r.json").read_text())
            assert result["images"] == 3
            assert result["runs"][0]["true positive"] == result["runs"][0]["objects"] == count
            assert "found: worst images" in result["views"]
            assert f"data set {result['data_set']!r}: 3 images" in out


def test_prints_the_address_of_the_app_and_of_each_view(capsys, files, tmp_path, monkeypatch):
    if MISSING:
        pytest.skip(REASON)
    waited = []
    session = type("Session", (), {"wait": lambda self, seconds: waited.append(seconds)})()
    launched = {}
    monkeypatch.setattr("rtmdet_lab.browse.app.launch", lambda *_, **options: launched.update(options) or session)
    with used_here():
        code, out, _ = call(capsys, "browse", *files[0], "--no-open", "--json", tmp_path / "r.json")
    result = json.loads((tmp_path / "r.json").read_text())
    assert code == 0
    assert waited == [-1]
    assert launched == {"open_browser": False}
    assert result["app"] in out
    assert result["app"].startswith("http://127.0.0.1:51")
    assert result["app"] == result["view_addresses"]["all images"]
    assert len(result["view_addresses"]) == len(result["views"]) == 6
    assert all(address in out for address in result["view_addresses"].values())


def test_wrong_calls_end_with_one_sentence_before_any_database(capsys, files, tmp_path):
    fails(capsys, "browse", words=("nothing to browse", "--predictions"))
    fails(capsys, "browse", "--predictions", "x.json", words=("--images and --annotations",))
    fails(capsys, "browse", tmp_path / "none", words=("no record", "none"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(capsys, "browse", *files[0], "--port", port, words=(f"port {port} is in use",))
