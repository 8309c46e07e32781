"""The notebooks run unattended, say no to a wrong parameter before any work, and are kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from made_sweeps import write_record

from rtmdet_lab.experiment.sweep.plan import plan

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

SMALL = {
    "train_images": 24,
    "val_images": 6,
    "image_size": 96,
    "epochs": 2,
    "batch_size": 4,
    "seed": 11,
    "workers": 0,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def kernel_environment(monkeypatch):
    # The notebook's own backend is what puts figures into cells, whatever this process draws with.
    monkeypatch.delenv("MPLBACKEND", raising=False)


def execute(name: str, folder: Path, **parameters) -> nbformat.NotebookNode:
    """Runs a notebook where it lies, as `papermill NOTEBOOK OUT -p NAME VALUE` from that folder would."""
    return papermill.execute_notebook(
        str(FOLDER / f"{name}.ipynb"),
        str(folder / f"{name}.ipynb"),
        parameters={key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()},
        kernel_name="python3",
        cwd=str(FOLDER),
        progress_bar=False,
    )


def printed(notebook: nbformat.NotebookNode) -> str:
    streams = [out for cell in notebook.cells for out in cell.get("outputs", []) if out["output_type"] == "stream"]
    return "".join(out["text"] for out in streams)


def pictures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", []))


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart, run small: its folder and its executed notebook."""
    folder = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)
        return folder, execute("00_quickstart", folder, data_dir=folder / "data", out_dir=folder / "run", **SMALL)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_without_outputs_and_with_parameters_that_are_checked_first(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code[:1]
    assert code[0].source.startswith("# parameters")
    assert "check_parameters()" in code[1].source
    assert "import" not in code[0].source
    assert notebook.cells[0].source.startswith("# ")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_used(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    names = [line.split(" = ")[0] for line in code[0].splitlines()[1:]]
    rest = "\n".join(code[1:])
    assert names
    assert [name for name in names if name not in rest] == []


@pytest.mark.slow
def test_quickstart_trains_scores_and_draws(quickstart):
    folder, notebook = quickstart
    record = json.loads((folder / "run" / "results.json").read_text())
    assert {"AP", "AP50", "AR100", "APs", "ARl"} <= set(record["metrics"])
    assert len(record["history"]) == SMALL["epochs"]
    for name in ("data", "history", "precision_recall", "detections"):
        assert (folder / "run" / "figures" / f"{name}.png").stat().st_size > 5000
    assert (folder / "run" / "best.safetensors").exists()
    assert pictures(notebook) == 4
    text = printed(notebook)
    assert "epoch 2/2" in text
    assert "generated scenes" in text
    assert "results.json" in text


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"epoch": 3}, "did you mean 'epochs'?"), ({"epochs": "3"}, "'epochs' takes a whole number, got the text '3'")],
)
def test_wrong_parameter_is_refused_by_name_before_any_work(parameters, message, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as failure:
        execute("00_quickstart", tmp_path, data_dir=tmp_path / "data", out_dir=tmp_path / "run", **parameters)
    assert message in str(failure.value)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_takes_any_setting(quickstart, tmp_path):
    folder, _ = quickstart
    overrides = {
        "augment.input_size": 96,
        "train.epochs": 1,
        "train.weak_epochs": 0,
        "train.batch_size": 4,
        "train.workers": 0,
        "model.kernel_size": 3,
    }
    out = tmp_path / "run"
    notebook = execute(
        "30_train", tmp_path, model="rtmdet-nano", data_dir=folder / "data", out_dir=out, overrides=overrides, device="cpu"
    )
    record = json.loads((out / "results.json").read_text())
    assert record["config"]["model"]["kernel_size"] == 3
    assert pictures(notebook) == 1


@pytest.mark.slow
def test_train_on_two_processes_learns_what_one_learns(quickstart, tmp_path):
    folder, _ = quickstart
    settings = {"input_size": 96, "mosaic_cache": 4, "mixup_cache": 4}
    overrides = {f"augment.{name}": value for name, value in settings.items()}
    overrides |= {"train.epochs": 2, "train.weak_epochs": 1, "train.batch_size": 4, "train.workers": 0}
    shared = {"model": "rtmdet-nano", "data_dir": folder / "data", "overrides": overrides, "device": "cpu"}
    one = execute("30_train", tmp_path, out_dir=tmp_path / "one", **shared)
    two = execute("30_train", tmp_path, out_dir=tmp_path / "two", num_processes=2, **shared)
    first, second = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert len(second["history"]) == 2
    assert second["history"][0]["step"] == first["history"][0]["step"]
    assert (tmp_path / "two" / "figures" / "history.png").stat().st_size > 5000
    for notebook in (one, two):  # the same report, epoch by epoch, as the run goes on
        text = printed(notebook)
        assert "epoch 1/2" in text
        assert "epoch 2/2" in text
        assert pictures(notebook) == 1


@pytest.mark.slow
def test_evaluate_scores_what_the_quickstart_trained(quickstart, tmp_path):
    folder, _ = quickstart
    notebook = execute(
        "32_evaluate",
        tmp_path,
        checkpoint=folder / "run" / "best.safetensors",
        images=folder / "data" / "val",
        annotations=folder / "data" / "annotations" / "instances_val.json",
        input_size=96,
        out_dir=tmp_path / "scores",
        device="cpu",
    )
    trained = json.loads((folder / "run" / "results.json").read_text())["metrics"]
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())["bbox"]
    assert scores == pytest.approx(trained, abs=1e-6, nan_ok=True)
    assert pictures(notebook) == 2


@pytest.mark.slow
def test_deployment_compares_runtimes_of_what_the_quickstart_trained(quickstart, tmp_path):
    folder, _ = quickstart
    data, out = folder / "data", tmp_path / "deploy"
    arguments = {"checkpoint": folder / "run" / "best.safetensors", "images": data / "val", "out_dir": out}
    arguments |= {"annotations": data / "annotations" / "instances_val.json", "calibration": data / "train"}
    notebook = execute(
        "50_deploy", tmp_path, runtimes=["pytorch", "torchscript"], input_size=96, timed_images=3, **arguments
    )
    rows = json.loads((out / "runtimes.json").read_text())["runtimes"]
    assert [row["runtime"] for row in rows] == ["pytorch", "torchscript"]
    assert rows[0]["AP"] == pytest.approx(rows[1]["AP"], abs=1e-3)
    assert (out / "torchscript.torchscript").exists()
    assert (out / "figures" / "runtimes.png").stat().st_size > 5000
    assert pictures(notebook) == 1
    assert "torchscript: 6 images:" in printed(notebook)


@pytest.mark.slow
def test_tour_of_the_detector(quickstart, tmp_path):
    notebook = execute("10_detection", tmp_path, data_dir=tmp_path / "data", out_dir=tmp_path / "run", **SMALL)
    assert pictures(notebook) == 7
    assert "k = " in printed(notebook)


@pytest.mark.slow
def test_tour_of_instance_segmentation(tmp_path):
    notebook = execute("11_instance", tmp_path, data_dir=tmp_path / "data", out_dir=tmp_path / "run", **SMALL)
    assert pictures(notebook) == 6
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"AP", "AP50", "box_AP"} <= set(record["metrics"])


@pytest.mark.slow
def test_tour_of_rotated_boxes(tmp_path):
    small = SMALL | {"large_size": 160, "overlap": 32, "canvas_size": 128}
    notebook = execute("12_rotated", tmp_path, data_dir=tmp_path / "data", out_dir=tmp_path / "run", **small)
    assert pictures(notebook) == 8
    record = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {"AP", "AP50", "AP75"} <= set(record["metrics"])
    assert (tmp_path / "run" / "figures" / "windows.png").stat().st_size > 5000
    evaluated = execute(
        "32_evaluate",
        tmp_path,
        checkpoint=tmp_path / "run" / "best.safetensors",
        images=tmp_path / "data" / "val" / "images",
        annotations=tmp_path / "data" / "val" / "labelTxt",
        input_size=128,
        out_dir=tmp_path / "scores",
        device="cpu",
    )
    assert pictures(evaluated) == 2
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    same = scores["rotated"] | {"area_AP50": scores["rotated_area"]["AP50"]}
    assert same == pytest.approx(record["metrics"], abs=1e-6, nan_ok=True)


@pytest.mark.slow
def test_tables_and_figure_1_are_read_without_training(tmp_path):
    """With no runs: what is published, what can be compared, and how to make runs."""
    arguments = {"results": tmp_path / "none", "out_dir": tmp_path / "out"}
    notebook = execute("31_ablations", tmp_path, experiment="kernel_size", draws=20, **arguments)
    assert "no runs yet: rtmdet-lab sweep kernel_size" in printed(notebook)
    assert pictures(notebook) == 2  # AP against parameters and latency, as published
    assert (tmp_path / "out" / "kernel_size-laptop.html").exists()
    notebook = execute("51_figure1_tradeoff", tmp_path, **arguments)
    assert pictures(notebook) == 4
    assert "none under" in printed(notebook)


@pytest.mark.slow
def test_table_of_records_shows_what_was_measured_and_names_what_it_cannot_use(tmp_path):
    for run in plan("assigners", "smoke", [0, 1, 2], tmp_path / "runs", rows=["dynamic soft label", "SimOTA"]):
        write_record(run, 0.25 if run.row == "SimOTA" else 0.5)
    (tmp_path / "runs" / "assigners" / "smoke" / "broken").mkdir()
    (tmp_path / "runs" / "assigners" / "smoke" / "broken" / "results.json").write_text("{")
    arguments = {"results": tmp_path / "runs", "scale": "smoke", "out_dir": tmp_path / "out", "draws": 20}
    notebook = execute("31_ablations", tmp_path, experiment="assigners", latency_runs=1, **arguments)
    text = printed(notebook)
    assert "6 runs found under" in text
    assert "Assigners, smoke scale: 2 epochs of 24 images" in text
    assert "left out: " in text
    assert pictures(notebook) == 1  # AP by row: these records have no epochs, and all rows one network
    assert ",25.00,25.00,25.00," in (tmp_path / "out" / "assigners-smoke.csv").read_text()


# Explorers: without a front end they show the choice of their parameters ------------------------------------------------


@pytest.mark.slow
def test_model_explorer_is_a_static_notebook_without_a_front_end(tmp_path):
    notebook = execute(
        "01_model_explorer",
        tmp_path,
        first={"size": "nano"},
        second={"size": "nano", "block": "darknet"},
        kernels=[5],
        pixels=128,
        device="cpu",
    )
    assert pictures(notebook) == 1
    html = "".join(out.get("data", {}).get("text/html", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "stage4" in html
    assert "50 % within, px" in html


@pytest.mark.slow
def test_assigner_explorer_trains_a_run_and_shows_its_moments(tmp_path):
    notebook = execute(
        "02_assigner_explorer",
        tmp_path,
        data_dir=tmp_path / "data",
        out_dir=tmp_path / "run",
        epochs=2,
        train_images=12,
        image_size=96,
        assigner={"kind": "atss"},
        device="cpu",
    )
    assert pictures(notebook) == 2
    assert "untrained, epoch 1, epoch 2" in printed(notebook)
    again = execute("02_assigner_explorer", tmp_path, run_dir=tmp_path / "run", moment="untrained", show="controls")
    assert "epoch 1/2" not in printed(again)
    bundles = [out.get("data", {}) for cell in again.cells for out in cell.get("outputs", [])]
    shown = next(bundle for bundle in bundles if "application/vnd.jupyter.widget-view+json" in bundle)
    assert "image/png" in shown  # for viewers without widgets


@pytest.mark.slow
def test_augmentation_explorer_is_a_static_notebook_without_a_front_end(tmp_path):
    notebook = execute(
        "03_augmentation_explorer", tmp_path, data_dir=tmp_path / "data", images=24, image_size=96, task="rotated", sample=5
    )
    assert pictures(notebook) == 2
    text = "".join(out.get("data", {}).get("text/html", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "RandomRotate" in text


@pytest.mark.slow
def test_explorer_refuses_a_choice_that_cannot_be_built(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="positive odd number"):
        execute("01_model_explorer", tmp_path, second={"kernel_size": 4}, device="cpu")
