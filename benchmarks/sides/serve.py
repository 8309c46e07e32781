"""The loop both sides run: told to by a line on standard input, they do one turn and answer how long it took.

Only the standard library: the published implementation's Python has none of ours.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Turn = Callable[[], Any]
Setup = Callable[[Path, dict[str, Any]], Turn]  # (folder of the case, its settings) -> one turn


def serve(setups: dict[str, Setup], save: Callable[[Path, Any], None]) -> None:
    """Runs one side: ``FOLDER FILE``, the case's folder and where the arrays of the first turn go.

    Standard output carries answers, one JSON object a line; whatever the libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    folder, result = Path(sys.argv[1]), Path(sys.argv[2])
    case = json.loads((folder / "case.json").read_text())
    turn = setups[case["kind"]](folder, case)
    before = peak_mb()
    save(result, turn())
    print(json.dumps({"peak_mb": peak_mb() - before}), file=answers)
    for _ in sys.stdin:
        gc.collect()
        begin = time.perf_counter()
        turn()
        print(json.dumps({"seconds": time.perf_counter() - begin}), file=answers)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
