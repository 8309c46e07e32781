"""Runs a notebook unattended through papermill; Ctrl-C saves its training, and the same command goes on."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Any

from rtmdet_lab.cli.common import parse_overrides
from rtmdet_lab.core.errors import DataError, SettingError, UnknownNameError, did_you_mean
from rtmdet_lab.core.escaping import say
from rtmdet_lab.core.outputs import remember_output, require_output

EXECUTED = "executed notebook"

EXAMPLES = """examples:
  rtmdet-lab notebook
  rtmdet-lab notebook 00_quickstart quickstart.ipynb -p epochs 12
  rtmdet-lab notebook 30_train k7.ipynb -p model rtmdet-tiny -p out_dir runs/k7 \\
      -y "{overrides: {model.kernel_size: 7, train.epochs: 24}}"

It is `papermill NOTEBOOK OUT` with the notebooks that came with this package; paths that are given count from here."""
INTERRUPTED = 128 + signal.SIGINT


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a notebook of this package or a path (without it: lists them)")
    parser.add_argument("out", nargs="?", type=Path, help="where the executed notebook goes")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a parameter")
    parser.add_argument("-y", action="append", default=[], metavar="YAML", help="parameters as a YAML mapping")


def run(args: argparse.Namespace) -> int:
    import papermill

    from rtmdet_lab.experiment.sweep.stopping import KernelStop

    if args.name is None:
        return _list()
    source = find_notebook(args.name)
    if args.out is None or args.out.is_dir():
        raise SettingError(f"name the file of the executed notebook: rtmdet-lab notebook {args.name} {source.stem}.ipynb")
    if args.out.resolve() == source.resolve():
        raise SettingError(f"{args.out} is the notebook itself: give the executed one another name")
    require_output(args.out, EXECUTED)
    parameters = given_parameters(args.p, args.y)
    stop = KernelStop()
    stop.listen(signal.SIGINT, signal.SIGTERM)
    options: dict[str, Any] = {
        "kernel_name": "python3",
        "language": "python",
        "progress_bar": False,
        "kernel_manager_class": stop.manager_class(),
    }
    options |= {"stdout_file": sys.stdout, "stderr_file": sys.stderr}
    try:
        papermill.execute_notebook(str(source), str(args.out), parameters, **options)
    except papermill.PapermillExecutionError as error:
        if not stop.asked:
            raise DataError(f"{error.ename}: {error.evalue} (cell {error.exec_count} of {args.out})") from None
    except Exception as error:  # a kernel that was ended, or that died
        if not stop.asked:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{source.name} stopped ({reason}): {args.out} holds what was done") from error
    finally:
        remember_output(args.out, EXECUTED)
    if stop.asked:
        raise KeyboardInterrupt("stopped; a training has saved its state, and the same command goes on where it ended")
    say(f"executed notebook: {args.out}")
    return 0


def find_notebook(name: str) -> Path:
    """Returns the notebook of that name or path.

    Raises:
        UnknownNameError: there is none; the nearest name is suggested.
    """
    from rtmdet_lab.core.shipped import shipped_folder

    path = Path(name)
    if path.suffix == ".ipynb" and path.is_file():
        return path
    folder = shipped_folder("notebooks")
    if (folder / f"{path.stem}.ipynb").is_file() and path.parent in (Path(), Path("notebooks")):
        return folder / f"{path.stem}.ipynb"
    known = sorted(path.stem for path in folder.glob("*.ipynb"))
    raise UnknownNameError(f"no notebook {name!r}: {did_you_mean(name, known)} known are {', '.join(known) or 'none'}")


def given_parameters(pairs: list[list[str]], mappings: list[str]) -> dict[str, Any]:
    """Returns the parameters of ``-y`` and, on top of them, ``-p``.

    Raises:
        SettingError: text that is no YAML mapping.

    >>> given_parameters([["epochs", "2"], ["model", "rtmdet-s"]], ["{overrides: {train.lr: 0.1}}"])
    {'overrides': {'train.lr': 0.1}, 'epochs': 2, 'model': 'rtmdet-s'}
    """
    import yaml

    parameters: dict[str, Any] = {}
    for text in mappings:
        try:
            mapping = yaml.safe_load(text)
        except yaml.YAMLError:
            mapping = None
        if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping):
            raise SettingError(f'-y {text!r} is no YAML mapping: write it as -y "{{name: value}}"')
        parameters |= mapping
    return parameters | parse_overrides([f"{name}={value}" for name, value in pairs])


def _list() -> int:
    import json

    from rtmdet_lab.core.shipped import shipped_folder

    for path in sorted(shipped_folder("notebooks").glob("*.ipynb")):
        title = "".join(json.loads(path.read_text())["cells"][0]["source"]).splitlines()[0].removeprefix("# ")
        say(f"{path.stem:24}  {title}")
    return 0
