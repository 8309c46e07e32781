"""Generates a data set, or checks one: every damaged image and every annotation that cannot be used, by name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.errors import SettingError

EXAMPLES = """examples:
  rtmdet-lab data generate data/scenes --train 400 --val 100 --size 256
  rtmdet-lab data generate data/few --classes triangle,ring,cross --difficulty 0.2
  rtmdet-lab data generate data/aerial --kind aerial
  rtmdet-lab data check COCO/train2017 COCO/annotations/instances_train2017.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    generate = actions.add_parser(
        "generate", help="draw a data set", description="Draws a data set, the same for the same seed."
    )
    generate.add_argument("folder", type=Path)
    generate.add_argument("--kind", choices=("scenes", "aerial"), default="scenes", help="COCO scenes or DOTA aerial images")
    generate.add_argument("--train", type=int, default=400, metavar="N", help="training images (400)")
    generate.add_argument("--val", type=int, default=100, metavar="N", help="validation images (100)")
    generate.add_argument("--size", type=int, metavar="PIXELS", help="side of an image (256; aerial 512)")
    generate.add_argument("--seed", type=int, default=0)
    generate.add_argument("--difficulty", type=float, default=0.5, help="0 easy to 1 hard (0.5)")
    generate.add_argument("--classes", metavar="NAME,...", help="scenes only: these forms instead of all ten")
    generate.add_argument("--workers", type=int, default=1, metavar="N", help="processes (1)")
    add_json(generate)
    text = "Reads every image and every annotation; exit code 1 if any is bad."
    check = actions.add_parser("check", help="look for damage", description=text)
    check.add_argument("images", type=Path, help="folder of the images")
    check.add_argument("annotations", type=Path, help="COCO file")
    check.add_argument("--workers", type=int, default=2, metavar="N", help="processes (2)")
    add_json(check)


def run(args: argparse.Namespace) -> int:
    return _generate(args) if args.action == "generate" else _check(args)


def _generate(args: argparse.Namespace) -> int:
    from rtmdet_lab.data import generated

    make = {"scenes": generated.generate_scenes, "aerial": generated.generate_aerial}[args.kind]
    chosen: dict[str, Any] = {} if args.size is None else {"size": args.size}
    if args.classes is not None:
        if args.kind != "scenes":
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
        print(f"{name:18} {path}")
    write_result(args, result)
    return 0


def _check(args: argparse.Namespace) -> int:
    from rtmdet_lab.data.check import check_coco

    report = check_coco(args.images, args.annotations, workers=args.workers)
    print(f"{report['images']} images, {report['objects']} objects, {len(report['classes'])} classes")
    print_table(report["classes"])
    for reason, count in report["left_out"].items():
        print(f"{count} objects {reason}: left out of training, counted in evaluation")
    problems: list[Any] = report["problems"]
    for problem in problems:
        print(f"bad: {problem}")
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    print(f"{count}; correct them or use --on-bad skip" if problems else "no problems found")
    write_result(args, report)
    return 1 if problems else 0
