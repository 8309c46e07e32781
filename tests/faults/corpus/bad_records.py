"""Records, detections, experiments, sweeps and notebooks of others that are damaged or ask for what they should not."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from made_faults import Case, Place
from made_sets import data_settings
from made_sources import write_run
from made_sweeps import write_experiment, write_record

from rtmdet_lab.experiment.record import read_record
from rtmdet_lab.experiment.sweep.plan import plan, read_order

KNOWN = {"image_id": 1, "category_id": 3, "score": 0.5, "bbox": [1, 1, 9, 9]}


def run_of(place: Place, results: Any = ()) -> Path:
    """Writes a run on the good set; returns its folder."""
    paths = {name: value for name, value in data_settings(place.data).items() if name.startswith("data.val")}
    return write_run(
        place.bad / "run", place.data, results if isinstance(results, str) else list(results), ("wide",), **paths
    )


def record(change: Callable[[dict], Any]) -> Callable[[Place], Callable[[], Any]]:
    """Returns what reads a record after a change."""

    def make(place: Place) -> Callable[[], Any]:
        path = run_of(place) / "results.json"
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(changed if isinstance(changed, str) else json.dumps(content if changed is None else changed))
        return lambda: read_record(path)

    return make


def browsed(change: Callable[[dict], Any]) -> Callable[[Place], list[Any]]:
    """Returns what opens a run whose record was changed."""

    def make(place: Place) -> list[Any]:
        path = run_of(place) / "results.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return ["browse", path.parent, "--no-app"]

    return make


def found(results: Any) -> Callable[[Place], list[Any]]:
    """Returns what opens a file of detections on the good set."""

    def make(place: Place) -> list[Any]:
        file = place.file("found.json", results)
        where = ["--images", place.data / "val", "--annotations", place.data / "annotations" / "instances_val.json"]
        return ["browse", "--predictions", file, *where, "--no-app"]

    return make


def masked(results: Any) -> Callable[[Place], list[Any]]:
    """Returns what opens a file of detections on the good set, its objects with outlines."""

    def make(place: Place) -> list[Any]:
        truth = json.loads((place.data / "annotations" / "instances_val.json").read_text())
        for one in truth["annotations"]:
            x, y, width, height = one["bbox"]
            one["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
        annotations = place.file("outlined.json", truth)
        file = place.file("found.json", results)
        return ["browse", "--predictions", file, "--images", place.data / "val", "--annotations", annotations, "--no-app"]

    return make


def turned(results: Any) -> Callable[[Place], list[Any]]:
    def make(place: Place) -> list[Any]:
        file = place.file("found.json", results)
        where = ["--images", place.aerial / "images", "--annotations", place.aerial / "labelTxt"]
        return ["browse", "--predictions", file, *where, "--no-app"]

    return make


RECORDS: list[tuple[str, Callable[[Place], Any], tuple[str, ...]]] = [
    ("empty", record(lambda content: ""), ("results.json is empty",)),
    ("cut off", record(lambda content: json.dumps(content)[:100]), ("results.json is not valid JSON", "line 1")),
    ("deep", record(lambda content: "[" * 99_999), ("not valid JSON",)),
    ("list", record(lambda content: [content]), ("not a run record but a list",)),
    ("of another program", record(lambda content: {"loss": 1}), ("not a run record", "lacks")),
    (
        "without metrics",
        record(lambda content: json.dumps({name: content[name] for name in content if name != "metrics"})),
        ("it lacks metrics",),
    ),
    ("with more than it may", record(lambda content: content | {"colour": 1}), ("has colour", "does not know")),
    ("whose metrics are a number", record(lambda content: content | {"metrics": 5}), ("metrics", "a mapping is needed")),
    ("whose metrics are text", record(lambda content: content | {"metrics": {"AP": "good"}}), ("metrics", "AP")),
    ("whose settings are a list", record(lambda content: content | {"config": []}), ("config", "a mapping is needed")),
    ("whose history is text", record(lambda content: content | {"history": "long"}), ("history", "a list is needed")),
    (
        "whose history holds numbers",
        record(lambda content: content | {"history": [1]}),
        ("history[0]", "a mapping is needed"),
    ),
    ("whose seed is text", record(lambda content: content | {"seed": "one"}), ("seed", "a whole number is needed")),
    ("whose seconds are null", record(lambda content: content | {"seconds": None}), ("seconds", "a number is needed")),
    ("whose row is a number", record(lambda content: content | {"row": 7}), ("row", "text")),
    (
        "without data settings",
        browsed(lambda content: content["config"].pop("data")),
        ("data.val_images", "say it with --images"),
    ),
    ("whose data are a number", browsed(lambda content: content["config"].update(data=3)), ("results.json", "data")),
    (
        "whose classes are a number",
        browsed(lambda content: content["config"]["data"].update(classes=3)),
        ("results.json", "data.classes", "expected a list"),
    ),
    (
        "whose images are a number",
        browsed(lambda content: content["config"]["data"].update(val_images=3)),
        ("results.json", "data.val_images", "expected text"),
    ),
    (
        "whose images are gone",
        browsed(lambda content: content["config"]["data"].update(val_images="/gone")),
        ("/gone", "--images"),
    ),
    ("of no folder", lambda place: ["browse", place.bad / "gone", "--no-app"], ("no record", "gone")),
    (
        "alone in its folder",
        lambda place: ["browse", without_detections(place), "--no-app"],
        ("no predictions.json", "train it again"),
    ),
]


def without_detections(place: Place) -> Path:
    folder = run_of(place)
    (folder / "predictions.json").unlink()
    return folder


RESULTS: list[tuple[str, Any, tuple[str, ...]]] = [
    ("that are no JSON", "[{", ("found.json is not valid JSON",)),
    ("that are a mapping", {"a": 1}, ("found.json", "a list of detections is needed")),
    ("that are numbers", [1], ("number 1", "no image_id")),
    ("without category", [{"image_id": 1}], ("number 1", "no category_id")),
    ("whose image is a list", [KNOWN | {"image_id": [1]}], ("number 1", "image_id")),
    ("whose category is a mapping", [KNOWN | {"category_id": {}}], ("number 1", "category_id")),
    ("without score", [{name: KNOWN[name] for name in KNOWN if name != "score"}], ("number 1", "no score")),
    ("whose score is text", [KNOWN | {"score": "high"}], ("number 1", "score 'high'", "finite number")),
    ("whose score is no number", "[" + json.dumps(KNOWN | {"score": float("nan")}) + "]", ("score nan", "finite number")),
    ("whose score is past floats", [KNOWN | {"score": 10**400}], ("401 characters", "line 1")),
    ("whose box has three numbers", [KNOWN | {"bbox": [1, 2, 3]}], ("bbox [1, 2, 3]", "four finite numbers")),
    ("whose box is null", [KNOWN | {"bbox": None}], ("bbox None", "four finite numbers")),
]
MASKED: list[tuple[str, Any, tuple[str, ...]]] = [
    ("whose mask is a number", [KNOWN | {"segmentation": 5}], ("number 1", "compressed run lengths")),
]
TURNED: list[tuple[str, Any, tuple[str, ...]]] = [
    ("without class", [{"image_id": "P1"}], ("number 1", "no class")),
    (
        "of four numbers",
        [{"image_id": "P1", "class": "ship", "score": 0.5, "rbox": [1, 2, 3, 4]}],
        ("number 1", "five box numbers"),
    ),
    ("of text", [{"image_id": "P1", "class": "ship", "score": 0.5, "rbox": ["1"] * 5}], ("number 1", "five box numbers")),
    (
        "whose score is text",
        [{"image_id": "P1", "class": "ship", "score": "x", "rbox": [1, 2, 3, 4, 5]}],
        ("number 1", "five box numbers"),
    ),
    (
        "whose class is a list",
        [{"image_id": "P1", "class": [], "score": 0.5, "rbox": [1, 2, 3, 4, 5]}],
        ("number 1", "class"),
    ),
    (
        "that are not numbers",
        '[{"image_id": "P1", "class": "ship", "score": 0.5, "rbox": [NaN, 2, 3, 4, 5]}]',
        ("number 1", "five box numbers"),
    ),
]
EXPERIMENTS: list[tuple[str, str, tuple[str, ...]]] = [
    ("that is empty", "", ("own.py has no TABLE", "add it")),
    ("that is no Python", "TABLE = = 3\n", ("own.py stops with SyntaxError",)),
    ("that is bytes", "\0\0", ("own.py stops with",)),
    ("that stops", "raise RuntimeError('broken\\nin two lines')", ("own.py stops with RuntimeError", "broken")),
    ("that ends the program", "import sys; sys.exit(0)", ("own.py stops with SystemExit",)),
    ("that imports what is not there", "import nothing_of_that_name", ("own.py stops with ModuleNotFoundError",)),
    ("whose table is a number", "TABLE = 3", ("own.py has no TABLE",)),
    ("that calls itself for ever", "def f(): f()\nf()", ("own.py stops with RecursionError",)),
]
ROWS: list[tuple[str, str, tuple[str, ...]]] = [
    ("of an unknown setting", '{"a": {"model.kernal_size": 3}}', ("own.py", "row 'a'", "did you mean")),
    ("of another type", '{"a": {"model.kernel_size": "3"}}', ("own.py", "row 'a'", "whole number")),
    ("of an impossible value", '{"a": {"model.kernel_size": 2}}', ("own.py", "row 'a'", "odd")),
    ("that build the same", '{"a": {}, "b": {}}', ("own.py", "'a' and 'b' build the same run")),
    ("that are a list", '["a"]', ("own.py",)),
]
OWN = """
from rtmdet_lab import ExperimentConfig, Table

TABLE = Table(title="own", claim="none", base=ExperimentConfig(), rows={rows}, published={{}}, source="ours")
"""


def listed(place: Place, path: Any, *more: Any) -> list[Any]:
    return ["sweep", path, "--scale", "smoke", "--dry-run", "--out", place.out / "sweeps", *more]


def reported(change: Callable[[dict], Any]) -> Callable[[Place], list[Any]]:
    """Returns what reports a sweep of one run whose record was changed: it is left out, so that there is none."""

    def make(place: Place) -> list[Any]:
        (run,) = plan(write_experiment(place.bad, "a"), "smoke", [0], place.bad / "sweeps")
        write_record(run)
        path = Path(run.folder) / "results.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        results = ["--results", place.bad / "sweeps", "--out", place.out / "reports", "--latency", 0]
        return ["report", place.bad / "own.py", "--scale", "smoke", *results]

    return make


def planned(content: Any) -> Callable[[Place], Callable[[], Any]]:
    return lambda place: partial(read_order, place.file("run.json", content))


def elsewhere(place: Place) -> Callable[[], Any]:
    (run,) = plan(write_experiment(place.bad, "a"), "smoke", [0], place.bad / "sweeps")
    path = run.write()
    path.write_text(path.read_text().replace(run.folder, str(place.bad / "home")))
    return lambda: read_order(path)


SWEEPS: list[tuple[str, Callable[[Place], Any], tuple[str, ...]]] = [
    ("of an unknown experiment", lambda place: listed(place, "kernl_size"), ("did you mean 'kernel_size'",)),
    ("of a file that does not exist", lambda place: listed(place, place.bad / "gone.py"), ("gone.py does not exist",)),
    ("of a folder", lambda place: listed(place, folder_named(place)), ("does not exist", "folder.py")),
    (
        "of an unknown row",
        lambda place: listed(place, "kernel_size", "--rows", "eleventy"),
        ("no row 'eleventy'", "rows are"),
    ),
    ("on an unknown scale", lambda place: listed(place, "kernel_size", "--scale", "huge"), ("'huge'", "laptop")),
    ("without data", lambda place: listed(place, "kernel_size", "--scale", "paper"), ("paper", "--data")),
    ("of a setting that is none", lambda place: listed(place, "kernel_size", "--set", "train.epoch=3"), ("did you mean",)),
    ("with jobs that are none", lambda place: listed(place, "kernel_size", "--jobs", 0), ("--jobs is 0", "at least 1")),
    ("whose plan is a list", planned([1]), ("run.json", "start the sweep again")),
    ("whose plan is of another version", planned({"source": "a", "colour": 1}), ("run.json", "start the sweep again")),
    ("whose plan is no JSON", planned("{"), ("run.json is not valid JSON",)),
    ("whose plan writes elsewhere", elsewhere, ("run.json", "start the sweep again")),
    ("whose record has no metrics", reported(lambda content: content.update(metrics=None)), ("no runs", "sweep")),
    ("whose record is of text", reported(lambda content: content.update(config={"train": "long"})), ("no runs", "sweep")),
    ("whose report has no runs", lambda place: ["report", "kernel_size", "--results", place.bad], ("no runs", "sweep")),
    ("whose report draws nothing", lambda place: ["report", "kernel_size", "--draws", 0], ("--draws is 0", "at least 20")),
]


def folder_named(place: Place) -> Path:
    (place.bad / "folder.py").mkdir()
    return place.bad / "folder.py"


CASES = [
    *(Case(f"record {name}", make, words) for name, make, words in RECORDS),
    *(Case(f"detections {name}", found(results), words) for name, results, words in RESULTS),
    *(Case(f"detections {name}", masked(results), words) for name, results, words in MASKED),
    *(Case(f"rotated detections {name}", turned(results), words) for name, results, words in TURNED),
    *(
        Case(f"experiment {name}", lambda place, text=text: listed(place, place.file("own.py", text)), words)
        for name, text, words in EXPERIMENTS
    ),
    *(
        Case(f"rows {name}", lambda place, rows=rows: listed(place, place.file("own.py", OWN.format(rows=rows))), words)
        for name, rows, words in ROWS
    ),
    *(Case(f"sweep {name}", make, words) for name, make, words in SWEEPS),
]
