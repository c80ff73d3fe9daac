"""Many runs from one file of settings and axes."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("mmunlearn grid grid.yaml --plan", "mmunlearn grid grid.yaml --workers 2")


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
    from mmunlearn.launchers import make_launcher

    jobs, out = read_grid(file)
    if plan:
        import shlex

        for job in jobs:
            print("mmunlearn", shlex.join(job.argv))
        return 0
    results = Grid(jobs, out / "jobs").run(make_launcher(launcher, out / "logs", workers=workers, threads=threads))
    failed = [result for result in results if not result.ok]
    for result in failed[:5]:
        print(f"{result.name}: {result.outcome}" + (f", see {result.log}" if result.log else f" ({result.tail})"))
    print(f"{len(results) - len(failed)} of {len(results)} runs are complete in {out}.")
    return 1 if failed else 0
