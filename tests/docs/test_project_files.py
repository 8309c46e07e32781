"""Files of the repository that other programs read: hooks, the hosted workflow, templates, citation, changelog."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import yaml
from printed import ROOT

import rtmdet_lab

HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def test_hooks_fetch_nothing_and_use_the_projects_environment():
    for repository in HOOKS:
        assert repository["repo"] == "local"
        for hook in repository["hooks"]:
            assert hook["language"] == "system"
            assert hook["entry"].startswith(".venv/bin/python -m ")


def run_hook(name: str, *paths: str) -> int:
    (hook,) = (hook for hook in HOOKS[0]["hooks"] if hook["id"] == name)
    words = [sys.executable, *shlex.split(hook["entry"])[1:], *paths]
    return subprocess.run(words, cwd=ROOT, capture_output=True).returncode


def test_style_hooks_refuse_and_repair(tmp_path):
    bad, loose = tmp_path / "bad.py", tmp_path / "loose.py"
    bad.write_text("print(unknown)\n")
    loose.write_text("x = ( 1,\n 2 )\n")
    assert run_hook("ruff-check", str(bad)) == 1
    assert run_hook("ruff-check", str(loose)) == 0
    assert run_hook("ruff-format", str(loose)) == 0
    assert loose.read_text() == "x = (1, 2)\n"


@pytest.mark.parametrize("name", ["imports", "notebooks"])
def test_other_hooks_name_tests_that_exist(name):
    (hook,) = (hook for hook in HOOKS[0]["hooks"] if hook["id"] == name)
    words = shlex.split(hook["entry"])
    path = ROOT / next(word for word in words if word.startswith("tests/"))
    assert path.is_file()
    if "-k" in words:
        assert re.search(rf"def test_\w*{words[words.index('-k') + 1]}", path.read_text())


def test_hosted_workflow_runs_what_developers_run():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [command for command in commands if ".ci/run" in command] == [".ci/run --without-real-data"]
    assert "without real data" in workflow["name"], "a reader of the list of checks sees what is missing"
    assert workflow["permissions"] == {"contents": "read"}


@pytest.fixture
def report(tmp_path):
    suite = ElementTree.Element("testsuite")
    case = ElementTree.SubElement(suite, "testcase", classname="tests.parity", name="test_person")
    ElementTree.SubElement(case, "skipped", message="RTMDET_LAB_DATA is not set")
    ElementTree.SubElement(suite, "testcase", classname="tests.core", name="test_plain")
    ElementTree.ElementTree(suite).write(tmp_path / "fast.xml")
    return tmp_path / "fast.xml"


@pytest.mark.parametrize(("options", "code"), [([], 1), (["--without-real-data"], 0)])
def test_left_out_checks_are_named_and_fail_unless_it_was_said_before(report, options, code, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    script = ROOT / ".ci" / "require_real_data.py"
    result = subprocess.run([sys.executable, script, *options, report], capture_output=True, text=True)
    assert result.returncode == code
    assert "skipped without real data: tests.parity.test_person" in result.stderr
    if options:
        assert result.stdout.startswith("::warning::1 tests on real images were left out")
        assert "* tests.parity.test_person" in (tmp_path / "summary.md").read_text()


def test_templates_have_a_name_and_a_purpose():
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert len(templates) == 3
    for path in templates:
        head = yaml.safe_load(path.read_text().split("---")[1])
        assert set(head) == {"name", "about"}
    assert ".ci/run" in (ROOT / ".github" / "pull_request_template.md").read_text()


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == rtmdet_lab.__version__
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert paper["url"].endswith("2212.07784")
    assert len(paper["authors"]) == 8


def test_changelog_has_this_version_and_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[:2] == ["Unreleased", rtmdet_lab.__version__]
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= {
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    }
