"""Write a table in all its forms beside the runs it was made from."""

from collections.abc import Sequence
from pathlib import Path

from mmunlearn.atomic import write_json, write_text
from mmunlearn.cards import Card
from mmunlearn.report.page import Pictures, page
from mmunlearn.report.runs import Finished
from mmunlearn.report.shown import shown
from mmunlearn.report.table import Table, build_table
from mmunlearn.report.text import markdown


def write_report(out: Path, runs: Sequence[Finished], card: Card, pictures: Pictures | None = None) -> Table:
    """Write `out`/table.json, table.md and table.html from finished runs and return the table."""
    table = build_table([run.results for run in runs], card)
    write_json(out / "table.json", table)
    write_text(out / "table.md", markdown(table, shown(table, card)))
    write_text(out / "table.html", page(table, card, runs, pictures))
    return table
