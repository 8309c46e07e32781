"""Calls of the ``rtmdet-lab`` command, in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from made_sets import assert_one_sentence, tiny_arguments

from rtmdet_lab.cli.main import main

COMMAND = [sys.executable, "-m", "rtmdet_lab.cli"]


def call(capsys, *arguments) -> tuple[int, str, str]:
    """Returns (exit code, standard output, standard error) of a call in this process."""
    capsys.readouterr()
    try:
        code = main([str(one) for one in arguments])
    except SystemExit as stop:  # argparse ends the process itself
        code = stop.code
    output = capsys.readouterr()
    return code, output.out, output.err


def fails(capsys, *arguments, words=(), code=2) -> str:
    """Returns the one line on standard error with which a call ends."""
    found, out, err = call(capsys, *arguments)
    assert found == code, (out, err)
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith(f"rtmdet-lab {arguments[0]}: ")
    return assert_one_sentence(lines[0], *words)


def environment() -> dict[str, str]:
    """Returns an environment in which a tiny training does not fight over cores."""
    kept = {name: value for name, value in os.environ.items() if name not in ("JPY_SESSION_NAME", "VSCODE_PID")}
    return kept | {"OMP_NUM_THREADS": "1"}


def process(*arguments, **options) -> subprocess.Popen:
    command = [*COMMAND, *(str(one) for one in arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment(), **(pipes | options))


def finished(*arguments, timeout: float = 120) -> tuple[int, str, str]:
    """Returns (exit code, standard output, standard error) of a call in a process of its own."""
    child = process(*arguments)
    try:
        out, err = child.communicate(timeout=timeout)
    finally:
        if child.poll() is None:
            child.kill()
    return child.returncode, out, err


def train_arguments(data: Path, out: Path, **changes) -> list:
    return [
        "train",
        "--model",
        "rtmdet-nano",
        "--data",
        data,
        "--out",
        out,
        "--device",
        "cpu",
        "--set",
        *tiny_arguments(**changes),
    ]
