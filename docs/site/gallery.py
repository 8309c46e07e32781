"""Executes every notebook at a small scale, and turns the result into a page of the site.

An executed notebook is kept under build/docs/notebooks and is executed again only if the notebook, its parameters or the
package changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import MarkdownExporter

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
KEPT = ROOT / "build" / "docs" / "notebooks"  # executed notebooks
WORK = ROOT / "build" / "docs" / "work"  # their data and runs

# A parameter that a notebook declares takes its value from here: what is small for one notebook is small for all.
SMALL: dict[str, Any] = {
    "train_images": 48,
    "val_images": 8,
    "images": 24,
    "image_size": 96,
    "canvas_size": 128,
    "large_size": 160,
    "overlap": 32,
    "epochs": 2,
    "batch_size": 4,
    "workers": 0,
    "device": "cpu",
    "scale": "smoke",
    "draws": 20,
    "latency_runs": 1,
    "timed_images": 3,
    "pixels": 128,
    "kernels": [3, 5],
}
QUICKSTART = WORK / "00_quickstart"
TRAINED = {
    "checkpoint": QUICKSTART / "run" / "best.safetensors",
    "images": QUICKSTART / "data" / "val",
    "annotations": QUICKSTART / "data" / "annotations" / "instances_val.json",
    "input_size": 96,
}
TRAINING = {"augment.input_size": 96, "train.epochs": 1, "train.batch_size": 4, "train.workers": 0, "model.width": 0.125}
# What a notebook needs besides: those that read a run take the quickstart's.
SPECIAL: dict[str, dict[str, Any]] = {
    "30_train": {"model": "rtmdet-nano", "data_dir": QUICKSTART / "data", "overrides": TRAINING},
    "32_evaluate": TRAINED,
    "40_error_analysis_coco": {"images": ""},
    "41_error_analysis_dota": {"images": ""},
    "50_deploy": {**TRAINED, "calibration": QUICKSTART / "data" / "train", "runtimes": ["pytorch", "torchscript"]},
}


@dataclass(frozen=True)
class Page:
    """One notebook of the site."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def executed(self) -> Path:
        return KEPT / f"{self.name}.ipynb"

    def parameters(self) -> dict[str, Any]:
        """Returns the parameters of the small run, those alone that the notebook declares."""
        cells = nbformat.read(self.path, as_version=4).cells
        declaration = next(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
        declared = re.findall(r"^(\w+) = ", declaration, flags=re.MULTILINE)
        folder = WORK / self.name
        values = SMALL | {"data_dir": folder / "data", "out_dir": folder / "run", "results": folder / "runs"}
        values |= SPECIAL.get(self.name, {})
        chosen = {name: values[name] for name in declared if name in values}
        return {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}

    def key(self) -> str:
        """Returns what the outputs follow from: the notebook, its parameters and the package."""
        digest = hashlib.sha256(self.path.read_bytes())
        digest.update(json.dumps(self.parameters(), sort_keys=True).encode())
        for source in sorted((ROOT / "rtmdet_lab").rglob("*.py")):
            digest.update(source.read_bytes())
        return digest.hexdigest()

    def is_current(self) -> bool:
        note = self.executed.with_suffix(".key")
        return self.executed.is_file() and note.is_file() and note.read_text() == self.key()

    def execute(self) -> None:
        """Runs the notebook through the project's own command.

        Raises:
            SystemExit: the notebook failed.
        """
        KEPT.mkdir(parents=True, exist_ok=True)
        self.executed.unlink(missing_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
        environment["FIFTYONE_DATABASE_DIR"] = str(WORK / "fiftyone")  # not the user's own
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-m", "rtmdet_lab.cli", "notebook", str(self.path), str(self.executed)]
        print(f"executing {self.name}", flush=True)
        done = subprocess.run(
            [*command, "-y", json.dumps(self.parameters())], env=environment, cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{self.name} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        self.executed.with_suffix(".key").write_text(self.key())

    def write(self, folder: Path) -> None:
        """Writes the page and its pictures into ``folder``: without outputs, if the notebook was not executed."""
        current = self.executed.is_file()
        notebook = nbformat.read(self.executed if current else self.path, as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace(str(ROOT) + os.sep, "")
            if "outputs" in cell:
                cell.outputs = joined_streams(cell.outputs)
                for output in cell.outputs:
                    prepare(output)
        exporter = MarkdownExporter()
        resources = {"unique_key": self.name, "output_files_dir": f"{self.name}_files"}
        text, resources = exporter.from_notebook_node(notebook, resources=resources)
        for name, content in resources["outputs"].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        title, _, rest = text.lstrip().partition("\n")
        note = (
            "Executed at a small scale, so that the page is cheap to build: its scores say nothing. "
            "The parameters below `# Parameters` are what was changed."
            if current
            else "Not executed here: `make docs` does, and shows the outputs."
        )
        (folder / f"{self.name}.md").write_text(f'{title}\n\n!!! note "{self.path.name}"\n    {note}\n{rest}')


def joined_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Returns the outputs of a cell with texts that follow each other in one: a bar is written in many pieces."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream" and joined and joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def prepare(output: nbformat.NotebookNode) -> None:
    """Takes out of one output what a page cannot show: colors, progress that overwrites itself, paths of this machine."""
    if output.output_type == "stream":
        output.text = plain(output.text)
    data = output.get("data", {})
    for kind in list(data):
        if kind.startswith("application/vnd.jupyter") or (kind == "text/html" and "<iframe" in data[kind]):
            del data[kind]
    if "image/png" in data:
        data.pop("text/plain", None)
    for kind in ("text/plain", "text/html", "text/markdown"):
        if kind in data:
            data[kind] = plain(data[kind])


def plain(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    text = "\n".join(line.rsplit("\r", 1)[-1] for line in text.replace("\r\n", "\n").split("\n"))
    return text.replace(str(ROOT) + os.sep, "").replace(str(Path.home()), "~")


def pages() -> list[Page]:
    return [Page(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]


def write_gallery(folder: Path, execute: bool) -> list[str]:
    """Writes all pages and returns their names; executes what is not current if asked to."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in pages():
        if execute and not page.is_current():
            page.execute()
        page.write(folder)
    return [page.name for page in pages()]
