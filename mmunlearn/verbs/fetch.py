"""Say what a benchmark's data is and verify a folder of it."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.errors import UserError

EXAMPLES = ("mmunlearn fetch fiubench --plan", "mmunlearn fetch mufac --edition mini")


def command(
    name: Annotated[str, typer.Argument(help="A benchmark.")],
    root: Annotated[Path | None, typer.Option("--root", help="Folder of the full data, to be verified.")] = None,
    edition: Annotated[str, typer.Option(help="full (the paper's data) or mini (generated, kept in the cache).")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only say what is needed, size and licence.")] = False,
    table: Annotated[str | None, typer.Option(help="Table of the card whose task and split variant are read.")] = None,
) -> None:
    """Say what must lie where. With --root, read that folder as a run would; with --edition mini, build it."""
    from mmunlearn.cards import read_card
    from mmunlearn.report.fetch_text import fetch_text

    card = read_card(name)
    edition = edition or ("full" if root is not None or "mini" not in card.editions else "")
    if edition not in ("", *card.editions):
        raise UserError(f"--edition: {edition!r} is not one of {', '.join(card.editions)}.")
    if plan or not edition or (edition == "full" and root is None):
        print(fetch_text(card))
        return
    from mmunlearn import registry
    from mmunlearn.benchmark import resolve_root

    settings = card.tables[card.pick_table(table)].benchmark
    benchmark = registry.load("benchmarks", card.name, card.modality)(settings)
    place = resolve_root(benchmark, edition, root)  # type: ignore[arg-type]
    splits = {**benchmark.splits(place, edition), **benchmark.more_splits()}  # type: ignore[arg-type]
    print(f"{card.name} ({edition}) in {place}: readable and consistent")
    for split in splits.values():
        role = str(split.role)
        print(f"  {split.name:<12} {role:<8} {len(split):>8,} examples")
