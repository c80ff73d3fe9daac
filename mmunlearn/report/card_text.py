"""A benchmark card in words, for `mmunlearn show` and `fetch`."""

import textwrap
from collections.abc import Mapping
from typing import Any

from mmunlearn.cards import Card, EvaluationPlan, Published, Table
from mmunlearn.report.shown import number, size, unit_of

WIDTH = 110


def card_text(card: Card, only: str | None = None) -> str:
    """The card in words; `only` names the one table to show (default: all)."""
    blocks = [_head(card), source_text(card), _splits(card), _editions(card), _measures(card)]
    blocks += [_table(card, name, table) for name, table in card.tables.items() if only in (None, name)]
    if only is None:
        blocks += [_published(name, table) for name, table in card.published.items()]
    blocks.append(_rows(card, only))
    if card.presets:
        blocks.append("Presets\n" + _list(card.presets))
    if card.notes:
        blocks.append("Notes\n" + "\n".join(_wrap(f"- {note}", 2, 4) for note in card.notes))
    return "\n\n".join(blocks)


def _head(card: Card) -> str:
    lines = [f"{card.name}: {card.title}", f"{card.modality}, card version {card.version}", f"Paper: {card.paper}"]
    if card.contains:
        lines.append(f"Contains: {', '.join(card.contains)}")
    return "\n".join(lines)


def source_text(card: Card) -> str:
    """Where the full data comes from, what must lie under its root and under which licence."""
    source = card.source
    lines = [
        ("needed", source.what), ("get it", source.get), ("licence", source.licence),
        ("size", size(source.bytes) if source.bytes else ""), ("revision", source.revision or ""),
    ]  # fmt: skip
    return f"Data ({source.kind})\n" + "\n".join(
        _wrap(f"{name + ':':<9} {text}", 2, 12) for name, text in lines if text
    )


def _splits(card: Card) -> str:
    lines = []
    for name, facts in card.splits.items():
        counts = ", ".join(f"{count:,} ({variant})" for variant, count in facts.count.items())
        lines.append(_wrap(f"{name:<12} {facts.role:<8} {facts.what}{': ' + counts if counts else ''}", 2, 24))
    variants = "\nVariants\n" + _list(card.variants) if card.variants else ""
    return "Splits\n" + "\n".join(lines) + variants


def _editions(card: Card) -> str:
    lines = []
    for name, facts in card.editions.items():
        lines.append(_wrap(f"{name}: model {compact(facts.model)}; trained with {compact(facts.recipe)}", 2, 8))
    return "Editions\n" + "\n".join(lines)


def _measures(card: Card) -> str:
    return "Measured\n" + "\n".join(_plan(plan) for plan in card.evaluations)


def _plan(plan: EvaluationPlan) -> str:
    names = [m if isinstance(m, str) else str(m.get("as", m.get("name"))) for m in plan.metrics]
    if plan.attack is not None:
        names.append(f"attack {plan.attack.get('name')}")
    against = f" against {plan.against}" if plan.against else ""
    return _wrap(f"{plan.name:<12} on {plan.split or 'other cells'}{against}: {', '.join(names)}", 2, 16)


def _table(card: Card, name: str, table: Table) -> str:
    mark = ", the default" if name == card.table else ""
    lines = [f"Table {name}{mark}: {table.title}"]
    if table.benchmark:
        lines.append(f"  for {compact(table.benchmark)}")
    if table.requests:
        words = "one after another" if table.sequential else "each a run of every row"
        for edition in card.editions:
            lines.append(_wrap(f"requests ({edition}), {words}: {', '.join(table.requests_of(edition))}", 2, 4))
    columns = [column.title for column in table.columns]
    paper = table.paper.cells if table.paper is not None else {}
    width = max(len(row) for row in table.rows)
    lines.append("  " + " " * width + "  " + "  ".join(columns))
    for row in table.rows:
        cells = []
        for column in table.columns:
            unit = column.unit if column.unit is not None else unit_of(column.cell, card, name)
            factor = 100.0 if unit == "fraction" else 1.0
            text = number(paper.get(row, {}).get(column.cell), factor)
            cells.append(text.rjust(len(column.title)))
        lines.append(f"  {row:<{width}}  " + "  ".join(cells))
    if table.paper is not None:
        lines.append(_wrap(f"Paper's numbers (rates in percent): {table.paper.from_}", 2, 4))
        lines += [_wrap(f"{key}: {text}", 2, 4) for key, text in table.paper.footnotes.items()]
    else:
        lines.append("  No published numbers.")
    return "\n".join(lines)


def _published(name: str, table: Published) -> str:
    width = max(len(row) for row in table.rows)
    lines = [f"Published only, {name}: {table.title}", "  " + " " * width + "  " + "  ".join(table.columns)]
    for row, cells in table.rows.items():
        texts = [
            ("–" if cell is None else f"{cell:g}").rjust(len(title))
            for cell, title in zip(cells, table.columns, strict=True)
        ]
        lines.append(f"  {row:<{width}}  " + "  ".join(texts))
    lines.append(_wrap(f"From: {table.from_}", 2, 4))
    return "\n".join([*lines, *(_wrap(f"- {note}", 2, 4) for note in table.notes)])


def _rows(card: Card, only: str | None) -> str:
    wanted = card.tables[only].rows if only is not None else tuple(card.rows)
    lines = []
    for name in wanted:
        row = card.rows[name]
        settings = {key: value for key, value in row.method.items() if key != "name"}
        lines.append(_wrap(f"{name}: {row.title}, method {row.method['name']} {compact(settings)}".rstrip(), 2, 6))
        lines += [_wrap(f"{setting if setting != '*' else 'all'}: {text}", 6, 8) for setting, text in row.from_.items()]
        lines += [_wrap(f"for {pattern}: {compact(values)}", 6, 8) for pattern, values in row.requests.items()]
        if row.mini:
            lines.append(_wrap(f"mini edition: {compact(row.mini)}", 6, 8))
        lines += [_wrap(f"preset {preset}: {compact(values)}", 6, 8) for preset, values in row.presets.items()]
        if row.notes:
            lines.append(_wrap(row.notes, 6, 8))
    return "Rows, with their settings in the full edition and where these come from\n" + "\n".join(lines)


def compact(settings: Mapping[str, Any]) -> str:
    """Settings in one line: name=value, nested ones by dotted names."""
    from mmunlearn.grid import words

    return " ".join(words(settings))


def _list(items: Mapping[str, str]) -> str:
    return "\n".join(_wrap(f"{name}: {text}", 2, 4) for name, text in items.items())


def _wrap(text: str, indent: int, hanging: int) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * hanging, break_on_hyphens=False
    )
