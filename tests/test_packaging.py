"""One list of dependencies: ranges in pyproject.toml, exact pins in constraints.txt, and the same set for conda users."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [Requirement(one) for one in PROJECT["dependencies"] + EXTRAS["dev"] + EXTRAS["soak"]]


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
