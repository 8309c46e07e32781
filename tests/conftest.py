"""The one fixture every folder of tests may need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Processes that tests start import what tests import.
SUPPORT = str(Path(__file__).parent / "support")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SUPPORT, os.environ.get("PYTHONPATH")]))


@pytest.fixture
def real_data(record_property) -> Path:
    """The folder of real images, annotations and weights; the test is skipped where there is none."""
    folder = os.environ.get("RTMDET_LAB_DATA")
    if not folder:
        pytest.skip("RTMDET_LAB_DATA is not set: it names the folder with coco-mini/, dota-sample/ and checkpoints/")
    record_property("real_data", folder)  # .ci/require_real_data.py counts these
    return Path(folder)
