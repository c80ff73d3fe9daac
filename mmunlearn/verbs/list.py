"""Names of methods, benchmarks, attacks, judges and metrics."""

from typing import Annotated

import typer

EXAMPLES = ("mmunlearn list methods", "mmunlearn list --json")


def command(
    kind: Annotated[str, typer.Argument(help="methods, benchmarks, attacks, judges, metrics or all")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of columns.")] = False,
) -> None:
    """Names of methods, benchmarks, attacks, judges and metrics, with one line each and where they come from."""
    from mmunlearn.verbs._listing import print_listing

    print_listing(kind, as_json=as_json)
