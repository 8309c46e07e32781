"""Trains a model and leaves a run folder: weights, state to resume from, metrics, detections, results.json."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtmdet_lab.cli.common import add_data_policy, add_device, add_json, parse_overrides, print_table, write_result
from rtmdet_lab.core.escaping import for_terminal, say

EXAMPLES = """examples:
  rtmdet-lab data generate data/scenes
  rtmdet-lab train --model rtmdet-tiny --data data/scenes --out runs/first --set train.epochs=24 train.batch_size=16
  rtmdet-lab train --out runs/first --resume                          (goes on: the folder knows the settings)
  rtmdet-lab train --out runs/first --resume --set train.epochs=48    (extends the run)
  rtmdet-lab train --model rtmdet-s --data COCO --out runs/s --processes 8
  torchrun --nnodes 2 --nproc-per-node 8 ... -m rtmdet_lab.cli train --model rtmdet-s ...   (on each of two machines)
  rtmdet-lab train --model rtmdet-nano --init rtmdet-nano-person --classes person --data COCO --out runs/person

`rtmdet-lab settings` lists what --set takes, by dotted names, with meaning and default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="model name, see `rtmdet-lab models` (rtmdet-s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="run folder")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="data set in a usual layout, instead of the paths below")
    for split in ("train", "val"):
        parser.add_argument(f"--{split}-images", metavar="FOLDER", help=f"images of the {split} set")
        parser.add_argument(f"--{split}-annotations", metavar="FILE", help=f"COCO file of the {split} set")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes to learn (all of the file)")
    parser.add_argument("--init", metavar="WEIGHTS", help="start from these: path, URL or published name")
    parser.add_argument("--reset-predictors", action="store_true", help="leave out the class predictors of --init")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of weights, order and augmentation (0)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="any setting of `rtmdet-lab settings`"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="yes",
        choices=("yes", "auto"),
        help="continue the run in --out with its own settings (auto: if there is one); more train.epochs extend it",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="that share each batch, one per GPU (1)")
    parser.add_argument(
        "--auto-batch", action="store_true", help="keep the published effective batch, by accumulating what the memory holds"
    )
    add_data_policy(parser)
    parser.set_defaults(on_bad=None)  # not given: refuse, or what a resumed run had
    add_device(parser)
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    import dataclasses

    from rtmdet_lab.core.distributed import process_group, rank
    from rtmdet_lab.engine.console import choose_reporter
    from rtmdet_lab.experiment.run import run as run_experiment

    with process_group():
        record = run_experiment(
            chosen_config(args),
            args.out,
            device=args.device,
            resume="auto" if args.resume == "auto" else bool(args.resume),
            reporter=choose_reporter(args.progress),
            num_processes=args.processes,
        )
        first = rank() == 0
    if not first:
        return
    say(f"\n{for_terminal(record.model)}: {record.params_M:.2f} M parameters, {record.macs_G:.2f} G multiply-adds")
    which = for_terminal(record.config["train"]["score_of"])
    title = for_terminal(record.data["val"])
    say(f"validated with the {which} weights on {record.data['val_images']} images of {title}")
    print_table([record.metrics])
    print_table(record.per_class)
    say(f"\nrun folder: {args.out}")
    write_result(args, dataclasses.asdict(record))


def chosen_config(args: argparse.Namespace) -> Any:
    """Returns the configuration of the run, with a batch that fits; says what the training will need."""
    from rtmdet_lab.experiment.batch_size import asks_for_batch, planned_config

    config = build_config(args)
    silent = args.progress == "silent"
    return planned_config(
        config,
        args.out,
        args.device,
        args.processes,
        asked=args.auto_batch or asks_for_batch(parse_overrides(args.set)),
        command=" ".join(_words_of_model_and_data(args)),
        note=(lambda _: None) if silent else say,
    )


def _words_of_model_and_data(args: argparse.Namespace) -> Iterator[str]:
    """Yields the words of the call that say what is trained on what, and where to."""
    yield "rtmdet-lab train"
    for name in ("model", "data", "out", "train_images", "train_annotations", "val_images", "val_annotations"):
        if getattr(args, name) is not None:
            yield f"--{name.replace('_', '-')} {shlex.quote(str(getattr(args, name)))}"


def build_config(args: argparse.Namespace) -> Any:
    """Returns the experiment configuration the options describe; of a run that is resumed, its own with them on top."""
    from rtmdet_lab.config.overrides import with_overrides
    from rtmdet_lab.config.settings import ExperimentConfig

    base = resumed_config(args)
    return with_overrides(base or ExperimentConfig(), given_settings(args, base))


def resumed_config(args: argparse.Namespace) -> Any:
    """Returns the configuration of the run that is to be continued, None where a new one starts.

    Raises:
        CheckpointError, StorageError: there is no whole run to go on from.
    """
    if args.resume is None:
        return None
    from rtmdet_lab.engine.state import has_state, newest_state

    if args.resume == "auto" and not has_state(args.out):
        return None
    return newest_state(args.out).config


def given_settings(args: argparse.Namespace, base: Any = None) -> dict[str, Any]:
    """Returns the settings that the options name; a new run gets a model and a seed in any case."""
    from rtmdet_lab.config.presets import parse_model_name
    from rtmdet_lab.tasks.factory import find_data

    settings: dict[str, Any] = {}
    if args.model or base is None:
        task, size = parse_model_name(args.model or "rtmdet-s")
        settings |= {"task": task, "model.size": size}
    else:
        task = base.task
    chosen = parse_overrides(args.set)
    if args.seed is not None:
        settings["seed"] = args.seed
    if args.data is not None:
        settings |= find_data(args.data, chosen.get("task", task))
    for name in ("train_images", "train_annotations", "val_images", "val_annotations", "classes", "on_bad"):
        if getattr(args, name) is not None:
            settings[f"data.{name}"] = getattr(args, name)
    if args.init:
        settings["train.init_weights"] = args.init
    if args.reset_predictors:
        settings["train.reset_predictors"] = True
    return settings | chosen
