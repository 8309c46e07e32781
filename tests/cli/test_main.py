"""Verbs, help, and the form in which errors reach a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_calls import call, finished, process

from rtmdet_lab.cli import main as exported
from rtmdet_lab.cli import models
from rtmdet_lab.cli.main import VERBS, main
from rtmdet_lab.config.describe import descriptions
from rtmdet_lab.core.errors import DataError, UserError
from rtmdet_lab.engine.interrupt import TrainingInterrupted

# What must be in a verb's help.
HELP = {
    "models": ["--json", "--set", "--num-classes", "--input-size", "examples:"],
    "train": ["--model", "--out", "--data", "--classes", "--init", "--set", "--resume", "--seed", "--json", "examples:"],
    "eval": [
        "--model",
        "--checkpoint",
        "--images",
        "--annotations",
        "--classes",
        "--input-size",
        "--score-threshold",
        "--nms-iou",
        "--max-per-level",
        "--max-per-image",
        "--json",
        "examples:",
    ],
    "predict": ["--checkpoint", "--out", "--score-threshold", "--json", "examples:"],
    "export": ["--to", "--output", "--precision", "--calibration", "--images", "--json", "examples:"],
    "data": ["generate", "check", "examples:"],
    "report": ["--static", "--json", "examples:"],
    "browse": ["--predictions", "--images", "--annotations", "--port", "--no-open", "--json", "examples:"],
    "settings": ["--json", "WORD", "examples:"],
    "notebook": ["-p", "-y", "examples:"],
    "sweep": ["--scale", "--seeds", "--rows", "--jobs", "--retries", "--dry-run", "--on", "--gpus-per-run", "examples:"],
}


def test_every_verb_is_listed_with_one_line(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for verb, (_, help_line) in VERBS.items():
        assert any(line.split()[:1] == [verb] and help_line[:30] in line for line in out.splitlines())
    assert set(HELP) == set(VERBS)


@pytest.mark.parametrize("verb", HELP)
def test_help_of_a_verb_names_its_options_and_has_examples(capsys, verb):
    code, out, _ = call(capsys, verb, "--help")
    assert code == 0
    assert not [word for word in HELP[verb] if word not in out]
    assert f"rtmdet-lab {verb}" in out


def test_options_that_are_settings_are_explained_by_them(capsys):
    _, out, _ = call(capsys, "predict", "--help")
    shown = " ".join(out.split())
    assert descriptions()["test.nms_iou"].meaning[1:-1] in shown
    assert descriptions()["test.nms_iou"].default in shown
    assert "very low one (0.3)" in shown


@pytest.mark.parametrize("action", ["generate", "check"])
def test_help_of_the_data_actions(capsys, action):
    code, out, _ = call(capsys, "data", action, "--help")
    assert code == 0
    assert "--json" in out
    assert "--workers" in out


def test_help_needs_no_torch():
    # Its import takes seconds; help and typing errors come at once.
    program = """
import sys
from rtmdet_lab.cli.main import VERBS, main
for verb in VERBS:
    try:
        main([verb, "--help"])
    except SystemExit as stop:
        assert stop.code == 0, verb
assert "torch" not in sys.modules
assert "matplotlib" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "arguments", [[], ["trian"], ["train"], ["eval", "--checkpoint"], ["predict"], ["data"], ["models", "--x"]]
)
def test_mistyped_call_ends_with_usage_and_code_2(capsys, arguments):
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert err.startswith("usage: rtmdet-lab")
    assert "Traceback" not in err


def test_command_and_module_are_the_same():
    assert exported is main


def verb_that_raises(monkeypatch, error: BaseException) -> None:
    def run(_):
        raise error

    monkeypatch.setattr(models, "run", run)


@pytest.mark.parametrize("kind", [UserError, DataError])
def test_error_of_the_user_is_one_line_and_code_2(capsys, monkeypatch, kind):
    verb_that_raises(monkeypatch, kind("image a.jpg is empty"))
    assert call(capsys, "models") == (2, "", "rtmdet-lab models: image a.jpg is empty\n")


def test_ctrl_c_is_code_130_without_a_traceback(capsys, monkeypatch):
    verb_that_raises(monkeypatch, KeyboardInterrupt())
    code, _, err = call(capsys, "models")
    assert code == 130
    assert err.strip() == "rtmdet-lab models: stopped"


def test_stop_by_the_batch_system_is_code_143(capsys, monkeypatch):
    verb_that_raises(monkeypatch, TrainingInterrupted("stopped in epoch 1", 15))
    code, _, err = call(capsys, "models")
    assert code == 143
    assert err.strip() == "rtmdet-lab models: stopped in epoch 1"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_any_verb_with_a_sentence_and_its_code(capsys, monkeypatch, signum):
    before = signal.getsignal(signum)

    def run(_):
        os.kill(os.getpid(), signum)
        time.sleep(10)

    monkeypatch.setattr(models, "run", run)
    code, _, err = call(capsys, "models")
    assert code == 128 + signum
    assert err.strip() == f"rtmdet-lab models: stopped by {signum.name}"
    assert signal.getsignal(signum) == before


def test_closed_terminal_that_nohup_ignores_stays_ignored(capsys, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(models, "run", lambda _: os.kill(os.getpid(), signal.SIGHUP))
        assert call(capsys, "models")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_bug_keeps_its_traceback(monkeypatch):
    verb_that_raises(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main(["models"])


def test_unknown_model_in_a_process_of_its_own_is_one_line_and_code_2():
    code, out, err = finished("models", "rtmdet-tny")
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert "did you mean 'rtmdet-tiny'?" in err


@pytest.mark.slow
def test_reader_that_goes_away_is_no_error():
    child = process("models", "rtmdet-nano")
    child.stdout.close()  # as `| head -0` does
    err = child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=120) == 0
    assert "BrokenPipe" not in err
    assert "Traceback" not in err


LONG = "n" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "check", LONG, LONG),
        ("data", "generate", LONG),
        ("data", "split", LONG, LONG, "out"),
        ("report", "kernel_size", "--results", LONG, "--out", LONG),
        ("sweep", f"{LONG}.py"),
        ("browse", LONG, "--no-app"),
        ("notebook", f"{LONG}.ipynb"),
    ],
    ids=lambda arguments: " ".join(arguments[:2])[:20],
)
def test_path_that_no_file_system_takes_is_a_sentence(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"rtmdet-lab {arguments[0]}: ")
    assert LONG[:50] in line


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_standard_output_is_a_sentence():
    command = [sys.executable, "-m", "rtmdet_lab.cli", "models"]
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert "No space left on device" in ended.stderr


@pytest.mark.slow
def test_terminal_without_the_letters_of_a_name_shows_them_as_numbers(tmp_path):
    command = [sys.executable, "-m", "rtmdet_lab.cli", "data", "check", str(tmp_path), "\u732b.json"]
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=plain)
    assert ended.returncode == 2
    assert ended.stderr == "rtmdet-lab data: no annotation file \\u732b.json: the file does not exist\n"


def test_memory_that_cannot_be_had_is_a_sentence(capsys, monkeypatch, tmp_path):
    def run(args):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("rtmdet_lab.cli.models.run", run)
    assert main(["models"]) == 2
    assert "memory of the machine is not enough (Unable to allocate 9 TiB)" in capsys.readouterr().err
