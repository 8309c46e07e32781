"""Where the notebooks and the experiments are: beside the package in a checkout, else where its wheel put them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_IN_WHEEL = "share/rtmdet-lab"  # under the environment's own folder; pyproject.toml names the same


def checkout() -> Path | None:
    """Returns the folder of the checkout this code runs from, None where it was installed from a wheel."""
    return CHECKOUT if (CHECKOUT / "pyproject.toml").is_file() and (CHECKOUT / "notebooks").is_dir() else None


def shipped_folder(name: str) -> Path:
    """Returns the folder "notebooks" or "experiments"; it may not exist, where an installation left it out."""
    if checkout() is not None:
        return CHECKOUT / name
    try:
        files = importlib.metadata.files("rtmdet-lab") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.parent.as_posix().endswith(f"{_IN_WHEEL}/{name}"):
            return Path(str(file.locate())).resolve().parent
    return CHECKOUT / name
