"""The notebooks on errors run unattended, on runs that they train themselves and on given ones."""

from __future__ import annotations

import json
from pathlib import Path

import papermill
import pytest
from made_database import MISSING, REASON, own_database
from made_sets import write_split
from made_sources import write_run

from rtmdet_lab.data.tile_split import split_dota

FOLDER = Path(__file__).parents[2] / "notebooks"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING, reason=REASON)]


@pytest.fixture(scope="module")
def database():
    with own_database() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIFTYONE_DATABASE_URI", address)
        patch.delenv("MPLBACKEND", raising=False)
        yield


def execute(name: str, folder: Path, **parameters):
    parameters = {"scale": "smoke", "data_dir": str(folder / "data"), "out_dir": str(folder / "run"), **parameters}
    notebook = papermill.execute_notebook(
        str(FOLDER / f"{name}.ipynb"),
        str(folder / f"{name}.ipynb"),
        parameters={**parameters, "device": "cpu"},
        kernel_name="python3",
        cwd=str(FOLDER),
        progress_bar=False,
    )
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "".join(out["text"] for out in outputs if out["output_type"] == "stream")


def test_errors_of_boxes_of_given_runs(database, tmp_path):
    data = tmp_path / "set"
    write_split(data, "val", 4)
    truth = json.loads((data / "annotations" / "instances_val.json").read_text())
    names = [one["name"] for one in truth["categories"]]
    right = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for one in truth["annotations"]]
    wrong = [one | {"bbox": [one["bbox"][0] + 4, *one["bbox"][1:]], "score": 0.8} for one in right]
    paths = {"data.val_annotations": str(data / "annotations" / "instances_val.json")}
    runs = [write_run(tmp_path / run, data, found, names, **paths) for run, found in (("good", right), ("poor", wrong[1:]))]
    text = execute("40_error_analysis_coco", tmp_path, runs=[str(run) for run in runs], accept=[0])
    corrected = json.loads((tmp_path / "run" / "corrected.json").read_text())["annotations"]
    assert len(corrected) == len(truth["annotations"]) - 1, "what the poor run does not find at all is the first label issue"
    assert " label issues corrected in " in text
    assert "data set 'set instances_val': 4 images\n" in text
    assert "good: duplicates: no image" in text
    figures = tmp_path / "run" / "figures"
    for run in ("good", "poor"):
        assert (figures / f"costs_{run}.png").stat().st_size > 5000
    assert len(list(figures.glob("view_*.png"))) >= 2  # what the good run found and the poor one did not, and its worst


def test_errors_of_rotated_boxes(database, tmp_path):
    text = execute("41_error_analysis_dota", tmp_path)
    assert "images: `rtmdet-lab browse RUN...` opens the App on it" in text
    assert (tmp_path / "run" / "figures" / "costs_smoke_tiny.png").stat().st_size > 5000
    # The same run again, with one on windows beside it.
    data = tmp_path / "data"
    split_dota(
        data / "val" / "images", data / "val" / "labelTxt", tmp_path / "windows", patch=64, overlap=16, progress=False
    )
    run = tmp_path / "run" / "smoke_tiny"
    record = json.loads((run / "results.json").read_text())
    record["config"]["data"] |= {
        "val_images": str(tmp_path / "windows" / "images"),
        "val_annotations": str(tmp_path / "windows" / "labelTxt"),
    }
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "results.json").write_text(json.dumps(record))
    (tmp_path / "cut" / "predictions.json").write_text("[]")
    text = execute("41_error_analysis_dota", tmp_path, runs=[str(run)], window_runs=[str(tmp_path / "cut")])
    assert "32 windows, 4 of them of " in text
    assert (tmp_path / "run" / "figures" / "windows.png").stat().st_size > 5000
