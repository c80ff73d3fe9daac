"""Report: finished runs -> one table beside the paper's, as JSON, Markdown, CSV, LaTeX and one self-contained page."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmunlearn.cards import Card
    from mmunlearn.report.table import Table


def printed(table: "Table", card: "Card", out: Path) -> str:
    """What a command says at its end: the table in aligned columns, the files in `out`, the nearest method."""
    from mmunlearn.report.shown import shown
    from mmunlearn.report.table import sentence
    from mmunlearn.report.text import aligned

    return f"{aligned(table, shown(table, card))}\n\nReport: {out / 'table.html'}\n{sentence(table)}"
