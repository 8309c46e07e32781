"""A table's results as Markdown, as one HTML file with its pictures, and as CSV."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from matplotlib.figure import Figure

from rtmdet_lab.analysis.statistics import Interval
from rtmdet_lab.core.escaping import for_csv, for_file_name, for_html, for_markdown
from rtmdet_lab.core.outputs import require_outputs, write_output
from rtmdet_lab.experiment.report.results import ClaimResult, Results, RowResult
from rtmdet_lab.experiment.table import SCORES

REPORT, PICTURE = "report", "figure of a report"
FORMATS = ("md", "html", "csv")
_SCORE_COLUMNS = [column for name in SCORES.values() for column in (f"published {name}", f"measured {name}")]
HEADER = (
    *("row", "published AP", "measured AP", "seeds", *_SCORE_COLUMNS, "published params M", "params M"),
    *("published MACs G", "MACs G", "published latency ms", "latency ms", "training s", "images/s"),
    *("published load ms", "load ms"),
)
NUMBERS = {"params_M": "parameters", "macs_G": "multiply-adds", "latency_ms": "latency", "load_ms": "loading time"}
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}th{border-bottom:2px solid #888}img{max-width:100%}
.supported{color:#14752e}.contradicted{color:#b3261e}.open{color:#6b6b6b}small{color:#666}"""


def table_rows(results: Results) -> list[tuple[str, ...]]:
    """Returns the cells of the table, row by row, as text; published numbers as they were printed."""
    return [_cells(row) for row in results.rows]


def shown_table(results: Results) -> list[dict[str, str]]:
    """Returns the rows of the table by column, without the costs that no row has a number of.

    Scores beside AP are shown where the paper prints them.
    """
    rows = table_rows(results)
    filled = [any(row[number] != "-" for row in rows) for number in range(len(HEADER))]
    for number, name in enumerate(HEADER):
        if name in _SCORE_COLUMNS and name.startswith("measured"):
            filled[number] = filled[number - 1]  # the published ones
    kept = [number for number in range(len(HEADER)) if number < 4 or filled[number]]
    return [{HEADER[number]: row[number] for number in kept} for row in rows]


def _cells(row: RowResult) -> tuple[str, ...]:
    measured = "left out" if row.skipped and not row.seeds else with_interval(row.ap)
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    scores = [(row.published.get(name, "-"), with_interval(row.scores.get(name, nothing))) for name in SCORES]
    return (
        row.row,
        row.published.get("AP", "-"),
        measured,
        " ".join(map(str, row.seeds)) or "-",
        *(cell for pair in scores for cell in pair),
        row.published.get("params_M", "-"),
        _number(row.params_M, 2),
        row.published.get("macs_G", "-"),
        _number(row.macs_G, 2),
        row.published.get("latency_ms", "-"),
        _number(row.latency_ms, 2),
        _number(row.seconds, 0),
        _number(row.images_per_s, 0),
        row.published.get("load_ms", "-"),
        _number(row.load_ms, 0),
    )


def with_interval(value: Interval) -> str:
    """Returns a mean in points of AP (0 to 100), with half its interval over seeds where there is one.

    >>> with_interval(Interval(0.413, 0.39, 0.436, 3))
    '41.3 ± 2.3'
    """
    if not value.count or math.isnan(value.mean):
        return "-"
    text = f"{100 * value.mean:.1f}"
    return text if math.isnan(value.low) else f"{text} ± {50 * (value.high - value.low):.1f}"


def claim_line(one: ClaimResult) -> str:
    """Returns a part of the claim, its verdict and what that rests on, as a sentence."""
    scale, unit, digits = (100, "AP", 1) if one.comparison.metric == "AP" else (1, "ms per 100 images", 0)

    def signed(value: float) -> str:
        return f"{scale * value:+.{digits}f}"

    printed = "" if one.published is None else f"; published {signed(one.published)}"
    if one.difference is None:
        return f"{one.comparison.text}: {one.verdict} ({one.reason}{printed})"
    found = one.difference
    own, other = found.seeds
    seeds = f"{own} seeds" if own == other else f"{own} and {other} seeds"
    parts = [f"measured {signed(found.mean)} {unit}{printed}"]
    spread = "" if math.isnan(found.low) else f"{signed(found.low)} to {signed(found.high)}"
    if found.images:
        over = f"95 % over images {signed(found.images_low)} to {signed(found.images_high)}"
        parts.append(over + (f", with the spread between seeds {spread}" if spread else ""))
        seeds = f"{found.images} images, {seeds}, {found.draws} draws"
    elif spread:
        parts.append(f"95 % over seeds {spread}")
    return f"{one.comparison.text}: {one.verdict} ({'; '.join([*parts, seeds.replace('1 seeds', '1 seed')])})"


def to_markdown(results: Results, pictures: Sequence[str] = ()) -> str:
    """Returns the report as Markdown; ``pictures`` are paths beside it."""
    lines = [f"# {for_markdown(results.title)}", "", for_markdown(results.table.claim), ""]
    table = shown_table(results)
    lines += ["| " + " | ".join(table[0]) + " |", "|" + "---|" * len(table[0])]
    lines += ["| " + " | ".join(map(for_markdown, row.values())) + " |" for row in table]
    lines += ["", for_markdown(_reading(results)), ""]
    if results.claims:
        lines += ["## Verdicts", "", *(f"* {for_markdown(claim_line(one))}" for one in results.claims), ""]
    if results.peers:
        lines += ["## Beside other detectors", "", *(f"* {for_markdown(sentence)}" for sentence in results.peers), ""]
    lines += [f"![]({quote(picture)})" for picture in pictures]
    if results.left_out:
        lines += ["", "## Left out", "", *(f"* {for_markdown(one)}" for one in results.left_out)]
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
    if results.found.apart:
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
    claims = "".join(f'<li class="{colors.get(one.verdict, "open")}">{cell(claim_line(one))}</li>' for one in results.claims)
    peers = "".join(f"<li>{cell(sentence)}</li>" for sentence in results.peers)
    left_out = "".join(f"<li>{cell(one)}</li>" for one in results.left_out)
    images = "".join(f'<h2>{cell(name)}</h2><img alt="{cell(name)}" src="{_data_url(figure)}">' for name, figure in figures)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{cell(results.title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{cell(results.table.title)}</h1><p>{cell(results.title)}</p>"
        f"<p>{cell(results.table.claim)}</p><table><tr>{head}</tr>{body}</table><small>{cell(_reading(results))}</small>"
        + (f"<h2>Verdicts</h2><ul>{claims}</ul>" if claims else "")
        + (f"<h2>Beside other detectors</h2><ul>{peers}</ul>" if peers else "")
        + images
        + (f"<h2>Left out</h2><ul>{left_out}</ul>" if left_out else "")
        + "</body></html>\n"
    )


def to_csv(results: Results) -> str:
    """Returns the table as CSV, one line per row, APs in points."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["scale", *HEADER[:3], "AP low", "AP high", *HEADER[3:], "memory MiB"])
    for row, cells in zip(results.rows, table_rows(results), strict=True):
        mean, *bounds = (_number(100 * value, 2, "") for value in (row.ap.mean, row.ap.low, row.ap.high))
        plain = ["" if cell in ("-", "left out") else for_csv(cell) for cell in cells]
        scale, memory = for_csv(results.found.scale), _number(row.memory_mb, 0, "")
        writer.writerow([scale, *plain[:2], mean, *bounds, *plain[3:], memory])
    return stream.getvalue()


def write_report(
    results: Results, folder: Path, formats: Sequence[str] = FORMATS, figures: Sequence[tuple[str, Figure]] = ()
) -> list[Path]:
    """Writes the report into ``folder`` in each format, figures beside it, and returns the files.

    One without runs replaces none: then nothing is written.
    """
    stem = for_file_name(f"{results.name}-{results.found.scale}")
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
