"""Many notebooks one after the other: none may leave a process behind. Part of `make soak`.

    python tests/faults/soak_notebooks.py --runs 200

Every tenth has an error in it. Ends with exit code 1 where a process, an open file or a thread is left.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
import psutil
from tqdm.auto import tqdm

IMPORTS = "import torch\nfrom rtmdet_lab import ExperimentConfig"
# A loader process that the kernel does not end itself.
WORK = "loader = iter(torch.utils.data.DataLoader(list(range(8)), num_workers=1))\nassert int(next(loader)) == 0"


def write_notebook(path: Path, breaks: bool) -> None:
    cells = ["seed = 0", IMPORTS, WORK, *(["1 / 0"] if breaks else [])]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(notebook, path)


def left_behind(seconds: float = 20) -> list[str]:
    """Returns the processes that this one still has after so long."""
    processes = psutil.Process().children(recursive=True)
    return [" ".join(process.cmdline()[:6]) for process in psutil.wait_procs(processes, timeout=seconds)[1]]


def held() -> tuple[int, int]:
    """Returns the open files and the threads of this process."""
    gc.collect()
    return psutil.Process().num_fds(), psutil.Process().num_threads()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    args = parser.parse_args(arguments)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    begin, first = time.monotonic(), None
    with tempfile.TemporaryDirectory() as folder:
        for breaks in (False, True):
            write_notebook(Path(folder) / f"{breaks}.ipynb", breaks)
        for number in tqdm(range(1, args.runs + 1), unit="notebook", mininterval=10):
            breaks = number % 10 == 0
            source, target = Path(folder) / f"{breaks}.ipynb", Path(folder) / "run.ipynb"
            with contextlib.suppress(papermill.PapermillExecutionError) if breaks else contextlib.nullcontext():
                papermill.execute_notebook(source, target, {"seed": number}, progress_bar=False)
            left = left_behind()
            if left:
                print(f"notebook {number} left {left}")
                return 1
            if number == min(10, args.runs):
                first = held()
    last = held()
    print(f"{args.runs} notebooks in {time.monotonic() - begin:.0f} s left no process")
    print(f"open files and threads of this one: {first}, at the end {last}")
    if last[0] > first[0] + 8 or last[1] > first[1]:
        print("open files or threads grew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
