"""Imports only go down, and importing the package costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rtmdet_lab

PACKAGE = Path(rtmdet_lab.__file__).parent

# Part (a file or a folder of the package) -> floor. The same table, with the reasons, is in docs/architecture.md.
FLOORS = {
    "core": 0,
    "config": 1,
    "geometry": 1,
    "layers": 2,
    "losses": 2,
    "assigners": 2,
    "transforms": 2,
    "synthetic": 2,
    "models": 3,
    "data": 3,
    "evaluation": 3,
    "viz": 3,
    "tasks": 4,
    "engine": 5,
    "analysis": 5,
    "experiment": 6,
    "export": 6,
    "notebook": 7,
    "browse": 7,
    "cli": 8,
}


def imports_of(path: Path, package: Path = PACKAGE) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted path inside the package) of every import of the package, those inside functions too."""
    here = path.relative_to(package.parent).with_suffix("").parts
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level], *filter(None, [node.module])]) if node.level else node.module
            # `from rtmdet_lab import x` may name a module of the top level or a public name that is imported on use.
            targets = [f"{base}.{alias.name}" for alias in node.names] if base == package.name else [base]
        else:
            waiting += ast.iter_child_nodes(node)
            continue
        for target in targets:
            if target == package.name or target.startswith(f"{package.name}."):
                yield node.lineno, target.removeprefix(package.name).removeprefix(".")


def upward_imports(package: Path = PACKAGE, floors: dict[str, int] = FLOORS) -> list[str]:
    """Returns one line per import that does not go down, and per file that stands on no floor."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        part = inside.parts[0].removesuffix(".py")
        if part == "__init__":
            continue  # lists the public names of all floors
        if part not in floors:
            wrong.append(f"{inside}: {part!r} stands on no floor: add it to FLOORS and to docs/architecture.md")
            continue
        for line, target in imports_of(path, package):
            other = target.split(".")[0]
            if other == part:
                continue
            if other not in floors:
                reason = "the public face"
            elif floors[other] > floors[part]:
                reason = f"upward: floor {floors[other]}"
            elif floors[other] == floors[part] and floors[part] > 0:
                reason = "sideways: the same floor"
            else:
                continue
            wrong.append(f"{inside}, line {line}: imports {package.name}.{target} from floor {floors[part]} ({reason})")
    return wrong


def test_imports_only_go_down():
    wrong = upward_imports()
    assert not wrong, "\n".join(["imports that do not go down:", *wrong])


def test_floors_name_parts_that_exist():
    present = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(FLOORS) <= present


@pytest.mark.parametrize(
    ("file", "source", "complaint"),
    [
        ("losses/iou.py", "from fake_lab.models.head import Head", "losses/iou.py, line 1: imports fake_lab.models.head"),
        ("losses/iou.py", "import fake_lab.layers.conv", "sideways"),
        ("losses/iou.py", "def late():\n    import torch\n    from fake_lab import cli", "line 3: imports fake_lab.cli"),
        ("losses/iou.py", "from fake_lab import predict", "the public face"),
        ("losses/iou.py", "from ..tasks import base", "imports fake_lab.tasks"),
        ("engine/predict.py", "from fake_lab.analysis import x", "sideways"),
        ("newcomer.py", "import torch", "stands on no floor"),
        ("losses/iou.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fake_lab.tasks import base", None),
        ("losses/iou.py", "from fake_lab.losses.dice import dice\nfrom . import dice\nimport torch", None),
        ("core/files.py", "from fake_lab.core.errors import UserError\nfrom . import outputs", None),
        ("core/files.py", "from fake_lab.geometry import boxes", "upward: floor 1"),
        ("cli/main.py", "from fake_lab.losses import iou", None),
    ],
)
def test_checker_sees_a_planted_import(tmp_path, file, source, complaint):
    path = tmp_path / "fake_lab" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    wrong = upward_imports(tmp_path / "fake_lab")
    assert len(wrong) == (complaint is not None)
    assert complaint is None or complaint in wrong[0]


@pytest.mark.lengthy
def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, rtmdet_lab\n"
        "heavy = {'torch', 'torchvision', 'cv2', 'matplotlib', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "rtmdet_lab.ModelConfig\n"
        "assert 'torch' not in sys.modules\n"  # settings need no torch
        "rtmdet_lab.Targets\n"
        "assert 'torch' in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Public names of earlier versions -> those of today.
FIRST_NAMES = {
    "PaperItem": "Table",
    "load_experiment": "load_table",
    "run_variant": "run_row",
    "variant_config": "row_config",
}


def test_every_public_name_resolves():
    for name in rtmdet_lab.__all__:
        value = getattr(rtmdet_lab, name)
        assert value is not None
        assert name == "__version__" or value.__name__ == FIRST_NAMES.get(name, name)
    assert set(dir(rtmdet_lab)) == set(rtmdet_lab.__all__)


def test_unknown_name_is_an_attribute_error_and_leaves_hasattr_working():
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        _ = rtmdet_lab.create_modle
    assert not hasattr(rtmdet_lab, "create_modle")


def test_what_an_editor_reads_is_what_is_exported():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    listed = {
        alias.name: node.module
        for block in ast.walk(tree)
        if isinstance(block, ast.If)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert listed == {name: f"rtmdet_lab.{home}" for name, home in rtmdet_lab._HOME.items()}
