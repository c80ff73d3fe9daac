"""Examples for the report's image strips, read again through the benchmark of the runs."""

import logging
from collections.abc import Sequence
from pathlib import Path

from mmunlearn import registry
from mmunlearn.cards import Card
from mmunlearn.data import Example
from mmunlearn.errors import UserError
from mmunlearn.report.runs import Finished

log = logging.getLogger(__name__)
SPLITS = ("forget", "retain", "holdout")  # roles, in the order shown


def pictures_of(card: Card, runs: Sequence[Finished], root: Path | None = None) -> dict[str, Sequence[Example]]:
    """Examples by split of the runs' benchmark; empty, with a warning, where the data cannot be read any more."""
    from mmunlearn.benchmark import resolve_root

    run = next((run for run in runs if run.request), runs[0])  # an original before any request shows none
    settings = {**card.tables[card.pick_table(str(run.results["table"]))].benchmark, **_benchmark_settings(run)}
    try:
        benchmark = registry.load("benchmarks", card.name, card.modality)(settings)
        place = resolve_root(benchmark, run.results["edition"], root)
        splits = benchmark.splits(place, run.results["edition"])
    except UserError as error:
        log.warning("The report is without pictures: %s", str(error).splitlines()[0])
        return {}
    return choose(card, splits)


def choose(card: Card, splits) -> dict[str, Sequence[Example]]:
    """One split of each role that is shown, by name."""
    chosen = {}
    for role in SPLITS:
        name = next((name for name, facts in card.splits.items() if facts.role == role and name in splits), None)
        if name is not None:
            chosen[name] = splits[name]
    return chosen


def _benchmark_settings(run: Finished) -> dict:
    stored = run.settings.get("benchmark", {})
    return dict(stored) if isinstance(stored, dict) else {}
