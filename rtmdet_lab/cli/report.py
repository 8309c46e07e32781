"""Compares a table with what was measured: the runs of a sweep, or, without any, the networks its rows build."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from rtmdet_lab.cli.common import add_json, print_table, write_result
from rtmdet_lab.core.errors import DataError, SettingError
from rtmdet_lab.core.escaping import for_terminal, say

EXAMPLES = """examples:
  rtmdet-lab report kernel_size
  rtmdet-lab report kernel_size soft_label_costs --scale laptop --results runs/sweeps --out runs/reports
  rtmdet-lab report my_experiment.py --format html
  rtmdet-lab report --static
  rtmdet-lab report --static kernel_size head_sharing"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiments", nargs="*", help="names in experiments/ or paths of own files (static: all there are)")
    parser.add_argument("--static", action="store_true", help="parameters and multiply-adds alone: no training needed")
    parser.add_argument("--scale", "--budget", default="laptop", help="of the runs: smoke, laptop or paper (laptop)")
    parser.add_argument(
        "--results", type=Path, default=Path("runs/sweeps"), metavar="FOLDER", help="where the runs are (runs/sweeps)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/reports"), metavar="FOLDER", help="where the reports go (runs/reports)"
    )
    parser.add_argument(
        "--format", nargs="+", choices=("md", "html", "csv"), default=["md", "html", "csv"], help="of the report (all three)"
    )
    parser.add_argument("--draws", type=int, default=500, metavar="N", help="of the images, for the intervals (500)")
    parser.add_argument(
        "--latency", type=int, default=20, metavar="N", help="passes per network to measure its latency; 0: none (20)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    return _static(args) if args.static else _measured(args)


def _measured(args: argparse.Namespace) -> int:
    import matplotlib.pyplot as plt

    from rtmdet_lab.experiment.report.figures import make_figures
    from rtmdet_lab.experiment.report.latency import with_latency
    from rtmdet_lab.experiment.report.render import claim_line, shown_table, write_report
    from rtmdet_lab.experiment.report.results import as_json, gather_results, require_runs
    from rtmdet_lab.experiment.table import load_table

    if not args.experiments:
        raise SettingError("no experiment named: `rtmdet-lab report kernel_size`, or --static for what needs no runs")
    if args.draws < 20:
        raise SettingError(f"--draws is {args.draws}, but must be at least 20 for an interval of 95 %")
    if args.latency < 0:
        raise SettingError(f"--latency is {args.latency}, but must be 0 or more passes")
    tables = {}
    for source in args.experiments:
        name = Path(source).stem
        results = gather_results(load_table(source), name, args.results, args.scale, args.draws)
        require_runs(results, args.results)
        say(for_terminal(results.title))
        if args.latency:
            results = with_latency(results, args.latency)
        print_table(shown_table(results))
        say()
        for claim in results.claims:
            say(for_terminal(claim_line(claim)))
        for sentence in results.peers:
            say(for_terminal(sentence))
        for reason in results.left_out:
            say(f"left out: {for_terminal(reason)}")
        figures = make_figures(results)
        files = write_report(results, args.out, args.format, figures)
        for _, figure in figures:
            plt.close(figure)
        say(f"\nreport: {', '.join(map(str, files))}\n")
        tables[name] = as_json(results)
    write_result(args, {"experiments": tables})
    return 0


def _static(args: argparse.Namespace) -> int:
    from rtmdet_lab.experiment.table import compare_static, load_table, table_names

    names = args.experiments or table_names()
    if not names:
        raise DataError("no experiments here to compare: name the path of an experiment file, or run this in a checkout")
    tables: dict[str, list[dict]] = {}
    different = 0
    for name in names:
        table = load_table(name)
        numbers = compare_static(table)
        tables[str(name)] = [dataclasses.asdict(number) for number in numbers]
        different += sum(number.verdict == "differs" for number in numbers)
        say(f"{name}: {table.title}, {table.input_size} x {table.input_size} pixels")
        if numbers:
            print_table([_shown(dataclasses.asdict(number)) for number in numbers])
        else:
            say(f"{len(table.rows)} rows, no parameters or multiply-adds published")
        say()
    count = sum(len(rows) for rows in tables.values())
    say(f"{count} printed numbers compared, {different} differ without a known reason")
    write_result(args, {"experiments": tables})
    return 1 if different else 0


def _shown(row: dict) -> dict:
    """Returns a row with the measured number one digit longer than the printed one."""
    digits = len(row["published"].partition(".")[2]) + 1
    return row | {"measured": f"{row['measured']:.{digits}f}"}
