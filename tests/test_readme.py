"""What the README tells a newcomer to type and to look for is there."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import rtmdet_lab
from rtmdet_lab.cli.common import parse_overrides
from rtmdet_lab.cli.main import read_arguments
from rtmdet_lab.config.overrides import differences, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import load_experiment

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line.startswith("    rtmdet-lab ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    words = shlex.split(command, comments=True)
    arguments = read_arguments(words[1:])
    with_overrides(ExperimentConfig(), parse_overrides(getattr(arguments, "set", None) or []))


def test_every_setting_shown_exists():
    shown = re.findall(r"--set ([a-z_.]+=[\w./]+)", TEXT)
    assert len(shown) > 8
    for one in shown:
        with_overrides(ExperimentConfig(), parse_overrides([one]))


def test_every_place_named_exists():
    for place in re.findall(r"^\| `([\w./]+)` \|", TEXT, flags=re.MULTILINE):
        found = [ROOT / place, ROOT / "notebooks" / f"{place}.ipynb"]
        assert any(path.exists() for path in found), place
    for target in re.findall(r"\]\((?!http)([^)]+)\)", TEXT):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`(docs/[\w./]+)`", TEXT):
        assert (ROOT / target).exists(), target


def test_every_target_of_make_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z-]+)", TEXT)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_five_lines_use_the_public_names():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    tree = ast.parse(code)
    assert len(code.split("\n\n")[1].strip().splitlines()) + 1 <= 5
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.module == "rtmdet_lab"
            assert {name.name for name in node.names} <= set(rtmdet_lab.__all__)


def test_experiment_of_ones_own_loads(tmp_path):
    (block,) = re.findall(
        r"(?m)^    from rtmdet_lab import Comparison, ExperimentConfig, PaperItem, with_overrides\n(?:(?:    .*)?\n)+", TEXT
    )
    lines = [line[4:] for line in block.rstrip().splitlines()]
    assert len(lines) <= 11
    (tmp_path / "own.py").write_text("\n".join(lines))
    item = load_experiment(tmp_path / "own.py")
    assert [item.config(row).model.kernel_size for row in item.rows] == [5, 7]
    assert list(differences(*(item.config(row) for row in item.rows))) == ["model.kernel_size"]  # one factor, as it claims
    assert item.comparisons


def test_rotated_commands_without_settings_are_the_published_recipe():
    commands = [
        command for command in COMMANDS if "rtmdet-r-tiny" in command and ("hrsc" in command or "data/dota" in command)
    ]
    assert len(commands) == 2
    for command in commands:
        arguments = read_arguments(shlex.split(command, comments=True)[1:])
        settings = {"task": "rotated", "model.size": "tiny", **parse_overrides(arguments.set)}
        config = resolve(with_overrides(ExperimentConfig(), settings))
        train, side = config.train, config.augment.input_size
        ships = "hrsc" in command
        assert (train.epochs, train.batch_size, train.weak_epochs) == (36, 8, 0)
        assert (train.lr, side, config.data.repeat) == ((0.002, 800, 3) if ships else (0.00025, 1024, 1))
        assert config.model.pretrained_backbone is True
