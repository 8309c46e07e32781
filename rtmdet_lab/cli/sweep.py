"""Trains every row of a table with every seed, each in a folder of its own; repeated, it runs what is missing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmdet_lab.cli.common import add_json, parse_overrides, print_table, write_result
from rtmdet_lab.core.errors import SettingError
from rtmdet_lab.core.escaping import say

if TYPE_CHECKING:
    from rtmdet_lab.experiment.sweep.plan import RunOrder
    from rtmdet_lab.experiment.sweep.progress import Tracker

EXAMPLES = """examples:
  rtmdet-lab sweep kernel_size --scale laptop --seeds 0 1 2 --jobs 2
  rtmdet-lab sweep kernel_size --scale laptop --seeds 0 1 2 --dry-run
  rtmdet-lab sweep my_experiment.py --rows narrow wide --set train.epochs=8
  rtmdet-lab sweep soft_label_costs --scale paper --data COCO --on ray --gpus-per-run 1
  rtmdet-lab sweep soft_label_costs --scale paper --data COCO --on slurm --gpus-per-run 1 \\
      --slurm slurm_partition=gpu timeout_min=2880

Then: rtmdet-lab report kernel_size"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="a name in experiments/ or the path of a file of your own")
    parser.add_argument("--scale", "--budget", default="laptop", help="smoke, laptop or paper (laptop)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="SEED", help="one run per row and seed (0)")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="these rows alone")
    parser.add_argument("--out", type=Path, default=Path("runs/sweeps"), metavar="FOLDER", help="runs/sweeps")
    parser.add_argument("--data", default="", metavar="FOLDER", help="data set; the smaller scales draw their own")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="any setting, all rows")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side on this machine (1)")
    parser.add_argument("--retries", type=int, default=0, metavar="N", help="attempts more for a run that fails (0)")
    parser.add_argument("--dry-run", action="store_true", help="list what would run, and how long")
    parser.add_argument("--device", default="auto", help="auto (the GPU where there is one), cpu or cuda")
    group = parser.add_argument_group("several machines (they share the output folder, and nothing else)")
    group.add_argument("--on", choices=("local", "ray", "slurm"), default="local", help="where the runs go (local)")
    group.add_argument("--gpus-per-run", type=float, default=0.0, metavar="N", help="reserved for each (0)")
    group.add_argument("--cpus-per-run", type=float, default=1.0, metavar="N", help="reserved for each (1)")
    group.add_argument("--address", default="auto", help="of the Ray cluster (auto: the one of this machine)")
    group.add_argument("--slurm", nargs="+", default=[], metavar="NAME=VALUE", help="options of submitit's executor")
    group.add_argument(
        "--slurm-executor", choices=("slurm", "local", "debug"), default="slurm", help="local, debug: jobs on this machine"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from rtmdet_lab.core.files import require_writable
    from rtmdet_lab.experiment.sweep.plan import finished_record, plan
    from rtmdet_lab.experiment.sweep.progress import Tracker
    from rtmdet_lab.experiment.sweep.worker import run_notebook

    for name in ("jobs", "retries"):
        least = 1 if name == "jobs" else 0
        if getattr(args, name) < least:
            raise SettingError(f"--{name} is {getattr(args, name)}, but must be at least {least}")
    runs = plan(
        args.experiment,
        args.scale,
        args.seeds,
        args.out,
        rows=args.rows,
        overrides=parse_overrides(args.set),
        data_dir=args.data,
        device=args.device,
        retries=args.retries,
        threads=_threads(args.jobs) if args.on == "local" else 0,
    )
    missing = [run for run in runs if finished_record(run) is None]
    if args.dry_run:
        return _list(args, runs, missing)
    run_notebook()
    require_writable(args.out)
    tracker = Tracker(runs, args.jobs)
    tracker.done |= {run.folder for run in runs if run not in missing}
    say(f"{len(runs)} runs, {len(runs) - len(missing)} done before, {len(missing)} to go, into {args.out}")
    if missing:
        tracker.running(missing[: args.jobs], force=True)
    stopped = _distribute(args, missing, tracker)
    tracker.summary()
    write_result(args, [_row(run) | {"error": tracker.failed.get(run.folder)} for run in runs])
    if stopped:
        say("stopped; the same command goes on where this one ended")
        return 128 + stopped
    return 1 if tracker.failed else 0


def _threads(jobs: int) -> int:
    """Returns the threads of a run: its share of the processors this process may use, unless the user has set them."""
    if "OMP_NUM_THREADS" in os.environ:
        return 0  # as they are set
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(usable // jobs, 1)


def _distribute(args: argparse.Namespace, missing: Sequence[RunOrder], tracker: Tracker) -> int | None:
    from rtmdet_lab.experiment.sweep import cluster, local

    reserved = {"gpus_per_run": args.gpus_per_run, "cpus_per_run": args.cpus_per_run}
    if args.on == "ray":
        return cluster.run_ray(missing, tracker, address=args.address, **reserved)
    if args.on == "slurm":
        options = parse_overrides(args.slurm)
        folder = args.out.resolve()
        return cluster.run_slurm(
            missing, tracker, folder=folder, executor=args.slurm_executor, jobs=args.jobs, options=options, **reserved
        )
    return local.run_local(missing, args.jobs, tracker)


def _list(args: argparse.Namespace, runs: Sequence[RunOrder], missing: Sequence[RunOrder]) -> int:
    from rtmdet_lab.engine.console import minutes
    from rtmdet_lab.experiment.sweep.progress import estimate_s

    print_table([_row(run) for run in runs])
    each = f"{minutes(estimate_s(runs, missing[:1], 1))} each, " if missing else ""
    say(f"\n{len(missing)} of {len(runs)} to run: {each}about {minutes(estimate_s(runs, missing, args.jobs))} in all")
    write_result(args, [_row(run) for run in runs])
    return 0


def _row(run: RunOrder) -> dict[str, Any]:
    from rtmdet_lab.experiment.sweep.plan import finished_record
    from rtmdet_lab.experiment.sweep.progress import epochs_done

    if finished_record(run) is not None:
        state = "done"
    else:
        state = f"epoch {epochs_done(run)[0]}" if epochs_done(run)[0] else "to run"
    return {"row": run.row, "seed": run.seed, "epochs": run.epochs, "state": state, "folder": run.folder}
