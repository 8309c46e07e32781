"""What README and docs tell a reader to type and to look for is there."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
from made_runs import train
from printed import DOCUMENTS, ROOT, block_commands
from sources import Squares

import rtmdet_lab
from rtmdet_lab.cli.common import parse_overrides
from rtmdet_lab.cli.main import read_arguments
from rtmdet_lab.config.overrides import differences, with_overrides
from rtmdet_lab.config.presets import resolve
from rtmdet_lab.config.settings import ExperimentConfig
from rtmdet_lab.experiment.table import load_table

README = (ROOT / "README.md").read_text()
TEXT = "\n".join(path.read_text() for path in DOCUMENTS)
COMMANDS = list(dict.fromkeys(block_commands(TEXT)))
KINDS = ("tutorials", "how-to", "reference", "explanation", "results")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    words = shlex.split(command, comments=True)
    arguments = read_arguments(words[1:])
    with_overrides(ExperimentConfig(), parse_overrides(getattr(arguments, "set", None) or []))


def test_every_setting_shown_exists():
    shown = re.findall(r"--set ([a-z_.]+=[\w./]+)", TEXT)
    assert len(shown) > 8
    for setting in shown:
        with_overrides(ExperimentConfig(), parse_overrides([setting]))


def names_of_places(text: str) -> set[str]:
    return {*re.findall(r"^\| `([\w./]+/)` \|", text, re.MULTILINE), *re.findall(r"`(docs/[\w./-]+)`", text)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_place_named_exists(path):
    text = path.read_text()
    for place in names_of_places(text):
        assert (ROOT / place).exists() or (ROOT / "rtmdet_lab" / place).exists(), place
    for target in re.findall(r"\]\((?!http|#)([^)#]+)(?:#[^)]*)?\)", text):
        assert (path.parent / target).exists(), target


def test_every_page_has_a_reader_and_the_readme_names_it():
    pages = [path.relative_to(ROOT) for path in DOCUMENTS if path.parent != ROOT]
    assert {page.parts[1] for page in pages if len(page.parts) > 2} == set(KINDS)
    guides = [page for page in pages if page.parts[1] in ("tutorials", "how-to", "explanation", "results")]
    assert [str(page) for page in guides if f"({page})" not in README] == []


def test_readme_is_read_in_one_go():
    assert len(README.splitlines()) <= 120
    assert len(re.findall(r"!\[", README)) == 1
    commands = re.findall(r"^    (make \w+)", README, flags=re.MULTILINE)
    assert commands == ["make demo", "make test"]


def test_every_notebook_is_described():
    listed = re.findall(r"^\| `(\d\d_\w+)` \|", (ROOT / "docs" / "how-to" / "notebooks.md").read_text(), re.MULTILINE)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_every_target_of_make_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)|^    make ([a-z-]+)", TEXT, re.MULTILINE)):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.MULTILINE), target


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_five_lines_are_five():
    (code,) = python_blocks(README)
    assert len(code.split("\n\n")[1].strip().splitlines()) + 1 <= 5


@pytest.mark.parametrize("code", python_blocks(TEXT), ids=lambda code: code.strip().splitlines()[-1])
def test_python_shown_uses_the_public_names(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "rtmdet_lab":
            assert {name.name for name in node.names} <= set(rtmdet_lab.__all__)


def test_choices_shown_in_python_build_a_task():
    (code,) = python_blocks((ROOT / "docs" / "reference" / "choices.md").read_text())
    names: dict = {}
    exec(compile(code.replace('"tiny"', '"tiny", "model.width": 0.125'), "choices.md", "exec"), names)
    assert names["task"].config.model.kernel_size == 7


def test_loop_and_hook_of_ones_own_train(tmp_path, capsys):
    names: dict = {}
    for code in python_blocks((ROOT / "docs" / "how-to" / "training_step.md").read_text()):
        exec(compile(code, "training_step.md", "exec"), names)
    assert names["step"].state.step == 2
    train(tmp_path, source=Squares(4), hooks=[names["Heaviest"]()], **{"train.epochs": 1, "train.weak_epochs": 1})
    assert capsys.readouterr().out.startswith("0 ")


def test_experiment_of_ones_own_loads(tmp_path):
    (block,) = re.findall(
        r"(?m)^    from rtmdet_lab import Comparison, ExperimentConfig, Table, with_overrides\n(?:(?:    .*)?\n)+", TEXT
    )
    lines = [line[4:] for line in block.rstrip().splitlines()]
    assert len(lines) <= 11
    (tmp_path / "own.py").write_text("\n".join(lines))
    table = load_table(tmp_path / "own.py")
    assert [table.config(row).model.kernel_size for row in table.rows] == [5, 7]
    assert list(differences(*(table.config(row) for row in table.rows))) == ["model.kernel_size"]  # one factor, as it claims
    assert table.comparisons


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
