"""Table and HTML report from finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.errors import UserError, near_miss

EXAMPLES = ("mmunlearn report out/mufac", "mmunlearn report out/mufac --format html --out report.html")
FORMATS = ("md", "csv", "tex", "html", "json")


def command(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, or a folder that holds runs.")],
    form: Annotated[str, typer.Option("--format", help="md, csv, tex, html or json")] = "md",
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; without it the text goes to stdout.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="The data's folder, for pictures in the HTML page.")
    ] = None,
    pictures: Annotated[
        bool | None, typer.Option(help="Pictures in the HTML page; by default only of the mini edition.")
    ] = None,
) -> None:
    """Table from finished runs, ours beside the paper's: mean and spread over seeds, n, flags and footnotes."""
    if form not in FORMATS:
        raise UserError(f"mmunlearn report: --format {form!r} is not known. {near_miss(form, FORMATS)}")
    import json

    from mmunlearn.atomic import write_text
    from mmunlearn.cards import read_card
    from mmunlearn.report.runs import find_runs
    from mmunlearn.report.shown import shown
    from mmunlearn.report.table import build_table
    from mmunlearn.report.text import csv_text, latex, markdown

    found = find_runs(runs)
    card = read_card(found[0].results["benchmark"])
    table = build_table([run.results for run in found], card)
    if form == "html":
        from mmunlearn.report.page import page
        from mmunlearn.report.pictures import pictures_of

        wanted = pictures if pictures is not None else table["edition"] == "mini"
        text = page(table, card, found, pictures_of(card, found, root) if wanted else None)
        out = out or Path("report.html")
    elif form == "json":
        text = json.dumps(table, indent=1, ensure_ascii=False) + "\n"
    elif form == "csv":
        text = csv_text(table)
    else:
        text = (markdown if form == "md" else latex)(table, shown(table, card))
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(out)
