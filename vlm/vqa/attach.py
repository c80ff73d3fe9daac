"""Utility splits for any VLM benchmark: `benchmark.utility: [{format: pope, root: DIR}]` adds splits and their plans.

A benchmark offers the setting by two base classes: `class Mine(WithUtility)` and `class Config(UtilitySettings)`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from mmunlearn.benchmark import Benchmark
from mmunlearn.cards import EvaluationPlan
from mmunlearn.data import Example, Role, Split
from mmunlearn.errors import UserError
from mmunlearn.settings import Settings

from .choice_sets import read_mmbench, read_scienceqa
from .open_sets import read_gqa, read_textvqa, read_vizwiz, read_vqav2
from .plain_sets import read_plain
from .source import UtilitySource
from .yes_no_sets import read_mme, read_pope

READERS: Mapping[str, Callable[[UtilitySource], Iterator[Example]]] = {
    "mme": read_mme, "pope": read_pope, "vqav2": read_vqav2, "gqa": read_gqa, "textvqa": read_textvqa,
    "vizwiz": read_vizwiz, "scienceqa": read_scienceqa, "mmbench": read_mmbench, "plain": read_plain,
}  # fmt: skip
JUDGES: Mapping[str, str] = {
    "mme": "yes_no", "pope": "yes_no", "scienceqa": "choice_letter", "mmbench": "choice_letter",
}  # fmt: skip


class UtilitySettings(Settings):
    """Settings of a benchmark that takes other VQA data beside its own."""

    utility: tuple[UtilitySource, ...] = ()


class WithUtility(Benchmark):
    """A benchmark whose utility may also be measured on VQA data that the user names."""

    class Config(UtilitySettings):
        """Settings of the benchmark; every field has a default."""

        name: str = ""

    def more_splits(self) -> Mapping[str, Split]:
        """A split "utility_<name>" for each source of the settings."""
        return utility_splits(self.config.utility)

    def plans(self, table: str) -> tuple[EvaluationPlan, ...]:
        """The card's evaluations, and one for each source."""
        return (*super().plans(table), *utility_plans(self.config.utility))


def utility_splits(sources: Sequence[UtilitySource]) -> dict[str, Split]:
    """A split "utility_<name>" a source, in file order. Raises UserError naming file, place and remedy."""
    _distinct(sources)
    return {f"utility_{source.title}": _split(source) for source in sources}


def utility_plans(sources: Sequence[UtilitySource]) -> tuple[EvaluationPlan, ...]:
    """What is measured on them: cells utility/<name>_accuracy; utility/<name>_accuracy_plus for MME and
    utility/<name>_f1 for POPE too; and utility/mean over the accuracies, where there are several (as MMUBench 5 takes
    the mean of its suites)."""
    _distinct(sources)
    plans = []
    accuracies = [f"utility/{source.title}_accuracy" for source in sources]
    for source in sources:
        metrics: list[dict[str, Any]] = [{"name": "mean_verdict", "as": f"{source.title}_accuracy"}]
        if source.format == "mme":
            metrics.append({"name": "group_accuracy", "as": f"{source.title}_accuracy_plus"})
        if source.format == "pope":
            metrics.append({"name": "yes_f1", "as": f"{source.title}_f1"})
        judge = JUDGES.get(source.format, "vqa_answer")
        name = f"utility_{source.title}"
        plans.append(EvaluationPlan(name=name, section="utility", split=name, judge=judge, metrics=tuple(metrics)))
    if len(plans) > 1:
        mean = {"name": "cell_mean", "as": "mean", "cells": accuracies}
        plans.append(EvaluationPlan(name="utility_mean", section="utility", metrics=(mean,)))
    return tuple(plans)


def _split(source: UtilitySource) -> Split:
    examples = tuple(islice(READERS[source.format](source), source.limit or None))
    if not examples:
        part = f" of split {source.split}" if source.split else ""
        raise UserError(f"utility {source.title}: {source.folder} holds no question{part} with a picture.")
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise UserError(f"utility {source.title}: question {example.id.rpartition('/')[2]} stands there twice.")
        seen.add(example.id)
    return Split(f"utility_{source.title}", Role.UTILITY, examples)


def _distinct(sources: Sequence[UtilitySource]) -> None:
    titles = [source.title for source in sources]
    for title in titles:
        if titles.count(title) > 1:
            raise UserError(f"benchmark.utility: two sources are called {title!r}. Give one of them a name.")
