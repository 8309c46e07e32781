"""Lists the models with parameters and multiply-adds, and the published weight files; or describes one model."""

from __future__ import annotations

import argparse
from typing import Any

from rtmdet_lab.cli.common import add_json, parse_overrides, print_table, write_result
from rtmdet_lab.core.escaping import say

EXAMPLES = """examples:
  rtmdet-lab models
  rtmdet-lab models rtmdet-l
  rtmdet-lab models rtmdet-l --set kernel_size=7 backbone.channel_attention=false"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="a model, to see its parts")
    parser.add_argument("--num-classes", type=int, default=80, metavar="N", help="classes (80)")
    parser.add_argument("--input-size", type=int, default=640, metavar="PIXELS", help="side the cost is counted at (640)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="model settings to change"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> None:
    from rtmdet_lab.config.presets import model_names

    if args.name:
        result: Any = describe(args.name, args)
        say(f"{args.name}, {args.num_classes} classes, {args.input_size} x {args.input_size} pixels")
        print_table(result["parts"])
    else:
        from rtmdet_lab.models.download import cache_folder
        from rtmdet_lab.models.zoo import ZOO

        rows = [describe(name, args)["total"] for name in model_names()]
        print_table(rows)
        weights = [
            {
                "weights": entry.name,
                "for": entry.model,
                "published": ", ".join(f"{key} {value:g}" for key, value in entry.published.items()) or "-",
                "at hand": "yes" if (cache_folder() / entry.filename).exists() else "-",
            }
            for entry in ZOO.values()
        ]
        say(f"\npublished weights, kept in {cache_folder()} once downloaded")
        print_table(weights)
        result = {"models": rows, "weights": [dict(row, url=ZOO[row["weights"]].url) for row in weights]}
    write_result(args, result)


def describe(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Returns parameters and multiply-adds of a model, in total and by part."""
    import torch

    from rtmdet_lab.analysis.complexity import measure_complexity
    from rtmdet_lab.tasks.factory import create_model

    with torch.device("meta"):  # nothing is drawn and no memory used
        model = create_model(name, args.num_classes, **parse_overrides(args.set))
    cost = measure_complexity(model, args.input_size)
    parts = [
        {"part": part, "params_M": cost.params_by_part[part] / 1e6, "MACs_G": cost.macs_by_part[part] / 1e9}
        for part in cost.params_by_part
    ]
    total = {"params_M": cost.params_M, "MACs_G": cost.macs_G}
    return {"total": {"model": name, **total}, "parts": [*parts, {"part": "total", **total}]}
