"""Generates or converts a data set, cuts large aerial images into windows, or looks for damage, file by file."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.config.tasks import TASKS
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.escaping import for_terminal, say

if TYPE_CHECKING:
    pass

_EXAMPLES = {
    "generate": """\
  rtmdet-lab data generate data/scenes --train 400 --val 100 --size 256
  rtmdet-lab data generate data/few --classes triangle,ring,cross --difficulty 0.2
  rtmdet-lab data generate data/aerial --kind aerial""",
    "check": """\
  rtmdet-lab data check COCO/train2017 COCO/annotations/instances_train2017.json
  rtmdet-lab data check COCO/val2017 COCO/annotations/instances_val2017.json --masks
  rtmdet-lab data check DOTA/train/images DOTA/train/labelTxt""",
    "split": """\
  rtmdet-lab data split DOTA/train/images DOTA/train/labelTxt DOTA/split --workers 4
  rtmdet-lab data split DOTA/train/images DOTA/train/labelTxt DOTA/ms --overlap 500 --scales 0.5,1,1.5
  rtmdet-lab data split DOTA/test/images - DOTA/test-windows
(the first is the split of the published rotated models, the second their multi-scale one)""",
    "hrsc": """\
  rtmdet-lab data hrsc HRSC2016/Annotations data/hrsc/train/labelTxt --list HRSC2016/ImageSets/train.txt \\
      --images HRSC2016/AllImages""",
}
EXAMPLES = "examples:\n" + "\n".join(_EXAMPLES.values())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    text = "Draws a data set, the same for the same seed."
    generate = _action(actions, "generate", "draw a data set", text)
    generate.add_argument("folder", type=Path)
    generate.add_argument(
        "--kind",
        choices=sorted({facts.generated for facts in TASKS.values()}, reverse=True),
        default="scenes",
        help="COCO scenes or DOTA aerial images",
    )
    generate.add_argument("--train", type=int, default=400, metavar="N", help="training images (400)")
    generate.add_argument("--val", type=int, default=100, metavar="N", help="validation images (100)")
    generate.add_argument("--size", type=int, metavar="PIXELS", help="side of an image (256; aerial 512)")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--difficulty", type=float, default=0.5, help="0 easy to 1 hard (0.5)")
    generate.add_argument("--classes", metavar="NAME,...", help="scenes only: these forms instead of all ten")
    generate.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    add_json(generate)
    text = "Reads every image and every annotation; exit code 1 if any is bad."
    check = _action(actions, "check", "look for damage", text)
    check.add_argument("images", type=Path, help="folder of the images")
    text = "COCO file, or folder of DOTA label files; left out where the folders of the images are the classes"
    check.add_argument("annotations", type=Path, nargs="?", help=text)
    check.add_argument(
        "--masks", action="store_true", help="also the outlines of objects, as instance segmentation needs them"
    )
    check.add_argument("--classes", metavar="NAME,...", help="those to train on: others in label files are problems")
    check.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    add_json(check)
    text = "Cuts aerial images and their DOTA label files into windows; goes on where it was stopped."
    split = _action(actions, "split", "cut large images into windows", text)
    split.add_argument("images", type=Path, help="folder of the images")
    split.add_argument("labels", type=Path, help="folder of the label files, or - for images alone")
    split.add_argument("out", type=Path, help="folder for images/ and labelTxt/")
    split.add_argument("--patch", type=int, default=1024, metavar="PIXELS", help="side of a window's file (1024)")
    split.add_argument("--overlap", type=int, default=200, metavar="PIXELS", help="shared with the neighbour (200)")
    split.add_argument("--scales", default="1", metavar="S,...", help="factors of the whole image (1)")
    split.add_argument("--window-share", type=float, default=0.6, metavar="SHARE", help="of a window in the image (0.6)")
    split.add_argument("--object-share", type=float, default=0.7, metavar="SHARE", help="of an object in the window (0.7)")
    split.add_argument("--no-pad", action="store_true", help="cut windows off at the border instead of filling them")
    split.add_argument("--on-bad", choices=("refuse", "skip"), default="refuse", help="damaged images and label lines")
    split.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    add_json(split)
    text = "Writes DOTA label files from the XML files of HRSC2016; the images stay where they are."
    hrsc = _action(actions, "hrsc", "convert HRSC2016", text)
    hrsc.add_argument("annotations", type=Path, help="folder of the .xml files")
    hrsc.add_argument("labels", type=Path, help="folder to write the label files to")
    hrsc.add_argument("--list", type=Path, metavar="FILE", help="only the images named in it, one per line (ImageSets)")
    hrsc.add_argument(
        "--images", type=Path, metavar="FOLDER", help="folder of all images: link those converted into images/ beside LABELS"
    )
    add_json(hrsc)


def _action(actions: Any, name: str, summary: str, text: str) -> argparse.ArgumentParser:
    epilog, shape = f"examples:\n{_EXAMPLES[name]}", argparse.RawDescriptionHelpFormatter
    return actions.add_parser(name, help=summary, description=text, epilog=epilog, formatter_class=shape)


def run(args: argparse.Namespace) -> int:
    return {"generate": _generate, "check": _check, "split": _split, "hrsc": _hrsc}[args.action](args)


def _generate(args: argparse.Namespace) -> int:
    from rtmdet_lab.tasks.factory import spec_of

    make = next(spec_of(name).generator for name, facts in TASKS.items() if facts.generated == args.kind)
    chosen: dict[str, Any] = {} if args.size is None else {"size": args.size}
    if args.classes is not None:
        if "classes" not in inspect.signature(make).parameters:
            raise SettingError(
                f"--classes chooses among the forms of scenes and has no effect on --kind {args.kind}: leave it out"
            )
        chosen["classes"] = [name.strip() for name in args.classes.split(",")]
    paths = make(
        args.folder,
        train=args.train,
        val=args.val,
        seed=args.seed,
        difficulty=args.difficulty,
        workers=args.workers,
        **chosen,
    )
    result = {name: str(path) for name, path in paths.items()}
    for name, path in result.items():
        say(f"{name:18} {path}")
    write_result(args, result)
    return 0


def _check(args: argparse.Namespace) -> int:
    from rtmdet_lab.data.check import check_coco, check_dota

    classes = None if args.classes is None else [name.strip() for name in args.classes.split(",")]
    if args.annotations is None:
        report = _check_of_images(args.images)(args.images, workers=args.workers)
    elif args.annotations.is_dir():
        if args.masks:
            raise SettingError(f"--masks has no effect on the label files of {args.annotations}: leave it out")
        report = check_dota(args.images, args.annotations, workers=args.workers, classes=classes)
    else:
        report = check_coco(args.images, args.annotations, workers=args.workers, masks=args.masks, classes=classes)
    say(f"{report['images']} images, {report['objects']} objects, {len(report['classes'])} classes")
    print_table(report["classes"])
    for reason, count in report["left_out"].items():
        say(f"{count} objects {reason}: left out of training, counted in evaluation")
    if report.get("irregular"):
        say(f"{report['irregular']} objects whose corners cross or are not convex: taken by their smallest rectangle")
    for kind, lines in (("note", report["notes"]), ("doubt", report["doubts"]), ("bad", report["problems"])):
        for line in lines:
            say(f"{kind}: {for_terminal(line)}")
    say(_outcome(len(report["problems"]), len(report["doubts"])))
    write_result(args, report)
    return 1 if report["problems"] else 0


def _check_of_images(images: Path) -> Callable[..., dict[str, Any]]:
    from rtmdet_lab.tasks.factory import spec_of

    for task in TASKS:
        check = spec_of(task).data.check
        if check is not None:
            return check
    raise SettingError(f"the annotations of {images} are missing: name a COCO file or a folder of label files")


def _outcome(problems: int, doubts: int) -> str:
    said = "1 doubt to look at" if doubts == 1 else f"{doubts} doubts to look at"
    if not problems:
        return f"nothing unusable, {said}" if doubts else "no problems found"
    count = "1 problem" if problems == 1 else f"{problems} problems"
    remedy = "correct them, or leave them out with --set data.on_bad=skip in training and --on-bad skip in eval"
    return f"{count}{f' and {said}' if doubts else ''}; {remedy}"


def _split(args: argparse.Namespace) -> int:
    from rtmdet_lab.data.tile_split import split_dota

    try:
        scales = [float(scale) for scale in args.scales.split(",")]
    except ValueError:
        raise SettingError(f"--scales {args.scales!r} is not a list of numbers: write it as 0.5,1,1.5") from None
    result = split_dota(
        args.images,
        None if str(args.labels) == "-" else args.labels,
        args.out,
        patch=args.patch,
        overlap=args.overlap,
        scales=scales,
        window_share=args.window_share,
        object_share=args.object_share,
        workers=args.workers,
        pad=not args.no_pad,
        on_bad=args.on_bad,
    )
    say(f"{result['sources']} images, {result['windows']} windows, {result['objects']} objects", end="")
    say(f" of which {result['difficult']} are difficult or cut")
    result |= {name: result[name] and str(result[name]) for name in ("images", "labels")}
    for name in ("images", "labels"):
        if result[name]:
            say(f"{name:18} {result[name]}")
    write_result(args, result)
    return 0


def _hrsc(args: argparse.Namespace) -> int:
    from rtmdet_lab.data.hrsc import convert_hrsc

    names = None
    if args.list is not None:
        try:
            names = args.list.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read the list {args.list}: {error}") from None
    result = convert_hrsc(args.annotations, args.labels, names, images=args.images)
    say(f"{result['files']} files, {result['objects']} objects of which {result['difficult']} are difficult")
    for name in ("images", "labels"):
        if result[name]:
            say(f"{name:18} {result[name]}")
    say("train with --classes ship, or the other classes of DOTA get outputs, too")
    write_result(args, result)
    return 0
