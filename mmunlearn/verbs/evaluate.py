"""Score a finished run: respond, judge, reduce."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = (
    "mmunlearn evaluate runs/scrub --reference runs/retrain --original runs/original",
    "mmunlearn evaluate runs/scrub",
)


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    reference: Annotated[Path | None, typer.Option(help="Run of the retrained model, for distances to it.")] = None,
    original: Annotated[Path | None, typer.Option(help="Run of the original model, for the no-op flag.")] = None,
) -> None:
    """Make what is missing of a run's responses and verdicts, and reduce them to cells again."""
    from mmunlearn.evaluate import Comparison
    from mmunlearn.pipeline import execute, read_settings
    from mmunlearn.run import Run
    from mmunlearn.verbs._run import result_text

    for other in (reference, original):
        if other is not None:
            Run.read(other)
    results = execute(read_settings(run), run, compare=Comparison(reference, original))
    if results:
        print(result_text(results, run))
