"""One run of a sweep: its notebook through papermill, alone in its folder, again if it fails.

Started as ``python -m rtmdet_lab.experiment.sweep.worker RUN.json`` by whatever distributes the runs. Exit codes: 0 done
(now or before), 1 failed, 3 another worker has it, 143 stopped by SIGTERM or by the end of what started it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from rtmdet_lab.core.errors import DataError, SettingError, UserError
from rtmdet_lab.core.escaping import for_terminal, say
from rtmdet_lab.core.files import write_atomic, write_json
from rtmdet_lab.core.shipped import shipped_folder
from rtmdet_lab.experiment.sweep.plan import DONE_NAME, NOTEBOOK_NAME, RunOrder, finished_record, read_order, written_record
from rtmdet_lab.experiment.sweep.stopping import STOPPED, KernelStop

DONE, FAILED, TAKEN = 0, 1, 3
LOCK_NAME = ".lock"
LOG_NAME = "worker.log"
ERROR_NAME = "error.txt"


def main(arguments: list[str] | None = None) -> int:
    """Runs the file named in ``arguments``; returns the exit code."""
    (path,) = sys.argv[1:] if arguments is None else arguments
    stop = KernelStop()
    stop.listen()
    stop.follow_parent()
    try:
        return work(read_order(Path(path)), stop)
    except UserError as error:
        say(f"error: {for_terminal(error)}", file=sys.stderr)
        return FAILED


def work(run: RunOrder, stop: KernelStop) -> int:
    """Brings a run to its record, unless it has one or another worker is at it.

    The lock is the operating system's: it goes with the process, however that ends.
    """
    folder = Path(run.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK_NAME)
        lock.acquire(timeout=0)
    except Timeout:
        return TAKEN
    except NotImplementedError:
        say(f"error: {folder} lies on a file system without locks: choose another --out", file=sys.stderr)
        return FAILED
    except OSError as error:
        say(f"error: cannot write into {folder} ({error.strerror}): free space or choose another --out", file=sys.stderr)
        return FAILED
    with lock:
        if finished_record(run) is not None:
            return DONE
        (folder / ERROR_NAME).unlink(missing_ok=True)  # of an earlier sweep
        for attempt in range(run.retries + 1):
            message = _attempt(run, stop)
            if message is None:
                (folder / ERROR_NAME).unlink(missing_ok=True)
                write_json(folder / DONE_NAME, {"attempts": attempt + 1})
                return DONE
            write_atomic(folder / ERROR_NAME, message.encode())
            say(f"{run.name}: {for_terminal(message)}", file=sys.stderr)
            if stop.asked:
                return STOPPED
        return FAILED


def _attempt(run: RunOrder, stop: KernelStop) -> str | None:
    """Executes the notebook once; returns what went wrong, or None. The notebook of a failure stays, beside later ones."""
    import papermill

    folder = Path(run.folder)
    notebook = folder / NOTEBOOK_NAME
    if notebook.exists():  # of a failure, or of a worker that was killed
        number = 1 + len(list(folder.glob("failed-*.ipynb")))
        notebook.rename(folder / f"failed-{number}.ipynb")
    if run.threads:
        os.environ["OMP_NUM_THREADS"] = str(run.threads)  # the kernel inherits it
    source = run_notebook()
    parameters = {
        "experiment": run.source,
        "row": run.row,
        "scale": run.scale,
        "data_dir": run.data_dir,
        "overrides": run.overrides,
        "out_dir": run.folder,
        "seed": run.seed,
        "device": run.device,
    }
    options = {"kernel_name": "python3", "cwd": str(source.parent), "progress_bar": False}
    options["kernel_manager_class"] = stop.manager_class()
    try:
        papermill.execute_notebook(str(source), str(notebook), parameters, **options)
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue} (cell {error.exec_count} of {notebook})"
    except Exception as error:  # a kernel that died, a full disk: the other runs go on
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'} ({notebook})"
    finally:
        stop.manager = None
    if written_record(run) is None:
        return f"the notebook ended without the record of this run in {folder}"
    return None


def run_notebook() -> Path:
    """Returns the notebook that trains one run.

    Raises:
        DataError: it is not there, as where the package lies without its notebooks.
        SettingError: it has no parameters cell.
    """
    import nbformat

    path = shipped_folder("notebooks") / "30_train.ipynb"
    if not path.is_file():
        raise DataError(f"notebook {path} does not exist: install the package with its notebooks, or use a checkout")
    cells = nbformat.read(path, as_version=4).cells
    if not any("parameters" in cell.metadata.get("tags", []) for cell in cells):
        raise SettingError(f"notebook {path} has no parameters cell: tag the cell that declares them 'parameters'")
    return path


if __name__ == "__main__":
    sys.exit(main())
