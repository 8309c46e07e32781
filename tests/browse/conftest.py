from __future__ import annotations

import pytest
from made_database import MISSING, REASON, used_here


@pytest.fixture(scope="package")
def database():
    """A database of its own for this process's FiftyOne; the address."""
    if MISSING:
        pytest.skip(REASON)
    with used_here() as address:
        yield address
