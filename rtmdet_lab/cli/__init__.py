"""The ``rtmdet-lab`` command: one module per verb, imported only when that verb is called."""

from rtmdet_lab.cli.main import main

__all__ = ["main"]
