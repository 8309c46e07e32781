"""A table's results as Markdown, as one HTML file with its pictures, and as CSV."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from matplotlib.figure import Figure

from rtmdet_lab.analysis.statistics import Interval
from rtmdet_lab.core.escaping import for_csv, for_file_name, for_html, for_markdown
from rtmdet_lab.core.outputs import require_outputs, write_output
from rtmdet_lab.experiment.report.results import ClaimResult, Results, RowResult
from rtmdet_lab.experiment.table import SCORES

REPORT, PICTURE = "report", "figure of a report"
FORMATS = ("md", "html", "csv")


class Cost(NamedTuple):
    """A number of a row beside its scores: its column, where a row holds it, and how it is shown."""

    column: str
    field: str  # of a RowResult, and of its published numbers
    digits: int
    is_published: bool = True  # has a column of printed numbers before it


COSTS = (
    Cost("params M", "params_M", 2),
    Cost("MACs G", "macs_G", 2),
    Cost("latency ms", "latency_ms", 2),
    Cost("training s", "seconds", 0, is_published=False),
    Cost("images/s", "images_per_s", 0, is_published=False),
    Cost("load ms", "load_ms", 0),
)
ALWAYS_SHOWN = ("row", "published AP", "measured AP", "seeds")
NUMBERS = {"params_M": "parameters", "macs_G": "multiply-adds", "latency_ms": "latency", "load_ms": "loading time"}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #888}img{max-width:100%}
.supported{color:#14752e}.contradicted{color:#b3261e}.open{color:#6b6b6b}small{color:#666}"""


def shown_table(results: Results) -> list[dict[str, str]]:
    """Returns the rows of the table by column, without the costs that no row has a number of.

    Scores beside AP are shown where the paper prints them.
    """
    rows = [table_cells(row) for row in results.rows]
    filled = {column for row in rows for column, text in row.items() if text != "-"}
    for name in SCORES.values():
        if f"published {name}" not in filled:
            filled.discard(f"measured {name}")
    filled.update(ALWAYS_SHOWN)
    return [{column: text for column, text in row.items() if column in filled} for row in rows]


def table_cells(row: RowResult) -> dict[str, str]:
    """Returns the cells of a row by column, as text; published numbers as they were printed."""
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    cells = {
        "row": row.row,
        "published AP": row.published.get("AP", "-"),
        "measured AP": "left out" if row.skipped and not row.seeds else with_interval(row.ap),
        "seeds": " ".join(map(str, row.seeds)) or "-",
    }
    for key, name in SCORES.items():
        cells[f"published {name}"] = row.published.get(key, "-")
        cells[f"measured {name}"] = with_interval(row.scores.get(key, nothing))
    for cost in COSTS:
        if cost.is_published:
            cells[f"published {cost.column}"] = row.published.get(cost.field, "-")
        cells[cost.column] = _number(getattr(row, cost.field), cost.digits)
    return cells


def with_interval(value: Interval) -> str:
    """Returns a mean in points of AP (0 to 100), with half its interval over seeds where there is one.

    >>> with_interval(Interval(0.413, 0.39, 0.436, 3))
    '41.3 ± 2.3'
    """
    if not value.count or math.isnan(value.mean):
        return "-"
    text = f"{100 * value.mean:.1f}"
    return text if math.isnan(value.low) else f"{text} ± {50 * (value.high - value.low):.1f}"


def claim_line(claim: ClaimResult) -> str:
    """Returns a part of the claim, its verdict and what that rests on, as a sentence."""
    scale, unit, digits = (100, "AP", 1) if claim.comparison.metric == "AP" else (1, "ms per 100 images", 0)

    def signed(value: float) -> str:
        return f"{scale * value:+.{digits}f}"

    printed = "" if claim.published is None else f"; published {signed(claim.published)}"
    if claim.difference is None:
        return f"{claim.comparison.text}: {claim.verdict} ({claim.reason}{printed})"
    difference = claim.difference
    own, other = difference.seeds
    seeds = f"{own} seeds" if own == other else f"{own} and {other} seeds"
    parts = [f"measured {signed(difference.mean)} {unit}{printed}"]
    spread = "" if math.isnan(difference.low) else f"{signed(difference.low)} to {signed(difference.high)}"
    if difference.images:
        over = f"95 % over images {signed(difference.images_low)} to {signed(difference.images_high)}"
        parts.append(over + (f", with the spread between seeds {spread}" if spread else ""))
        seeds = f"{difference.images} images, {seeds}, {difference.draws} draws"
    elif spread:
        parts.append(f"95 % over seeds {spread}")
    return f"{claim.comparison.text}: {claim.verdict} ({'; '.join([*parts, seeds.replace('1 seeds', '1 seed')])})"


def to_markdown(results: Results, pictures: Sequence[str] = ()) -> str:
    """Returns the report as Markdown; ``pictures`` are paths beside it."""
    lines = [f"# {for_markdown(results.title)}", "", for_markdown(results.table.claim), ""]
    table = shown_table(results)
    lines += ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    lines += ["| " + " | ".join(map(for_markdown, row.values())) + " |" for row in table]
    lines += ["", for_markdown(_reading(results)), ""]
    for heading, sentences in (("Verdicts", map(claim_line, results.claims)), ("Beside other detectors", results.peers)):
        if items := [f"* {for_markdown(sentence)}" for sentence in sentences]:
            lines += [f"## {heading}", "", *items, ""]
    lines += [f"![]({quote(picture)})" for picture in pictures]
    if results.left_out:
        lines += ["", "## Left out", "", *(f"* {for_markdown(reason)}" for reason in results.left_out)]
    return "\n".join(lines).rstrip() + "\n"


def _reading(results: Results) -> str:
    text = (
        "Published AP is that of the full recipe on the published data; measured AP, in points as well, that of the scale "
        "in the title, with a 95 % interval over seeds; AP50 stands beside AP50, masks beside masks. Only differences "
        "between rows compare, not the two columns. "
        "Load ms is the time to load 100 images. "
        + (f"Latency ms is that of the scale's network on {results.latency_setup}. " if results.latency_setup else "")
        + f"Source of the published numbers: {results.table.source}."
    )
    if results.collection.apart:
        text += (
            " Rows with a bracket were trained or scored otherwise than the others, as it says: no verdict rests on them."
        )
    table = results.table
    known = [
        f"{row}, {NUMBERS.get(name, name)}: {note}" for row, notes in table.notes.items() for name, note in notes.items()
    ]
    if known:
        text += f" Of the published numbers: {'; '.join(known)}."
    skipped = [f"{row.row}: {row.skipped}" for row in results.rows if row.skipped and row.row not in table.not_run]
    if skipped:
        text += f" Left out at this scale: {'; '.join(skipped)}."
    reasons: dict[str, list[str]] = {}
    for row, reason in table.not_run.items():
        reasons.setdefault(reason, []).append(row)
    if reasons:
        text += f" Not run: {'; '.join(', '.join(rows) + f': {reason}' for reason, rows in reasons.items())}."
    return text


def to_html(results: Results, figures: Sequence[tuple[str, Figure]] = ()) -> str:
    """Returns the report as one HTML file, pictures inside."""
    cell = for_html
    table = shown_table(results)
    head = "".join(f"<th>{cell(name)}</th>" for name in table[0])
    body = "".join("<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row.values()) + "</tr>" for row in table)
    colors = {"supported": "supported", "contradicted": "contradicted"}
    claims = [f'<li class="{colors.get(claim.verdict, "open")}">{cell(claim_line(claim))}</li>' for claim in results.claims]
    images = "".join(f'<h2>{cell(name)}</h2><img alt="{cell(name)}" src="{_data_url(figure)}">' for name, figure in figures)

    def section(heading: str, items: list[str]) -> str:
        return f"<h2>{heading}</h2><ul>{''.join(items)}</ul>" if items else ""

    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{cell(results.title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{cell(results.table.title)}</h1><p>{cell(results.title)}</p>"
        f"<p>{cell(results.table.claim)}</p><table><tr>{head}</tr>{body}</table><small>{cell(_reading(results))}</small>"
        + section("Verdicts", claims)
        + section("Beside other detectors", [f"<li>{cell(sentence)}</li>" for sentence in results.peers])
        + images
        + section("Left out", [f"<li>{cell(reason)}</li>" for reason in results.left_out])
        + "</body></html>\n"
    )


def to_csv(results: Results) -> str:
    """Returns the table as CSV, one line per row, APs in points."""
    stream = io.StringIO()
    lines = []
    for row in results.rows:
        line = {"scale": for_csv(results.collection.scale)}
        for column, text in table_cells(row).items():
            line[column] = "" if text in ("-", "left out") else for_csv(text)
            if column == "measured AP":
                bounds = {column: row.ap.mean, "AP low": row.ap.low, "AP high": row.ap.high}
                line |= {name: _number(100 * value, 2, "") for name, value in bounds.items()}
        lines.append(line | {"memory MiB": _number(row.memory_mb, 0, "")})
    writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def write_report(
    results: Results, folder: Path, formats: Sequence[str] = FORMATS, figures: Sequence[tuple[str, Figure]] = ()
) -> list[Path]:
    """Writes the report into ``folder`` in each format, figures beside it, and returns the files.

    One without runs replaces none: then nothing is written.
    """
    stem = for_file_name(f"{results.name}-{results.collection.scale}")
    pictures = {folder / f"{stem}-{for_file_name(name.replace(' ', '-'))}.png": figure for name, figure in figures}
    pictures = pictures if "md" in formats else {}
    files = {kind: folder / f"{stem}.{kind}" for kind in formats}
    # Nothing is written unless everything may be.
    require_outputs(dict.fromkeys(pictures, PICTURE) | dict.fromkeys(files.values(), REPORT))
    for path, figure in pictures.items():
        write_output(path, PICTURE, _png(figure))
    texts = {
        "md": lambda: to_markdown(results, [path.name for path in pictures]),
        "html": lambda: to_html(results, figures),
        "csv": lambda: to_csv(results),
    }
    for kind, path in files.items():
        write_output(path, REPORT, texts[kind]().encode())
    return list(files.values())


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=130, facecolor="white")
    return stream.getvalue()


def _data_url(figure: Figure) -> str:
    return "data:image/png;base64," + base64.b64encode(_png(figure)).decode()


def _number(value: float | None, digits: int, missing: str = "-") -> str:
    return missing if value is None or math.isnan(value) else f"{value:.{digits}f}"
