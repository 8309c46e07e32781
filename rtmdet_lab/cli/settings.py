"""Lists the settings that --set takes: what each means, what it takes, and what it is when left alone."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap

from rtmdet_lab.cli.common import add_json, write_result
from rtmdet_lab.core.errors import UnknownNameError, did_you_mean
from rtmdet_lab.core.escaping import say

EXAMPLES = """examples:
  rtmdet-lab settings
  rtmdet-lab settings train.
  rtmdet-lab settings mosaic ema"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help="settings alone whose name or meaning holds one of these (all)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from rtmdet_lab.config.describe import descriptions

    known = descriptions()
    words = [word.lower() for word in args.words]
    chosen = [
        one for one in known.values() if not words or any(word in f"{one.name} {one.meaning}".lower() for word in words)
    ]
    if not chosen:
        hint = f"{did_you_mean(args.words[0], known)} `rtmdet-lab settings` lists all".lstrip()
        raise UnknownNameError(f"no setting {args.words[0]!r}: {hint}")
    for setting in chosen:
        say(f"{setting.name}: {setting.values}")
        source = f" [{setting.source}]" if setting.source else ""
        for line in (setting.meaning + source, f"default: {setting.default}"):
            say(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="    "))
    write_result(args, {"settings": [dataclasses.asdict(setting) for setting in chosen]})
