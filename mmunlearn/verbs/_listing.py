"""The listing itself, without the parser: its imports would take longer than the work."""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence

from mmunlearn.errors import UserError, near_miss
from mmunlearn.registry import KINDS, Component, components


def direct(words: Sequence[str]) -> bool:
    """Do the plain forms, `[KIND] [--json]`; returns False when the words are anything else, the parser's business."""
    kinds = [word for word in words if word != "--json"]
    if len(kinds) > 1 or any(kind not in (*KINDS, "all") for kind in kinds):
        return False
    print_listing(*kinds, as_json="--json" in words)
    return True


def print_listing(kind: str = "all", *, as_json: bool = False) -> None:
    """Print the components of a kind (or all) in columns or as JSON."""
    if kind not in (*KINDS, "all"):
        raise UserError(f"mmunlearn list: {kind!r} is not a kind of component. {near_miss(kind, (*KINDS, 'all'))}")
    tables = {name: [_entry(component) for component in components(name)] for name in KINDS if kind in (name, "all")}
    if as_json:
        print(json.dumps(tables, indent=1, ensure_ascii=False))
        return
    print("\n\n".join(_columns(name, entries) for name, entries in tables.items()))


def _entry(component: Component) -> dict[str, str]:
    return {
        "name": component.name,
        "modality": component.modality,
        "summary": component.summary(),
        "from": component.module,
    }


def _columns(kind: str, entries: list[dict[str, str]]) -> str:
    if not entries:
        return f"{kind}: none"
    name = max(len(entry["name"]) for entry in entries)
    modality = max(len(entry["modality"]) for entry in entries)
    source = max(len(entry["from"]) for entry in entries)
    left = name + modality + 6
    wide = shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else 10_000
    room = max(wide - left, 20)
    lines = [f"{kind} ({len(entries)})"]
    for entry in entries:
        head = f"  {entry['name']:<{name}}  {entry['modality']:<{modality}}  "
        text = entry["summary"]
        if room - source - 2 >= 40:
            body = [f"{entry['from']:<{source}}  {textwrap.shorten(text, room - source - 2, placeholder=' …')}"]
        else:
            body = textwrap.wrap(text, room) or [""]
        lines.append((head + f"\n{' ' * left}".join(body)).rstrip())
    return "\n".join(lines)
