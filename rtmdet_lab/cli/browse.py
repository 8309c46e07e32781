"""Opens what runs found in FiftyOne's App: pictures, annotations, mistakes; views of the worst are ready."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import for_terminal, say

if TYPE_CHECKING:
    from rtmdet_lab.browse.dataset import Progress
    from rtmdet_lab.browse.source import Source

EXAMPLES = """examples:
  rtmdet-lab browse runs/first
  rtmdet-lab browse runs/k5 runs/k7 --no-open
  rtmdet-lab browse runs/first --images moved/val --annotations moved/instances_val.json
  rtmdet-lab browse --predictions found.json --images COCO/val2017 \\
      --annotations COCO/annotations/instances_val2017.json --classes person

The App runs until Ctrl-C and answers this machine alone. From elsewhere: ssh -N -L 5151:127.0.0.1:5151 THIS_MACHINE,
then open the printed address there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="run folders, on the same validation set")
    parser.add_argument("--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="detections without a run")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of the set (where the runs had it)")
    parser.add_argument(
        "--annotations", type=Path, metavar="FILE", help="COCO file, or folder of DOTA label files (where the runs had it)"
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="with --predictions: look at these alone")
    parser.add_argument("--name", help="of the data set in FiftyOne (that of the data)")
    parser.add_argument("--port", type=int, metavar="N", help="of the App (5151, or the next free one)")
    parser.add_argument("--no-open", action="store_true", help="print the address, open no browser")
    parser.add_argument(
        "--save-edits", type=Path, metavar="PATH", help="write the annotations with what was changed in the App, and end"
    )
    parser.add_argument("--no-app", action="store_true", help="put the data set into FiftyOne and end")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from rtmdet_lab.analysis.label_issues import find_label_issues
    from rtmdet_lab.browse.app import SHARED, address_of, asks_for_password, choose_port, launch
    from rtmdet_lab.browse.dataset import put
    from rtmdet_lab.browse.label_issues import save_label_issues
    from rtmdet_lab.browse.saved_views import ALL

    if not args.runs and not args.predictions:
        raise SettingError("nothing to browse: name run folders, or --predictions with --images and --annotations")
    if args.predictions and not (args.images and args.annotations):
        raise SettingError("--predictions needs --images and --annotations: a file of detections does not say what on")
    # Before the work, so that a port in use costs nothing.
    port = None if args.no_app or args.save_edits else choose_port(args.port)
    sources = _read(args)
    dataset, notes = put(sources, args.name, _shown_progress())
    for note in notes:
        say(f"note: {for_terminal(note)}", file=sys.stderr)
    for source in sources:
        if sys.stderr.isatty():
            say(f"looking for label issues with {source.name}", file=sys.stderr)
        save_label_issues(dataset, source, find_label_issues(source.errors))
    rows = [_counts(source) for source in sources]
    say(f"data set {dataset.name!r}: {len(dataset)} images")
    print_table(rows)
    result = {"data_set": dataset.name, "images": len(dataset), "runs": rows, "views": dataset.list_saved_views()}
    if args.save_edits:
        from rtmdet_lab.browse.edits import write_edits

        path, count = write_edits(dataset, sources, args.save_edits)
        say(f"{count} corrections: {path}")
        result |= {"corrections": count, "corrected": str(path)}
    if port is None:
        write_result(args, result)
        return
    session = launch(dataset, port, open_browser=not args.no_open)
    views = {name: address_of(dataset, port, name) for name in dataset.list_saved_views()}
    if not asks_for_password():
        say(SHARED, file=sys.stderr)
    say("\n".join(["", *(f"{name}: {address}" for name, address in views.items())]))
    say(f"\nApp: {views[ALL]}   (Ctrl-C ends it, the data set stays)")
    write_result(args, result | {"app": views[ALL], "view_addresses": views})
    session.wait(-1)


def _read(args: argparse.Namespace) -> list[Source]:
    from rtmdet_lab.browse.runs import read_predictions, read_run

    sources = [read_run(folder, args.images, args.annotations) for folder in args.runs]
    return sources + [read_predictions(file, args.images, args.annotations, args.classes) for file in args.predictions]


def _counts(source: Source) -> dict[str, object]:
    """Returns how many detections of each kind a run has, and how many objects it missed."""
    from collections import Counter

    from rtmdet_lab.analysis.errors import KINDS
    from rtmdet_lab.browse.match_results import KIND

    kinds = Counter(kind for rows in source.rows for kind in rows.detections[KIND])
    missed = sum(int(rows.missed.sum()) for rows in source.rows)
    objects = sum(len(pair.truth) for pair in source.pairs)
    return {"run": source.name, "objects": objects, "missed": missed, **{kind: kinds[kind] for kind in KINDS}}


def _shown_progress() -> Progress:
    """Returns what shows a bar while images are put into the data set, in a terminal."""
    from tqdm import tqdm

    bar = tqdm(unit="image", desc="into FiftyOne", disable=not sys.stderr.isatty(), leave=False)

    def show(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return show
