"""Scores a checkpoint on an annotated set: the 12 COCO numbers, a table per class, precision-recall curves."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtmdet_lab.cli.common import (
    add_data_policy,
    add_decoding,
    add_device,
    add_json,
    add_model_choice,
    add_speed,
    check_outputs,
    inference_settings,
    print_table,
    save_figure,
    write_result,
)
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import for_terminal, say
from rtmdet_lab.core.outputs import write_json_output

DETECTIONS, CURVES = "file of detections", "figure of curves"
EXAMPLES = """examples:
  rtmdet-lab eval --checkpoint rtmdet-tiny-coco --images COCO/val2017 \\
      --annotations COCO/annotations/instances_val2017.json
  rtmdet-lab eval --checkpoint runs/first/best.safetensors --images data/scenes/val \\
      --annotations data/scenes/annotations/instances_val.json --curves pr.png
  rtmdet-lab eval --checkpoint runs/turned/best.safetensors --images DOTA/val/images --annotations DOTA/val/labelTxt \\
      --tile 1024 --overlap 200"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_choice(parser)
    parser.add_argument("--images", required=True, type=Path, metavar="FOLDER")
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="COCO file; for rotated models the folder of the label files",
    )
    parser.add_argument("--curves", type=Path, metavar="FILE", help="draw precision-recall curves into FILE")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="write the detections in COCO form")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="loader processes (2)")
    add_data_policy(parser)
    add_decoding(parser)
    add_device(parser)
    add_speed(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    import dataclasses

    from rtmdet_lab.engine.console import choose_reporter
    from rtmdet_lab.engine.evaluate import evaluate
    from rtmdet_lab.engine.load import task_from_checkpoint
    from rtmdet_lab.engine.predict import prepare_inference
    from rtmdet_lab.experiment.run import choose_device, open_evaluation
    from rtmdet_lab.models.download import public_name
    from rtmdet_lab.tasks.factory import spec_of

    check_outputs(args, (args.predictions, DETECTIONS), (args.curves, CURVES))
    device = choose_device(args.device)
    task = task_from_checkpoint(
        args.checkpoint, args.model, args.classes, class_names=args.class_names, **inference_settings(args)
    )
    task.config = dataclasses.replace(
        task.config,
        train=dataclasses.replace(task.config.train, workers=args.workers),
        data=dataclasses.replace(task.config.data, on_bad=args.on_bad),
    )
    classes = task.classes
    if args.predictions and not spec_of(task.name).coco_results:
        raise SettingError(
            "--predictions writes COCO's format, which has no rotated boxes: leave it out for a rotated model"
        )
    task.model = prepare_inference(task.model, device, precision=args.precision, compiled=args.compile)
    source = open_evaluation(task, args.images, args.annotations, args.on_bad)
    evaluator = evaluate(task, source, device=device, reporter=choose_reporter(args.progress))
    metrics, per_class = evaluator.scores(), evaluator.per_class()
    title = for_terminal(source.title)
    name = public_name(args.checkpoint)
    say(f"{name} on {len(evaluator)} images of {title}, input {task.config.test.input_size}")
    print_table([{"": kind, **numbers} if len(metrics) > 1 else numbers for kind, numbers in metrics.items()])
    print_table(per_class)
    if args.predictions:
        write_json_output(args.predictions, DETECTIONS, evaluator.file_results(source.category_ids))
        say(f"detections: {args.predictions}")
    if args.curves:
        from rtmdet_lab.viz.curves import plot_precision_recall

        recall, precision = evaluator.precision_recall()
        save_figure(plot_precision_recall(recall, precision, classes), args.curves, CURVES)
        say(f"precision-recall curves: {args.curves}")
    write_result(args, {**metrics, "per_class": per_class})
