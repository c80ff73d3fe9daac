"""Fit the model that is to be unlearned, or the retrained reference."""

from typing import Annotated

import typer

from mmunlearn.verbs.options import Config, Words, read_settings
from mmunlearn.verbs.unlearn import Fresh, Out, Quiet

EXAMPLES = (
    "mmunlearn train --out runs/original benchmark.name=mufac",
    "mmunlearn train --out runs/retrain --gold benchmark.name=mufac",
)


def command(
    out: Out,
    gold: Annotated[bool, typer.Option("--gold", help="Without the forget set: the retrained reference.")] = False,
    config: Config = None,
    words: Words = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
) -> None:
    """Train from scratch with the recipe of the benchmark's card, then measure."""
    from mmunlearn.settings import merge
    from mmunlearn.verbs._run import run_and_print

    settings = merge({"row": "retrain" if gold else "original"}, read_settings(config, words))
    run_and_print(settings, out, fresh=fresh, quiet=quiet)
