"""CONTRIBUTING.md: its recipes are applied to a copy of the package, in which a detector is then built and trained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from printed import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = re.findall(r"^```py\n# (\S+), ([^\n]+)\n(.*?)```$", TEXT, re.MULTILINE | re.DOTALL)
SCRIPT = """
import torch
import rtmdet_lab
from rtmdet_lab import ExperimentConfig, Targets, TrainStep, build_task, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.transforms.pipelines import weak_pipeline

print(rtmdet_lab.__file__)
settings = {"model.size": "nano", "model.num_classes": 2, "model.block": "plain", "assigner.iou_cost": "square",
            "augment.gray_prob": 1.0}
task = build_task(with_overrides(ExperimentConfig(), settings))
step = TrainStep(task, batches=10)
images = torch.rand(2, 3, 64, 64)
losses = step(images, [Targets(torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([1]))] * 2)
assert all(loss.isfinite() for loss in losses.values()), losses
print(sorted({type(module).__name__ for module in task.model.modules()} & {"PlainBlock", "LargeKernelBlock"}))
print([type(step).__name__ for step in weak_pipeline(task.config.augment).transforms])
"""


def applied(source: str, place: str, lines: str) -> str:
    """Returns a file's text with ``lines`` at a place, as CONTRIBUTING.md calls it."""
    if place == "at the end":
        return f"{source}\n\n{lines}"
    if place == "imports":
        pattern, put = r"^from rtmdet_lab", lambda match: lines + match[0]
    elif (above := re.fullmatch(r"above (\w+)(?:'s (\w+))?", place)) is not None:
        function, name = above.groups()
        if name is not None:
            head, body = re.split(rf"(?=^def {function}\()", source, maxsplit=1, flags=re.MULTILINE)
            return head + applied(body, f"above {name}", lines)
        apart = "\n\n" if lines.startswith(("def ", "class ")) else ""
        pattern, put = rf"^ *{function}\b.*=", lambda match: lines + apart + match[0]
    else:
        name = re.fullmatch(r"in (\w+)", place)[1]
        pattern = rf"^ *{name}\b[^\n]*?(?:Literal\[|= [{{(])"
        put = lambda match: match[0] + lines.strip().removesuffix(",") + ", "  # noqa: E731
    text, count = re.subn(pattern, put, source, count=1, flags=re.MULTILINE)
    assert count == 1, f"there is no place {place!r}"
    return text


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """A folder with a copy of the package, to which all recipes are applied."""
    folder = tmp_path_factory.mktemp("contributed")
    shutil.copytree(ROOT / "rtmdet_lab", folder / "rtmdet_lab", ignore=shutil.ignore_patterns("__pycache__"))
    for file, place, lines in RECIPES:
        path = folder / file
        path.write_text(applied(path.read_text(), place, lines))
    return folder


@pytest.mark.lengthy
def test_recipes_make_a_detector_that_trains(package):
    environment = os.environ | {"PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=package, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    file, blocks, steps = done.stdout.splitlines()
    assert file.startswith(str(package))
    assert blocks == "['PlainBlock']"
    assert "'RandomGray'" in steps


def test_recipes_touch_as_many_files_as_their_headings_say():
    parts = re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]
    numbers = {"one": 1, "two": 2, "three": 3, "four": 4}
    counted = 0
    for part in parts:
        files = set(re.findall(r"^# (rtmdet_lab/\S+), ", part, re.MULTILINE))
        told = re.match(r"[^:]+: (\w+) files?", part)
        if files:
            counted += 1
            assert numbers[told[1]] == len(files), part.splitlines()[0]
    assert counted == 3


def test_named_files_exist():
    for path in re.findall(r"`((?:rtmdet_lab|experiments|tests|docs)/[\w/.]+\.(?:py|md))`", TEXT):
        if "NAME" not in path:
            assert (ROOT / path).is_file(), path
