"""Servers that this project starts answer this machine alone, and JupyterLab keeps its token, unless asked otherwise."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lab_arguments(*given: str) -> list[str]:
    """Returns the arguments that `make lab` gives to jupyter."""
    done = subprocess.run(["make", "-n", "lab", *given], cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = (line for line in done.stdout.splitlines() if "jupyter lab" in line)
    return shlex.split(line)[2:]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("given", "address"), [((), "127.0.0.1"), (("LAB_IP=0.0.0.0",), "0.0.0.0")])
def test_make_lab_answers_this_machine_alone_unless_asked_and_always_wants_a_token(tmp_path, monkeypatch, given, address):
    from jupyter_server.serverapp import ServerApp

    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    # A user's configuration that opens the server to everyone: the address on the command line counts.
    (tmp_path / "jupyter_server_config.py").write_text("c.ServerApp.ip = '0.0.0.0'\n")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(ServerApp, "init_httpserver", lambda self: None)
    server = ServerApp()
    arguments = [one for one in lab_arguments(*given) if one.startswith("--ip")]
    server.initialize(argv=[*arguments, "--allow-root"], find_extensions=False)
    assert server.ip == address
    assert len(server.identity_provider.token) >= 32


def test_no_command_of_the_project_turns_a_token_or_password_off():
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = kept.stdout.split() if kept.returncode == 0 else ["Makefile", "README.md"]
    own = str(Path(__file__).relative_to(ROOT))
    for name in names:
        path = ROOT / name
        if name == own or not path.is_file() or path.suffix in (".jpg", ".png", ".npz"):
            continue
        found = re.search(
            r"(token|password)\s*=\s*(''|\"\"|$)|disable_check_xsrf|allow_origin", path.read_text(errors="ignore")
        )
        assert found is None, f"{name}: {found.group()}"
