"""One of the processes that :mod:`rtmdet_lab.engine.processes` starts: ``-m rtmdet_lab.experiment.launch work.json``."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from rtmdet_lab.config.overrides import from_dict
from rtmdet_lab.core.distributed import process_group
from rtmdet_lab.core.errors import UserError
from rtmdet_lab.core.files import read_json
from rtmdet_lab.engine.events import EventLines
from rtmdet_lab.engine.interrupt import TrainingInterrupted
from rtmdet_lab.experiment.run import run


def main(path: Path) -> int:
    """Does the work of a file and returns the exit code; what went wrong is told as an event."""
    work = read_json(path, "work file")
    config = from_dict(work.pop("config"))
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        work["resume"] = "auto"
    events = EventLines()
    first = int(os.environ.get("RANK", 0)) == 0  # known after the processes have parted, too
    try:
        with process_group():
            run(config, work.pop("out_dir"), reporter=events, **work)
            if first:
                events.tell("done")
        return 0
    except UserError as error:
        events.tell("refused", kind=_kind(error), message=str(error))
        return 2
    except TrainingInterrupted as error:
        if first:
            events.tell("interrupted", message=str(error), signum=error.exit_code - 128)
        return error.exit_code
    except Exception as error:  # told, because a process that just ends is started again
        traceback.print_exc()
        events.tell("broke", message=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        return 1


def _kind(error: UserError) -> str:
    """Returns the first class of :mod:`rtmdet_lab.core.errors` that the error is one of."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "rtmdet_lab.core.errors")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
