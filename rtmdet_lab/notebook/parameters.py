"""What every notebook begins and ends with: parameters checked by name and type, figures kept as files."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdet_lab.core.errors import SettingError, SettingTypeError, UnknownNameError, did_you_mean
from rtmdet_lab.core.escaping import for_file_name, for_table
from rtmdet_lab.core.outputs import write_output
from rtmdet_lab.core.shipped import checkout
from rtmdet_lab.experiment.old_names import OLD_NAMES

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib.figure import Figure

DECLARED = "# parameters"  # first line of a notebook's own parameters cell
INJECTED = "# Parameters"  # first line of the cell papermill adds after it


def check_parameters(cells: Sequence[str] | None = None) -> dict[str, Any]:
    """Returns the notebook's parameters after comparing what papermill injected with what the notebook declares.

    Papermill itself only warns about a misspelt name and passes ``-p flag false`` on as text; both would be found out
    after hours, or never. A whole number may stand for a float; a parameter declared None takes anything.

    Args:
        cells: sources of the cells run so far; by default those of the running kernel.

    In a kernel, a default path that begins with ``../`` is made one of the folder :func:`home`, wherever the kernel runs.

    Raises:
        UnknownNameError: an injected name that is not declared; the nearest is suggested.
        SettingTypeError: an injected value of another type than the declared one.
        SettingError: the notebook has no parameters cell.
    """
    running = cells is None
    if cells is None:
        cells = _executed_cells()
        show_tables_plain(sys.modules["IPython"].get_ipython())
    declared = [cell for cell in cells if cell.lstrip().startswith(DECLARED)]
    injected = [cell for cell in cells if cell.lstrip().startswith(INJECTED)]
    if not declared:
        raise SettingError(f"this notebook has no parameters cell: its first line must be {DECLARED!r}")
    known = _assignments(declared[-1])
    given = _assignments(injected[-1]) if injected else {}
    renamed = {OLD_NAMES[name]: given.pop(name) for name in OLD_NAMES if name in given and name not in known}
    given |= renamed
    for name, value in given.items():
        if name not in known:
            hint = f"{did_you_mean(name, known)} this notebook has {', '.join(known)}".lstrip()
            raise UnknownNameError(f"no parameter {name!r}: {hint}")
        _check_type(name, value, known[name])
    defaults = {name: default_path(value) for name, value in known.items() if _leads_up(value)} if running else {}
    defaults = {name: value for name, value in defaults.items() if name not in given}
    if running and (changed := defaults | renamed):
        sys.modules["IPython"].get_ipython().user_ns.update(changed)
    return known | defaults | given


def home() -> Path:
    """Returns the folder in which notebooks keep ``data/`` and ``runs/``: the checkout's.

    Where the package was installed without one: the folder above a ``notebooks`` folder, else the one the kernel runs in.
    """
    here = Path.cwd()
    return checkout() or (here.parent if here.name == "notebooks" else here)


def default_path(path: str) -> str:
    """Returns a path that begins with ``../``, as seen from the notebooks, as seen from where the kernel runs."""
    return os.path.relpath(home() / path.removeprefix("../"))


def _leads_up(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("../")


def show_tables_plain(shell: InteractiveShell) -> None:
    """Has a notebook show pandas' tables as text: pandas escapes HTML itself, but no formulas and no control characters."""

    def plain(frame: Any) -> Any:
        shown = frame.map(for_table) if hasattr(frame, "map") else frame.applymap(for_table)
        return shown.rename(index=for_table, columns=for_table)

    shapes = {
        "text/html": lambda frame: plain(frame)._repr_html_(),
        "text/plain": lambda frame, printer, _: printer.text(repr(plain(frame))),
    }
    formatter = shell.display_formatter
    if formatter is None:  # a shell that shows nothing
        return
    for kind, shape in shapes.items():
        for module in ("pandas", "pandas.core.frame"):  # since pandas 3, and before
            formatter.formatters[kind].for_type_by_name(module, "DataFrame", shape)


def _executed_cells() -> list[str]:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        raise SettingError("check_parameters() belongs into a notebook: pass the cells to use it elsewhere")
    return list(shell.user_ns.get("In", []))


def _assignments(cell: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        statements = ast.parse(cell).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, SyntaxError) else type(error).__name__
        raise SettingError(
            f"the parameters cell is no Python that can be read ({where}): write NAME = VALUE lines"
        ) from None
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            values[statement.targets[0].id] = _value(statement.value)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            values[statement.target.id] = _value(statement.value)
    return values


def _value(node: ast.expr) -> Any:
    """Returns the value of a literal or of float("inf"), as papermill writes infinities and NaN; None for other code."""
    try:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float" and node.args:
            return float(ast.literal_eval(node.args[0]))
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError):
        return None


def _check_type(name: str, value: Any, default: Any) -> None:
    if default is None or type(value) is type(default):
        return
    if isinstance(default, float) and type(value) is int:
        return
    shown = f"the text {value!r}" if isinstance(value, str) else f"{value!r}"
    hint = ""
    if isinstance(default, bool):
        hint = ": write True or False"
    elif isinstance(default, (list, dict)):
        hint = f': pass it as YAML, for example -y "{name}: {default!r}"'
    raise SettingTypeError(f"parameter {name!r} takes {_kind(default)}, got {shown}{hint}")


def _kind(default: Any) -> str:
    kinds = {bool: "True or False", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return kinds.get(type(default), type(default).__name__)


def keep_figure(figure: Figure, folder: str | Path, name: str) -> Figure:
    """Writes a figure as ``folder/name.png`` and returns it, so that the cell also shows it.

    Raises:
        StorageError: that file is not the figure that was last written there, or cannot be written.
    """
    import matplotlib.pyplot as plt

    path = Path(folder) / f"{for_file_name(name)}.png"
    write_output(path, "figure of a notebook", lambda file: figure.savefig(file, format="png", dpi=130, facecolor="white"))
    plt.close(figure)  # the cell displays what is returned; an open figure would be shown twice
    return figure
