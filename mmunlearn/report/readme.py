"""The README's tables of methods and benchmarks, generated from the components: `python -m mmunlearn.report.readme`."""

import re
import sys
from pathlib import Path

from mmunlearn.cards import card_files, read_card
from mmunlearn.errors import UserError
from mmunlearn.registry import components

BLOCKS = ("methods", "benchmarks", "attacks")
BEGIN, END = "<!-- begin {name} (generated: python -m mmunlearn.report.readme) -->", "<!-- end {name} -->"


def block(name: str) -> str:
    """The generated Markdown table called `name`."""
    lines = {"methods": _components, "attacks": _components, "benchmarks": _benchmarks}[name](name)
    return "\n".join(lines)


def _components(kind: str) -> list[str]:
    lines = ["| name | for | what it does | paper |", "|---|---|---|---|"]
    for component in components(kind):
        if component.entry is not None:
            continue  # what happens to be installed on this machine is not part of the suite
        where = "all" if component.modality == "core" else component.modality
        paper = str(getattr(component.load(), "paper", ""))
        lines.append(_line(f"`{component.name}`", where, component.summary(), paper))
    return lines


def _benchmarks(_: str) -> list[str]:
    lines = ["| name | for | what it is | tables | rows | licence of the data |", "|---|---|---|---|---|---|"]
    for name in sorted(card_files()):
        card = read_card(name)
        tables = ", ".join(card.tables)
        lines.append(_line(f"`{name}`", card.modality, card.title, tables, str(len(card.rows)), card.source.licence))
    return lines


def _line(*fields: str) -> str:
    return "| " + " | ".join(" ".join(field.split()).replace("|", "\\|") for field in fields) + " |"


def updated(text: str) -> str:
    """`text` with every generated block made anew. Raises UserError for a block without an end."""
    for name in BLOCKS:
        begin, end = BEGIN.format(name=name), END.format(name=name)
        if begin not in text:
            continue
        if end not in text.partition(begin)[2]:
            raise UserError(f"README: {begin} has no {end}.")
        pattern = re.escape(begin) + r".*?" + re.escape(end)
        made = f"{begin}\n{block(name)}\n{end}"
        text = re.sub(pattern, made.replace("\\", "\\\\"), text, count=1, flags=re.DOTALL)
    return text


def main() -> int:
    """Rewrite the generated blocks of a Markdown file (default: the checkout's README.md)."""
    default = Path(__file__).parent.parent.parent / "README.md"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if not path.is_file():
        print(f"{path}: no such file.", file=sys.stderr)
        return 2
    text = path.read_text(encoding="utf-8")
    new = updated(text)
    path.write_text(new, encoding="utf-8")
    print(f"{path}: {'updated' if new != text else 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
