"""Run a benchmark's table and print ours beside the paper's."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.verbs.options import Config, Words, read_settings

EXAMPLES = (
    "mmunlearn reproduce mufac --edition mini --seeds 3",
    "mmunlearn reproduce mufac --edition full --root DATA --rows scrub,finetune",
)


def command(
    name: Annotated[str, typer.Argument(help="Benchmark.")],
    edition: Annotated[str, typer.Option(help="mini (generated data) or full (the paper's, under --root).")] = "mini",
    table: Annotated[str | None, typer.Option(help="Table of the card (default: the card's main one).")] = None,
    rows: Annotated[str | None, typer.Option(help="Comma-separated rows; original and retrain always run.")] = None,
    requests: Annotated[
        str | None, typer.Option(help="Comma-separated requests of the table (default: all of them).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeats with seeds 0, 1, …")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="At most that many examples a split are measured (0: all).")] = 0,
    root: Annotated[Path | None, typer.Option(help="Folder of the full data.")] = None,
    out: Annotated[Path | None, typer.Option(help="Results folder (default: out/NAME-EDITION).")] = None,
    preset: Annotated[str | None, typer.Option(help="Preset of the card, such as paper_compat.")] = None,
    launcher: Annotated[str, typer.Option(help="Where runs are executed.")] = "local",
    config: Config = None,
    words: Words = None,
) -> None:
    """Expand a table into runs, run what is missing, write table.json, table.md and table.html, print the table."""
    from mmunlearn.cards import read_card
    from mmunlearn.errors import UserError
    from mmunlearn.launchers import make_launcher
    from mmunlearn.report import printed
    from mmunlearn.reproduce import Plan, reproduce

    card = read_card(name)
    if edition not in ("mini", "full"):
        raise UserError(f"--edition: {edition!r} is not one of mini, full.")
    where = out or Path("out") / f"{name}-{edition}"
    words_laid = read_settings(config, words) or None
    chosen, asked = _names(rows), _names(requests)
    plan = Plan(name, where, edition, table, chosen, seeds, limit, root, preset, words_laid, asked)  # type: ignore[arg-type]
    result = reproduce(plan, make_launcher(launcher, logs=where / "logs"))
    print(printed(result, card, where))


def _names(text: str | None) -> tuple[str, ...]:
    """The names of a comma-separated list."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
