"""What several verbs share: options, tables for people, results for programs."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import for_terminal, say
from rtmdet_lab.core.outputs import require_output, write_json_output, write_output

SIZE_HELP = "side of the square input (the tile, or what the weights were trained at)"

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the result to FILE as JSON")


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto (the GPU where there is one), cpu or cuda")


def add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="of the network (fp32)")
    parser.add_argument("--compile", action="store_true", help="translate the network first: a minute, for many images")


def add_model_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", required=True, metavar="WEIGHTS", help="path, run folder, URL or published name")
    add_naming(parser)


def add_naming(parser: argparse.ArgumentParser) -> None:
    """Adds what says which model and which classes weights are of, where they do not tell."""
    parser.add_argument("--model", metavar="NAME", help="model name, where the weights do not tell it")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="look for these classes of the weights alone (all)")
    parser.add_argument(
        "--class-names", nargs="+", metavar="NAME", help="what to call the weights' classes, in their order (as they do)"
    )


def add_data_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-bad", choices=("refuse", "skip"), default="refuse", help="damaged images and malformed annotations (refuse)"
    )
    parser.add_argument(
        "--progress", choices=("auto", "bar", "plain", "silent"), default="auto", help="what to show meanwhile (auto)"
    )


def add_setting(parser: argparse._ActionsContainer, name: str, **options: Any) -> None:
    """Adds the option of a setting, such as ``--nms-iou`` of "test.nms_iou", with its meaning as help."""
    from rtmdet_lab.config.describe import descriptions

    setting = descriptions()[name]
    default = setting.default if options.get("default") is None else f"{options['default']:g}"
    meaning = setting.meaning[0].lower() + setting.meaning[1:].rstrip(".")
    if default != "-":
        meaning += f" ({default})"
    parser.add_argument(f"--{name.partition('.')[2].replace('_', '-')}", help=meaning.replace("%", "%%"), **options)


def add_decoding(parser: argparse.ArgumentParser, score_threshold: float | None = None) -> None:
    """Adds the settings of post-processing; the defaults are those behind the published AP of the model's task."""
    from rtmdet_lab.config.settings import INFERENCE

    group = parser.add_argument_group("post-processing (defaults: those behind the published AP of the model's task)")
    group.add_argument("--input-size", type=int, metavar="PIXELS", help=SIZE_HELP)
    add_setting(group, "test.score_threshold", type=float, default=score_threshold, metavar="SCORE")
    add_setting(group, "test.nms_iou", type=float, metavar="IOU")
    add_setting(group, "test.max_per_level", type=int, metavar="N")
    add_setting(group, "test.max_per_image", type=int, metavar="N")
    add_setting(group, "test.batch_size", type=int, default=INFERENCE.batch_size, metavar="N")
    group = parser.add_argument_group("large images, and test-time augmentation (boxes only)")
    group.add_argument(
        "--tile", type=int, metavar="PIXELS", help="cut images into tiles of this side, never shrinking them (DOTA: 1024)"
    )
    add_setting(group, "test.overlap", type=int, default=INFERENCE.overlap, metavar="PIXELS")
    group.add_argument("--tta", action="store_true", help="test-time augmentation as published for the task")
    add_setting(group, "test.tta_scales", type=float, nargs="+", metavar="SCALE")
    add_setting(group, "test.tta_flip", action="store_true", default=None)


def inference_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Returns every setting of inference as a call's options have it, or its default, whatever a checkpoint says.

    An input size of None is for :func:`~rtmdet_lab.engine.load.task_from_checkpoint` to fill in.
    """
    from rtmdet_lab.config.settings import INFERENCE

    given = {name: getattr(args, name, None) for name in vars(INFERENCE)}
    return dict(vars(INFERENCE.changed(given)))


def check_outputs(args: argparse.Namespace, *others: tuple[Path | None, str]) -> None:
    """Raises StorageError, before the work, where a file that a call names for a result would take another one's place.

    Args:
        others: files beside that of ``--json``, each with the kind of result.
    """
    named = [(path, kind) for path, kind in ((getattr(args, "json", None), _kind_of(args)), *others) if path is not None]
    places = [os.path.realpath(path) for path, _ in named]
    for (path, kind), place in zip(named, places, strict=True):
        if places.count(place) > 1 and not place.startswith(("/dev/", "/proc/")):
            raise SettingError(f"{path} is named for more than one result: give each a file of its own")
        require_output(path, kind)


def write_result(args: argparse.Namespace, result: Any) -> None:
    """Writes ``result`` where ``--json`` asks for it."""
    if args.json is not None:
        write_json_output(args.json, _kind_of(args), result)


def _kind_of(args: argparse.Namespace) -> str:
    return " ".join(["result of", *filter(None, (getattr(args, name, None) for name in ("verb", "action")))])


def save_figure(figure: Figure, path: Path, what: str) -> None:
    """Writes a figure in the format its name ends in, and closes it; ``what`` it shows, as for other results."""
    import matplotlib.pyplot as plt
    from matplotlib.backend_bases import FigureCanvasBase

    kind = path.suffix.removeprefix(".").lower()
    if kind not in FigureCanvasBase.get_supported_filetypes():  # of all canvases: MPLBACKEND may name one of few formats
        raise SettingError(f"cannot draw into {path}: give it a name that ends in .png, .jpg, .pdf or .svg")
    write_output(path, what, lambda file: figure.savefig(file, format=kind, dpi=150))
    plt.close(figure)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """Returns settings given as NAME=VALUE; a value that is JSON is taken as such, anything else is text.

    >>> parse_overrides(["model.kernel_size=7", "model.size=tiny", "train.ema=false"])
    {'model.kernel_size': 7, 'model.size': 'tiny', 'train.ema': False}
    """
    overrides: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise SettingError(f"--set {pair!r} is not of the form NAME=VALUE")
        try:
            overrides[name] = json.loads(text)
        except (ValueError, RecursionError):  # not JSON, or a number of thousands of digits
            overrides[name] = {"True": True, "False": False, "None": None}.get(text, text)
    return overrides


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Prints rows as a table: text at the left, numbers at the right with three decimals."""
    if not rows:
        return
    columns = list(columns or rows[0])
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    numeric = [all(isinstance(row.get(column), (int, float, type(None))) for row in rows) for column in columns]
    widths = [max(len(for_terminal(column)), *(len(line[index]) for line in cells)) for index, column in enumerate(columns)]
    for line in [list(map(for_terminal, columns)), ["-" * width for width in widths], *cells]:
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        )
        say("  ".join(padded).rstrip())


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else for_terminal(value)
