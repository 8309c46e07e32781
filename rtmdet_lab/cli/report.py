"""Compares the published tables with the networks that are built from their rows: parameters and multiply-adds."""

from __future__ import annotations

import argparse
import dataclasses

from rtmdet_lab.cli.common import add_json, print_table, write_result

EXAMPLES = """examples:
  rtmdet-lab report --static
  rtmdet-lab report --static kernel_size head_sharing
  rtmdet-lab report --static my_experiment.py"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiments", nargs="*", help="names in experiments/ or paths of own files (all that are there)")
    parser.add_argument("--static", action="store_true", required=True, help="what can be compared without training")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    from rtmdet_lab.paper_items import compare_static, experiment_names, load_experiment

    tables: dict[str, list[dict]] = {}
    different = 0
    for name in args.experiments or experiment_names():
        item = load_experiment(name)
        numbers = compare_static(item)
        tables[str(name)] = [dataclasses.asdict(one) for one in numbers]
        different += sum(one.verdict == "differs" for one in numbers)
        print(f"{name}: {item.item}, {item.input_size} x {item.input_size} pixels")
        if numbers:
            print_table([_shown(dataclasses.asdict(one)) for one in numbers])
        else:
            print(f"{len(item.rows)} rows, no parameters or multiply-adds published")
        print()
    count = sum(len(rows) for rows in tables.values())
    print(f"{count} printed numbers compared, {different} differ without a known reason")
    write_result(args, {"experiments": tables})
    return 1 if different else 0


def _shown(row: dict) -> dict:
    """Returns a row with the measured number one digit longer than the printed one."""
    digits = len(row["published"].partition(".")[2]) + 1
    return row | {"measured": f"{row['measured']:.{digits}f}"}
