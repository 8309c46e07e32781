from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from made_database import MISSING, REASON, used_here


@pytest.fixture(scope="package")
def database():
    """A database of its own for this process's FiftyOne; the address."""
    if MISSING:
        pytest.skip(REASON)
    with used_here() as address:
        yield address
