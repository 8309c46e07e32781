"""A report of real detections: measured beside published numbers, verdicts with what they rest on, three formats."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_calls import call, fails
from made_sweeps import write_experiment, write_record

from rtmdet_lab.core.files import write_json
from rtmdet_lab.core.structures import Detections
from rtmdet_lab.data.dota import DotaDataset
from rtmdet_lab.evaluation.coco import evaluate_coco
from rtmdet_lab.evaluation.dota import DotaEvaluator
from rtmdet_lab.evaluation.dota_files import to_rotated_results
from rtmdet_lab.experiment.report.figures import make_figures
from rtmdet_lab.experiment.report.latency import with_latency
from rtmdet_lab.experiment.report.render import (
    claim_line,
    shown_table,
    table_cells,
    to_csv,
    to_html,
    to_markdown,
    write_report,
)
from rtmdet_lab.experiment.report.results import as_json, gather_results, load_matches
from rtmdet_lab.experiment.sweep.plan import plan
from rtmdet_lab.experiment.table import Comparison, load_table
from rtmdet_lab.synthetic import AERIAL_CLASSES, generate_aerial, generate_scenes


def noisy(truth, noise, rng):
    """COCO results: the annotated boxes, shifted at random."""
    return [
        {
            "image_id": one["image_id"],
            "category_id": one["category_id"],
            "bbox": [*(np.array(one["bbox"][:2]) + rng.normal(0, noise, 2)), *one["bbox"][2:]],
            "score": float(rng.random()),
        }
        for one in truth["annotations"]
        if not one["iscrowd"]
    ]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return generate_scenes(tmp_path_factory.mktemp("scenes"), train=0, val=16, size=96, difficulty=0.0, progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory, scenes):
    """Runs of three rows with three seeds: "good" boxes, nearly as good ones, and bad ones. To be left as they are."""
    folder = tmp_path_factory.mktemp("made")
    path = write_experiment(folder, "good", "same", "bad", "never")
    truth = json.loads(Path(scenes["val_annotations"]).read_text())
    data = {f"data.{name}": str(value) for name, value in scenes.items()}
    for run in plan(path, "smoke", [0, 1, 2], folder / "runs", rows=["good", "same", "bad"]):
        rng = np.random.default_rng([run.seed, len(run.row)])
        results = noisy(truth, {"good": 1.0, "same": 1.0, "bad": 5.0}[run.row] + 0.02 * run.seed, rng)
        score = evaluate_coco(results, truth)["bbox"]["AP"]
        epoch = {
            "epoch": 0,
            "stage": "weak",
            "step": 3,
            "losses": {"loss_cls": 1.0},
            "lr": 0.1,
            "images_per_s": 20.0 + run.seed,
            "seconds": 3,
            "load_seconds": 0.3 * (1 + run.seed),
        }
        record = write_record(run, score, history=[epoch | {"metrics": {"AP": score}}])
        config = json.loads(json.dumps(record.config))
        config["data"].update({name.removeprefix("data."): value for name, value in data.items()})
        write_record(run, score, history=record.history, config=config)
        write_json(Path(run.folder) / "predictions.json", results)
    table = load_table(path)
    comparisons = (
        Comparison("good", "bad"),
        Comparison("bad", "good"),
        Comparison("good", "same"),
        Comparison("good", "never"),
    )
    published = {"good": {"AP": "44.0", "params_M": "8.89", "latency_ms": "1.2"}, "bad": {"AP": "41.5", "latency_ms": "1.1"}}
    return dataclasses.replace(table, comparisons=comparisons, published=published), folder / "runs", path


def results_of(made):
    table, folder, _ = made
    return gather_results(table, "own", folder, "smoke", draws=60)


@pytest.fixture(scope="module")
def results(made):
    """What is measured of those runs, to be left as it is."""
    return results_of(made)


def test_rows_have_means_intervals_and_what_they_cost(results):
    good, same, bad, never = results.rows
    assert (good.seeds, same.seeds, never.seeds) == ([0, 1, 2], [0, 1, 2], [])
    values = [run.record.metrics["AP"] for run in results.collection.rows["good"]]
    assert good.ap.mean == pytest.approx(np.mean(values))
    assert good.ap.low < good.ap.mean < good.ap.high
    assert good.ap.mean > bad.ap.mean + 0.2
    assert good.images_per_s == 21.0
    assert good.load_ms == pytest.approx(100_000 * 0.6 / (21 * 3))  # of the middle seed
    assert good.published["AP"] == "44.0"
    assert "smoke scale: 2 epochs of 24 images at 64 pixels" in results.title


def test_verdicts_follow_the_runs_and_say_what_they_rest_on(results):
    better, worse, same, missing = results.claims
    assert (better.verdict, worse.verdict) == ("supported", "contradicted")
    assert (same.verdict, missing.verdict) == ("not decidable at this scale",) * 2
    assert better.published == pytest.approx(0.025)
    line = claim_line(better)
    for words in ("good is better than bad: supported", "published +2.5", "16 images", "3 seeds", "60 draws"):
        assert words in line
    assert "never has no runs" in claim_line(missing)


def test_every_image_once_scores_as_the_record_says(results):
    for run in results.collection.runs:
        matches = load_matches(run)
        whole = matches.drawn_precision().average_precision(np.ones((1, len(matches.images))))[0]
        assert whole == pytest.approx(run.record.metrics["AP"], abs=1e-6)


def loading(folder, seconds):
    """Runs whose epochs of 24 images waited so long for them; None: a record of before the time was kept."""
    path = write_experiment(folder, *seconds)
    for run in plan(path, "smoke", [0, 1, 2], folder / "runs"):
        epoch = {"epoch": 0, "stage": "weak", "step": 3, "losses": {"loss_cls": 1.0}, "lr": 0.1}
        epoch |= {"images_per_s": 8.0, "seconds": 3.0}
        wait = seconds[run.row]
        more = {} if wait is None else {"load_seconds": wait + 0.012 * run.seed}
        write_record(run, history=[epoch | more])
    return load_table(path), folder / "runs"


def test_loading_time_is_compared_over_seeds(tmp_path):
    table, folder = loading(tmp_path, {"cached": 0.24, "uncached": 0.96, "same": 0.24, "old": None})
    pairs = [("cached", "uncached"), ("uncached", "cached"), ("cached", "same"), ("cached", "old")]
    comparisons = tuple(Comparison(*pair, metric="load_ms") for pair in pairs)
    published = {"cached": {"load_ms": "24.0"}, "uncached": {"load_ms": "87.1"}}
    table = dataclasses.replace(table, comparisons=comparisons, published=published)
    results = gather_results(table, "own", folder, "smoke")
    faster, slower, same, unknown = results.claims
    assert (faster.verdict, slower.verdict) == ("supported", "contradicted")
    assert (same.verdict, unknown.verdict) == ("not decidable at this scale",) * 2
    assert faster.difference.mean == pytest.approx(-3000)  # 1050 and 4050 ms per 100 images
    line = claim_line(faster)
    for words in ("loads faster than", "measured -3000 ms per 100 images; published -63; 95 % over seeds -3", "; 3 seeds)"):
        assert words in line
    assert "not every record holds the loading time" in claim_line(unknown)
    assert [row.load_ms for row in results.rows] == [pytest.approx(1050), pytest.approx(4050), pytest.approx(1050), None]
    json.dumps(as_json(results), allow_nan=False)


def test_missing_predictions_cost_the_verdict_and_not_the_report(made, tmp_path):
    table, folder, path = made
    folder = shutil.copytree(folder, tmp_path / "runs")
    for file in folder.rglob("good-seed0*/predictions.json"):
        file.unlink()
    results = results_of((table, folder, path))
    assert results.claims[0].verdict == "not decidable at this scale"
    assert "predictions.json" in claim_line(results.claims[0])
    assert results.rows[0].ap.count == 3


def test_three_formats_hold_the_same_numbers(results, tmp_path):
    figures = make_figures(results)
    names = ["AP and parameters", "AP and latency", "learning curves", "training speed", "loading time"]
    assert [name for name, _ in figures] == names
    files = write_report(results, tmp_path / "report", figures=figures)
    assert {path.name for path in files} == {"own-smoke.md", "own-smoke.html", "own-smoke.csv"}
    assert len(list((tmp_path / "report").glob("*.png"))) == 5
    text, page = to_markdown(results), to_html(results, figures)
    for row in shown_table(results):
        assert "| " + " | ".join(row.values()) + " |" in text
        assert all(f"<td>{cell}</td>" in page for cell in row.values())
    assert page.count("data:image/png;base64,") == 5
    lines = list(csv.DictReader(io.StringIO(to_csv(results))))
    assert [line["row"] for line in lines] == ["good", "same", "bad", "never"]
    assert float(lines[0]["measured AP"]) == pytest.approx(100 * results.rows[0].ap.mean, abs=0.005)
    assert lines[3]["measured AP"] == ""
    assert lines[0]["scale"] == "smoke"
    assert set(table_cells(results.rows[0])) <= set(lines[0])
    json.dumps(as_json(results), allow_nan=False)


def test_columns_that_no_row_fills_are_not_shown_and_stay_in_the_csv(results):
    (shown, *_) = shown_table(results)
    assert list(shown)[:4] == ["row", "published AP", "measured AP", "seeds"]
    assert "published load ms" not in shown
    assert "published latency ms" in shown
    assert "published load ms" in to_csv(results).splitlines()[0]


def test_latency_is_measured_on_the_networks_of_the_runs(results):
    timed = with_latency(results, runs=2, device="cpu")
    good, same, bad, never = timed.rows
    assert all(row.latency_ms > 0 for row in (good, same, bad))
    assert never.latency_ms is None
    assert [row.latency_ms for row in results.rows] == [None] * 4, "the results it was given are left as they were"
    assert timed.latency_setup.startswith("CPU, ")
    assert timed.latency_setup in to_markdown(timed)
    figures = dict(make_figures(timed))
    left, right = figures["AP and latency"].axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("measured AP", "published AP")
    assert {text.get_text() for text in left.texts} == {"good", "same", "bad"}
    assert as_json(timed)["rows"][0]["latency_ms"] == good.latency_ms


def test_rows_with_one_network_share_its_latency_and_are_drawn_row_by_row(tmp_path):
    path = tmp_path / "own.py"
    text = 'from rtmdet_lab import ExperimentConfig, Table\nITEM = Table("a", "b.", ExperimentConfig(), '
    path.write_text(text + '{"x": {}, "y": {"train.lr": 0.1}}, {"x": {"AP": "44.0"}}, "ours")\n')
    for run in plan(path, "smoke", [0, 1], tmp_path / "runs"):
        write_record(run, 0.1 + 0.1 * run.seed)
    results = with_latency(gather_results(load_table(path), "own", tmp_path / "runs", "smoke"), runs=1, device="cpu")
    assert results.rows[0].latency_ms == results.rows[1].latency_ms
    assert [name for name, _ in make_figures(results)] == ["AP by row"]


def test_names_of_rows_cannot_break_the_page(made):
    results = results_of(made)
    results.rows[0].row = '<script>alert("a|b")</script>'
    assert "<script>" not in to_html(results)
    assert "a\\|b" in to_markdown(results)


def test_rotated_runs_are_scored_from_their_own_predictions(tmp_path):
    paths = generate_aerial(tmp_path / "data", train=0, val=5, size=160, difficulty=0.0, progress=False)

    data = DotaDataset(paths["val_images"], paths["val_labels"], AERIAL_CLASSES)
    evaluator, rows = DotaEvaluator(data.classes), []
    for index in range(len(data)):
        truth = data.truth(index)
        found = Detections(truth.boxes + 2.0, torch.rand(len(truth)), truth.labels, meta=truth.meta)
        evaluator.add([found], [truth])
        rows += to_rotated_results(found, truth.meta.image_id, data.classes)
    (tmp_path / "own.py").write_text(
        'from rtmdet_lab import *\nITEM = Table("a", "b.", with_overrides(ExperimentConfig(), {"task": "rotated"}), '
        '{"x": {}, "y": {"train.lr": 0.1}}, {}, "ours")\n'
    )
    table = load_table(tmp_path / "own.py")
    (run, _) = plan(tmp_path / "own.py", "smoke", [0], tmp_path / "runs")
    record = write_record(run, evaluator.summary()["AP"])
    config = json.loads(json.dumps(record.config))
    values = {
        "val_images": str(paths["val_images"]),
        "val_annotations": str(paths["val_labels"]),
        "classes": list(AERIAL_CLASSES),
    }
    config["data"].update(values)
    write_record(run, evaluator.summary()["AP"], config=config)
    write_json(Path(run.folder) / "predictions.json", rows)
    (found,) = gather_results(table, "own", tmp_path / "runs", "smoke", 20).collection.runs
    drawn = load_matches(found).drawn_precision()
    assert drawn.average_precision(np.ones((1, 5)))[0] == pytest.approx(evaluator.summary()["AP"], abs=1e-6)


def test_command_prints_and_writes_the_report(made, capsys, tmp_path):
    _, folder, path = made
    arguments = ["report", path, "--scale", "smoke", "--results", folder, "--out", tmp_path / "out", "--draws", 40]
    code, out, _ = call(capsys, *arguments, "--json", tmp_path / "report.json")
    assert code == 0
    assert "own, smoke scale" in out
    assert "own-smoke.html" in out
    assert json.loads((tmp_path / "report.json").read_text())["experiments"]["own"]["rows"][0]["seeds"] == [0, 1, 2]
    fails(capsys, "report", path, "--scale", "laptop", "--results", folder, words=["no runs of own", "rtmdet-lab sweep own"])
    fails(capsys, "report", words=["no experiment named", "--static"])
    fails(capsys, *arguments[:-1], 3, words=["--draws is 3"])
    fails(capsys, *arguments, "--latency", -1, words=["--latency is -1"])
    fails(capsys, "report", "kernel_sise", words=["did you mean 'kernel_size'"])
