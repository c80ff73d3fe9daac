"""Many runs from one file of settings and axes."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.errors import UserError, near_miss

EXAMPLES = ("mmunlearn grid grid.yaml --plan", "mmunlearn grid grid.yaml --workers 2")
LAUNCHERS = ("local", "debug")


def command(
    file: Annotated[Path, typer.Argument(metavar="GRID.YAML", help="Keys: verb, config, settings, axes, out.")],
    launcher: Annotated[str, typer.Option(help="local (workers on this machine) or debug (in this process)")] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Runs at once; by default one a GPU, else cores // threads.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of a run.")] = 1,
    plan: Annotated[bool, typer.Option("--plan", help="Only print the commands.")] = False,
) -> int:
    """Run the product of the axes of a grid file. The same command again runs what is missing."""
    from mmunlearn.grid import Grid, read_grid

    jobs, out = read_grid(file)
    if plan:
        import shlex

        for job in jobs:
            print("mmunlearn", shlex.join(job.argv))
        return 0
    results = Grid(jobs, out / "jobs").run(make_launcher(launcher, out / "logs", workers, threads))
    failed = [result for result in results if not result.ok]
    for result in failed[:5]:
        print(f"{result.name}: {result.outcome}" + (f", see {result.log}" if result.log else f" ({result.tail})"))
    print(f"{len(results) - len(failed)} of {len(results)} runs are complete in {out}.")
    return 1 if failed else 0


def make_launcher(name: str, logs: Path, workers: int | None = None, threads: int = 1):
    """The launcher called `name`; UserError with near misses."""
    if name == "local":
        from mmunlearn.launchers.local import Local

        return Local(logs, workers=workers, threads=threads)
    if name == "debug":
        from mmunlearn.launchers.debug import Debug

        return Debug(logs)
    raise UserError(f"launcher {name!r} is not known. {near_miss(name, LAUNCHERS)}")
