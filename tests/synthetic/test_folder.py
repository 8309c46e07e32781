"""A generated set is made once and completely, and never over something else (shown on scenes)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.synthetic import coco_set, generate_scenes, render_scene

SMALL = {"train": 4, "val": 2, "size": 96, "progress": False}


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def forbid(*args, **kwargs):
    raise AssertionError("rendered again")


def test_finished_set_is_reused_without_rendering(tmp_path, monkeypatch):
    paths = generate_scenes(tmp_path / "set", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    monkeypatch.setattr(coco_set, "render_scene", forbid)
    assert generate_scenes(tmp_path / "set", **SMALL) == paths
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}


def test_killed_run_is_completed(tmp_path, monkeypatch):
    calls = []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return render_scene(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(coco_set, "render_scene", killed)
        with pytest.raises(KeyboardInterrupt):
            generate_scenes(tmp_path / "set", **SMALL)
    assert not (tmp_path / "set" / "generated.json").exists()
    assert (tmp_path / "set" / "train" / "000002.jpg").exists()
    generate_scenes(tmp_path / "set", **SMALL)
    generate_scenes(tmp_path / "whole", **SMALL)
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_set_with_a_lost_image_is_completed(tmp_path):
    paths = generate_scenes(tmp_path / "set", **SMALL)
    before = contents(tmp_path / "set")
    (paths["train_images"] / "000003.jpg").unlink()
    generate_scenes(tmp_path / "set", **SMALL)
    assert contents(tmp_path / "set") == before


def test_folder_with_other_settings_is_refused_by_name(tmp_path):
    generate_scenes(tmp_path / "set", **SMALL)
    before = contents(tmp_path / "set")
    with pytest.raises(DataError, match=r"set.*seed 0 instead of 1.*choose another folder or delete"):
        generate_scenes(tmp_path / "set", **SMALL, seed=1)
    assert contents(tmp_path / "set") == before


def test_folder_with_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(DataError, match="not generated here: choose an empty or a new folder"):
        generate_scenes(tmp_path, **SMALL)
    assert contents(tmp_path).keys() == {"photo.jpg"}
    with pytest.raises(DataError, match=r"photo\.jpg is a file"):
        generate_scenes(tmp_path / "photo.jpg", **SMALL)


def test_split_without_images_still_has_its_files(tmp_path):
    paths = generate_scenes(tmp_path / "set", train=1, val=0, size=64, progress=False)
    content = json.loads(paths["val_annotations"].read_bytes())
    assert content["images"] == []
    assert content["annotations"] == []
    assert paths["val_images"].is_dir()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 63),
        ("size", 256.0),
        ("size", 10**6),
        ("train", -1),
        ("val", True),
        ("seed", -1),
        ("difficulty", 1.01),
        ("difficulty", float("nan")),
        ("difficulty", "hard"),
        ("workers", 0),
    ],
)
def test_impossible_setting_is_refused_by_name(tmp_path, setting, value):
    with pytest.raises(SettingError, match=f"^{setting} must be .*got {value!r}"):
        generate_scenes(tmp_path / "set", **{**SMALL, setting: value})
    assert not (tmp_path / "set").exists()


def test_progress_goes_to_stderr_or_nowhere(tmp_path, capfd):
    generate_scenes(tmp_path / "quiet", **SMALL)
    assert capfd.readouterr() == ("", "")
    generate_scenes(tmp_path / "loud", **SMALL | {"progress": True})
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err
