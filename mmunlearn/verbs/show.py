"""A benchmark's card or a component's documentation, in words."""

import inspect
from typing import Annotated, Any

import typer

from mmunlearn.errors import UserError, near_miss
from mmunlearn.registry import KINDS, Component, components

EXAMPLES = ("mmunlearn show mufac", "mmunlearn show scrub")


def command(
    name: Annotated[str, typer.Argument(help="A benchmark, method, attack, judge or metric.")],
    table: Annotated[str | None, typer.Option(help="Of a benchmark: only this table.")] = None,
) -> None:
    """A benchmark's card in words, or a component's documentation with its settings and their defaults."""
    from mmunlearn.cards import card_files, read_card
    from mmunlearn.report.card_text import card_text

    if name in card_files():
        card = read_card(name)
        print(card_text(card, card.pick_table(table) if table is not None else None))
        return
    found = [component for kind in KINDS for component in components(kind) if component.name == name]
    if not found:
        known = [component.name for kind in KINDS for component in components(kind)]
        raise UserError(f"{name!r} is not known. {near_miss(name, [*known, *card_files()])}\nSee: mmunlearn list")
    print("\n\n".join(component_text(component) for component in found))


def component_text(component: Component) -> str:
    """Kind, origin, docstring, declarations and settings of a component, which is imported for it."""
    cls = component.load()
    lines = [f"{component.name} ({component.kind[:-1]}, {component.modality}; {component.module})", ""]
    lines += [inspect.cleandoc(cls.__doc__ or "").strip() or "No documentation."]
    facts = [
        (title, _plain(getattr(cls, attribute)))
        for title, attribute in (
            ("paper", "paper"), ("intent", "intent"), ("needs", "needs"), ("access", "access"), ("unit", "unit"),
            ("better", "better"), ("offered", "offered"),
        )
        if getattr(cls, attribute, None)
    ]  # fmt: skip
    if facts:
        lines += ["", *(f"{title + ':':<8} {text}" for title, text in facts)]
    config = getattr(cls, "Config", None)
    if config is not None and config.model_fields:
        section = component.kind[:-1]
        lines += ["", f"Settings ({section}.<name>=…):", *settings_lines(config)]
        note = inspect.cleandoc(config.__doc__ or "")
        if note and config.__doc__ is not None:
            lines += ["", *(f"  {line}" for line in note.splitlines())]
    return "\n".join(lines)


def settings_lines(config: Any) -> list[str]:
    """A line a setting: name, type and default, nested settings by dotted names."""
    rows = _rows(config, "")
    width = max((len(name) for name, _, _ in rows), default=0)
    kind = max((len(text) for _, text, _ in rows), default=0)
    return [f"  {name:<{width}}  {text:<{kind}}  {default}".rstrip() for name, text, default in rows]


def _rows(config: Any, prefix: str) -> list[tuple[str, str, str]]:
    from pydantic import BaseModel

    rows = []
    for name, field in config.model_fields.items():
        default = None if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            nested = type(default)
            for inner, text, _ in _rows(nested, f"{prefix}{name}."):
                if "." not in inner.removeprefix(f"{prefix}{name}."):
                    value = getattr(default, inner.rpartition(".")[2])
                    rows.append((inner, text, repr(value)))
            continue
        rows.append((prefix + name, _type(field.annotation), "required" if field.is_required() else repr(default)))
    return rows


def _type(annotation: Any) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = text.replace("typing.", "").replace("NoneType", "None")
    return text.removeprefix("Literal[").removesuffix("]").replace("'", "") if text.startswith("Literal[") else text


def _plain(value: Any) -> str:
    if isinstance(value, (set, frozenset, tuple, list)):
        return ", ".join(sorted(map(str, value)))
    return getattr(value, "name", None) or str(value)
