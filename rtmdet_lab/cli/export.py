"""Writes a model for another runtime, runs it there at once, and prints how far it is from PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rtmdet_lab.cli.common import SIZE_HELP, add_json, add_naming, inference_settings, print_table, write_result
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.escaping import say

EXAMPLES = """examples:
  rtmdet-lab export rtmdet-tiny-coco --to onnx --images COCO/val2017
  rtmdet-lab export runs/first --to openvino --images data/scenes/val
  rtmdet-lab export runs/first/best.safetensors --to openvino --precision int8 --calibration data/scenes/train \\
      --images data/scenes/val --annotations data/scenes/annotations/instances_val.json
  rtmdet-lab export runs/turned --to torch-export --out turned.pt2
  python exported/runner.py exported/rtmdet-tiny-coco.onnx photo.jpg"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("weights", metavar="MODEL", help="run folder, weight file, URL or published name")
    parser.add_argument(
        "--to", required=True, metavar="TARGET", help="onnx, openvino, tensorrt, torch-export or torchscript"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="what to write (exported/MODEL.SUFFIX)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE where it exists")
    parser.add_argument(
        "--output",
        choices=("detections", "raw"),
        help="end with NMS and masks, or with the raw dense heads (detections where the target and task have them)",
    )
    parser.add_argument("--precision", choices=("fp32", "fp16", "int8"), default="fp32", help="of the network (fp32)")
    parser.add_argument("--calibration", type=Path, metavar="FOLDER", help="int8: images whose ranges are measured")
    parser.add_argument("--calibration-images", type=int, default=200, metavar="N", help="of them, evenly spread (200)")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="real images to compare with PyTorch on")
    parser.add_argument("--compare-images", type=int, default=20, metavar="N", help="of them, evenly spread (20)")
    parser.add_argument("--annotations", type=Path, metavar="FILE", help="of --images: also compare AP, on all of them")
    add_naming(parser)
    group = parser.add_argument_group("post-processing, kept in the file (defaults: those behind the published AP)")
    group.add_argument("--input-size", type=int, metavar="PIXELS", help=SIZE_HELP)
    group.add_argument("--score-threshold", type=float, metavar="SCORE", help="least score")
    group.add_argument("--nms-iou", type=float, metavar="IOU", help="overlap that suppresses")
    group.add_argument("--max-per-level", type=int, metavar="N", help="candidates per level")
    group.add_argument("--max-per-image", type=int, metavar="N", help="detections kept per image")
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from rtmdet_lab.data.images import local_path
    from rtmdet_lab.engine.load import task_from_checkpoint
    from rtmdet_lab.engine.predict import image_paths
    from rtmdet_lab.export.canvases import spread_canvases
    from rtmdet_lab.export.exported import OPENERS, open_exported
    from rtmdet_lab.export.targets import SUFFIXES, export_model, make_plan
    from rtmdet_lab.models.download import public_name

    if args.annotations is not None and args.images is None:
        raise SettingError("--annotations are those of --images, which is missing: name the folder")
    for given in (args.images, args.calibration):
        if given is not None:
            local_path(given)
    if args.images is not None and not args.images.exists():
        raise DataError(f"no images {args.images}: name an image or a folder of them")
    if (args.precision == "int8") != (args.calibration is not None):
        raise SettingError("--precision int8 and --calibration FOLDER go together: give both or neither")
    settings = inference_settings(args)
    task = task_from_checkpoint(args.weights, args.model, args.classes, class_names=args.class_names, **settings)
    plan = make_plan(task.name, args.to, task.config.test, task.classes, args.output, args.precision)
    name = Path(public_name(args.weights).removesuffix("?...")).name.removesuffix(".safetensors")
    out = args.out or Path("exported") / (name + SUFFIXES[args.to])
    images = image_paths(args.images) if args.images is not None else []
    calibration: Any = ()
    if args.calibration is not None:
        calibration = spread_canvases(args.calibration, args.calibration_images, task.config.test.input_size, task.name)
    files = export_model(task.model, plan, out, calibration, args.overwrite)
    side = task.config.test.input_size
    say(f"{plan.output} of {public_name(args.weights)} for {args.to}, {plan.precision}, input {side}:", *files)
    result: dict[str, Any] = {"files": [str(path) for path in files], **plan.description(task.name)}
    if out.suffix not in OPENERS:
        say("not compared: this runtime is not run here")
    elif images:
        exported = open_exported(out)
        result |= _compare(args, task, exported, images)
    else:
        say("not compared with PyTorch: name real images with --images")
    write_result(args, result)


def _compare(args: argparse.Namespace, task: Any, exported: Any, images: list[Path]) -> dict[str, Any]:
    from dataclasses import asdict

    from rtmdet_lab.engine.evaluate import evaluate
    from rtmdet_lab.engine.predict import predict
    from rtmdet_lab.experiment.run import open_evaluation
    from rtmdet_lab.export.canvases import detect_exported, score_exported, spread
    from rtmdet_lab.export.compare import compare

    chosen = spread(images, args.compare_images)
    reference = predict(task.model, chosen, task.config.test)
    difference = compare(reference, detect_exported(exported, chosen))
    say(difference)
    result: dict[str, Any] = {"difference": asdict(difference)}
    if args.annotations is not None:
        source = open_evaluation(task, args.images, args.annotations, "refuse")
        scores = {
            "PyTorch": evaluate(task, source).summary(),
            f"{args.to} {args.precision}": score_exported(exported, task, source).summary(),
        }
        print_table([{"": name, **numbers} for name, numbers in scores.items()])
        result["scores"] = scores
    return result
