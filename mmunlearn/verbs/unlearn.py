"""Apply one method to a trained model, then measure."""

from pathlib import Path
from typing import Annotated

import typer

from mmunlearn.verbs.options import Config, Words, read_settings

EXAMPLES = (
    "mmunlearn unlearn --out runs/scrub benchmark.name=mufac start=runs/original row=scrub",
    "mmunlearn unlearn --out runs/npo benchmark.name=mufac start=runs/original method.name=npo method.beta=0.2",
)

Out = Annotated[Path, typer.Option("--out", help="Folder of the run; the same command again finishes it.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Replace an old run in that folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result line only.")]


def command(out: Out, config: Config = None, words: Words = None, fresh: Fresh = False, quiet: Quiet = False) -> None:
    """Unlearn: settings name the benchmark, the model to start from and a method (or a row of the benchmark's card)."""
    from mmunlearn.verbs._run import run_and_print

    run_and_print(read_settings(config, words), out, fresh=fresh, quiet=quiet)
