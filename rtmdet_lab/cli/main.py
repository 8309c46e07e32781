"""Entry point of ``rtmdet-lab``: verbs, common options, and errors as one sentence."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence

from rtmdet_lab.cli.common import check_outputs
from rtmdet_lab.core.children import ending_in_order
from rtmdet_lab.core.errors import UserError, as_sentence
from rtmdet_lab.core.escaping import for_terminal, say

# verb -> (module with add_arguments(parser) and run(args), one line of help)
VERBS = {
    "models": ("rtmdet_lab.cli.models", "list models and published weights, or describe one model"),
    "train": ("rtmdet_lab.cli.train", "train a model and leave a record of the run"),
    "eval": ("rtmdet_lab.cli.evaluate", "score a checkpoint on an annotated set"),
    "predict": ("rtmdet_lab.cli.predict", "detect objects in images and draw them"),
    "export": ("rtmdet_lab.cli.export", "write a model for another runtime and compare it there"),
    "settings": ("rtmdet_lab.cli.settings", "list what --set takes, with meaning and default"),
    "notebook": ("rtmdet_lab.cli.notebook", "run a notebook unattended, with parameters"),
    "sweep": ("rtmdet_lab.cli.sweep", "train every row of a table with every seed, or what is missing of it"),
    "report": ("rtmdet_lab.cli.report", "compare the published tables with what is built here"),
    "browse": ("rtmdet_lab.cli.browse", "look at what runs found and missed in FiftyOne's App"),
    "data": ("rtmdet_lab.cli.data", "generate a data set, or check one for damage"),
}
USAGE_ERROR = 2


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the parsed call, with ``run`` set to the verb's function; ends the program where it is not understood."""
    parser = argparse.ArgumentParser(
        prog="rtmdet-lab",
        description="A workbench for the RTMDet detector: train, score, compare, look.",
        epilog="`rtmdet-lab VERB --help` explains a verb, with examples.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for verb, (module, help_line) in VERBS.items():
        # Only the verb that is called is imported: help and typing errors stay instant.
        called = bool(arguments) and arguments[0] == verb
        if called:
            implementation = importlib.import_module(module)
            verb_parser = verbs.add_parser(
                verb,
                help=help_line,
                description=implementation.__doc__,
                epilog=getattr(implementation, "EXAMPLES", None),
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            implementation.add_arguments(verb_parser)
            verb_parser.set_defaults(run=implementation.run)
        else:
            verbs.add_parser(verb, help=help_line)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit code: 0 done, 1 problems found, 2 a mistake in the call or input, 128 + signal."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without the letters of a name shows them as numbers
            stream.reconfigure(errors="backslashreplace")
    args = read_arguments(list(sys.argv[1:] if arguments is None else arguments))
    try:
        with _warnings_in_one_line(args.verb), ending_in_order():
            check_outputs(args)
            code = args.run(args) or 0
            sys.stdout.flush()  # a full disk shows here, not in a trace at the end of the program
            return code
    except UserError as error:
        say(f"rtmdet-lab {args.verb}: {as_sentence(error)}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt as error:
        say(f"\nrtmdet-lab {args.verb}: {for_terminal(error) or 'stopped'}", file=sys.stderr)
        return getattr(error, "exit_code", 130)
    except BrokenPipeError:  # the reader of a pipe went away, for example `| head`
        _end_output()
        return 0
    except OSError as error:  # of a path that no reader has looked at: too long, not to be entered, on a disk that fails
        say(f"rtmdet-lab {args.verb}: {as_sentence(_StorageTrouble(error))}", file=sys.stderr)
        if error.filename is None:
            _end_output()
        return USAGE_ERROR
    except MemoryError as error:
        wanted = f" ({for_terminal(error)})" if str(error) else ""
        say(f"rtmdet-lab {args.verb}: the memory of the machine is not enough{wanted}: lower batch or size", file=sys.stderr)
        return USAGE_ERROR


class _StorageTrouble(UserError):
    """An error of the operating system as a sentence: what, where, what to do."""

    def __init__(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        if error.filename is None:
            super().__init__(f"cannot write what it prints ({reason}): free some space, or print elsewhere")
        else:
            super().__init__(f"cannot use {os.fsdecode(error.filename)} ({reason}): name another path, or mend that one")


def _end_output() -> None:
    """Has what is still to be printed go nowhere, so that the end of the program does not try again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _warnings_in_one_line(verb: str) -> Iterator[None]:
    """Shows warnings as sentences, without the line of code that gave them."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_: f"rtmdet-lab {verb}: {for_terminal(message)}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before
