"""One list of dependencies: ranges in pyproject.toml, exact pins in constraints.txt, and the same set for conda users."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [Requirement(one) for one in PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["docs"] + EXTRAS["soak"]]


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9._+!-]+)", line).groups()
            assert canonicalize_name(name) not in found, f"{name} is pinned twice"
            found[canonicalize_name(name)] = Version(version)
    return found


def test_every_dependency_is_pinned_inside_its_range():
    pinned = pins()
    for requirement in WANTED:
        name = canonicalize_name(requirement.name)
        assert name in pinned, f"constraints.txt has no pin for {name}"
        assert pinned[name] in requirement.specifier, f"{name} {pinned[name]} is outside of {requirement.specifier}"


def test_ranges_are_wide():
    for requirement in WANTED:
        operators = {one.operator for one in requirement.specifier}
        assert ">=" in operators, f"{requirement.name} has no lower bound"
        assert "==" not in operators, f"exact pins belong into constraints.txt: {requirement}"


def test_conda_environment_takes_the_same_list_and_the_same_pins():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    assert "- -c constraints.txt" in lines
    assert "- -e .[dev]" in lines
    packages = [line for line in lines[lines.index("dependencies:") + 1 :] if line.startswith("- ")]
    own = [line for line in packages if not re.match(r"- (python=|pip$|pip:$|-c |-e )", line)]
    assert not own, f"packages belong into pyproject.toml, the only list: {own}"
    python = next(line for line in packages if line.startswith("- python=")).removeprefix("- python=")
    assert Version(python) in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_make_installs_with_the_pins():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r'pip install .*-c constraints\.txt -e "\.\[dev\]"', makefile)


def test_licence_and_authors_are_stated():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert PROJECT["authors"] == [{"name": "RTMDet Lab contributors"}]
    assert PROJECT["classifiers"]
    assert PROJECT["urls"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A wheel installed into an environment of its own, which takes the dependencies from this one: its Python."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():  # a build leaves folders behind where it builds
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"check": True, "cwd": folder, "env": environment}
    build = ["wheel", "--no-deps", "--no-build-isolation", "-q", "-w", "dist", str(folder / "source")]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *build], **quiet)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "environment"], **quiet)
    python = folder / "environment" / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(python.parents[1])}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (wheel,) = (folder / "dist").glob("*.whl")
    install = ["--python", str(python), "install", "--no-deps", "--no-index", "--force-reinstall", "-q", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *install], **quiet)
    return python


def run_installed(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(python.with_name("rtmdet-lab")), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_wheel_brings_licence_notebooks_and_experiments(installed, tmp_path):
    code = (
        "import importlib.metadata as m; from rtmdet_lab.core.shipped import checkout, shipped_folder;"
        "print(checkout(), m.metadata('rtmdet-lab')['License-Expression']);"
        "print(*sorted(p.name for n in ('notebooks', 'experiments') for p in shipped_folder(n).iterdir() if p.is_file()))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    shown = subprocess.run(
        [installed, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    first, second = shown.stdout.splitlines()
    assert first == "None Apache-2.0"
    sources = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "experiments").glob("*.py")]
    assert set(second.split()) == {path.name for path in sources}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["models", "rtmdet-nano"], "multiply-adds|MACs_G"),
        (["report", "--static", "stage_blocks"], "params_M"),
        (["sweep", "kernel_size", "--scale", "smoke", "--dry-run"], "5 of 5 to run"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_commands_of_a_wheel_work_from_an_empty_folder(installed, tmp_path, arguments, words):
    result = run_installed(installed, tmp_path, *arguments)
    assert result.returncode == 0, result.stderr
    assert re.search(words, result.stdout)


@pytest.mark.slow
def test_wheel_trains_a_row_through_its_notebook(installed, tmp_path):
    arguments = ["sweep", "kernel_size", "--scale", "smoke", "--rows", "3x3", "--set", "train.epochs=1"]
    result = run_installed(installed, tmp_path, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(list(tmp_path.glob("runs/sweeps/**/results.json"))) == 1
