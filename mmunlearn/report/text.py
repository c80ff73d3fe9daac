"""The table as Markdown, CSV and LaTeX."""

import csv
import io

from mmunlearn.report.shown import Shown, ShownColumn
from mmunlearn.report.table import Table, sentence

ARROWS = {"higher": "↑", "lower": "↓", "closer": "→"}
TEX_ARROWS = {"higher": r"$\uparrow$", "lower": r"$\downarrow$", "closer": r"$\rightarrow$"}
_TEX = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
_TEX |= {
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "°": r"$^\circ$",
    "‡": r"$^\ddagger$",
    "†": r"$^\dagger$",
    "…": r"\dots{}",
}
_TEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "|": r"$|$", "<": "$<$", ">": "$>$", "→": r"$\to$"}


def heading(column: ShownColumn, arrows: dict[str, str]) -> str:
    """Title, unit and direction of a column; the arrow to the right means: nearer to the retrained model."""
    unit = f" ({column.unit})" if column.unit else ""
    return f"{column.title}{unit} {arrows[column.better]}"


def markdown(table: Table, shown: Shown) -> str:
    """A Markdown table with footnotes and the sentence that says which method came nearest."""
    full = table["edition"] == "full"
    head, align = ["row"], [":---"]
    for column in shown.columns:
        head.append(_md(heading(column, ARROWS)))
        align.append("---:")
        if column.has_paper:
            head.append("paper (difference)" if full else "paper (full edition)")
            align.append("---:")
    if shown.has_requests:
        head.append("requests")
        align.append("---:")
    lines = [f"### {_md(shown.title)}", "", shown.subtitle, "", _line([*head, "time"]), _line([*align, "---:"])]
    for row in shown.rows:
        name = _md(row.title) if row.title.lower() == row.name else f"{_md(row.title)} (`{row.name}`)"
        fields = [f"**{name}**" if row.nearest else name]
        for column, cell in zip(shown.columns, row.cells, strict=True):
            fields.append(cell.text)
            if column.has_paper:
                fields.append(cell.paper + (f" ({cell.difference})" if cell.difference else ""))
        requests = [str(row.requests or "–")] if shown.has_requests else []
        lines.append(_line([*fields, *requests, row.cost["seconds"]]))
    lines += ["", *(f"- {note}" for note in shown.footnotes), "", f"**{sentence(table)}**", ""]
    return "\n".join(lines)


def _line(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _md(text: str) -> str:
    return text.replace("|", "\\|")


def aligned(table: Table, shown: Shown) -> str:
    """The table in aligned columns for a terminal, with its footnotes."""
    head = ["row"]
    for column in shown.columns:
        head += [heading(column, ARROWS), *(["paper"] if column.has_paper else [])]
    grid = [[*head, *(["requests"] if shown.has_requests else []), "time"]]
    for row in shown.rows:
        fields = [("* " if row.nearest else "  ") + row.name]
        for column, cell in zip(shown.columns, row.cells, strict=True):
            paper = cell.paper + (f" ({cell.difference})" if cell.difference else "")
            fields += [cell.text, *([paper] if column.has_paper else [])]
        requests = [str(row.requests or "–")] if shown.has_requests else []
        grid.append([*fields, *requests, row.cost["seconds"]])
    widths = [max(len(line[index]) for line in grid) for index in range(len(grid[0]))]
    lines = []
    for line in grid:
        parts = [
            line[0].ljust(widths[0]),
            *(text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(parts).rstrip())
    rule = "-" * max(len(line) for line in lines)
    notes = ["* nearest to the retrained model"] if any(row.nearest for row in shown.rows) else []
    return "\n".join([shown.title, shown.subtitle, "", lines[0], rule, *lines[1:], "", *notes, *shown.footnotes])


def csv_text(table: Table) -> str:
    """One line a row and cell, unrounded, for other programs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    fields = ("value", "std", "n", "stderr", "unscored", "paper", "flag")
    writer.writerow(["benchmark", "edition", "table", "row", "method", "seeds", "cell", *fields])
    for row in table["rows"]:
        head = [table["benchmark"], table["edition"], table["table"], row["row"], row["method"], len(row["seeds"])]
        for cell, facts in row["cells"].items():
            writer.writerow([*head, cell, *("" if facts[name] is None else facts[name] for name in fields)])
    return stream.getvalue()


def latex(table: Table, shown: Shown) -> str:
    """A LaTeX table (package booktabs); the paper's number stands in brackets behind ours."""
    columns = "l" + "r" * len(shown.columns)
    blank = dict.fromkeys(ARROWS, "")
    titles = [f"{_tex(heading(column, blank).strip())} {TEX_ARROWS[column.better]}" for column in shown.columns]
    head = " & ".join(["", *titles])
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head + r" \\", r"\midrule"]
    for row in shown.rows:
        title = _tex(row.title)
        fields = [rf"\textbf{{{title}}}" if row.nearest else title]
        fields += [_tex(cell.text) + (f" ({_tex(cell.paper)})" if cell.paper else "") for cell in row.cells]
        lines.append(" & ".join(fields) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = [f"% {note}" for note in (*shown.footnotes, sentence(table))]
    return "\n".join([*notes, *lines, ""])


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)
