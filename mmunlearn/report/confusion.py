"""Confusion tables of judges that read what a picture shows: what was asked against what was read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmunlearn import registry
from mmunlearn.cards import Card
from mmunlearn.errors import UserError
from mmunlearn.records import read_rows
from mmunlearn.report.grids import column_of
from mmunlearn.report.runs import Finished

WHOLE = 24  # classes up to which the whole table is shown
LISTED = 12  # most frequent confusions of a larger one


@dataclass(frozen=True)
class Confusion:
    """Counts of a run by tag: `counts[i][j]` answers asked as names[i] were read as names[j]; unscored ones apart."""

    row: str
    tag: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    unscored: int

    @property
    def whole(self) -> bool:
        """Whether the table is small enough to show."""
        return len(self.names) <= WHOLE

    @property
    def frequent(self) -> list[tuple[str, str, int, int]]:
        """The most frequent confusions: asked, read, how often, of how many."""
        wrong = [
            (asked, said, self.counts[i][j], sum(self.counts[i]))
            for i, asked in enumerate(self.names)
            for j, said in enumerate(self.names)
            if i != j and self.counts[i][j]
        ]
        return sorted(wrong, key=lambda one: (-one[2], one[0], one[1]))[:LISTED]


def confusion(row: str, tag: str, asked: Sequence[str], said: Sequence[str | None]) -> Confusion:
    """The table of (n,) asked and read names; None: unscored. Names are sorted; both kinds have rows and columns."""
    pairs = Counter((a, s) for a, s in zip(asked, said, strict=True) if s is not None and a)
    names = tuple(sorted({name for pair in pairs for name in pair}))
    counts = tuple(tuple(pairs[a, s] for s in names) for a in names)
    return Confusion(row, tag, names, counts, sum(s is None for s in said))


def confusions(runs: Mapping[str, Finished], table: str, card: Card, titles: Mapping[str, str]) -> list[Confusion]:
    """Tables of every run for every tag that a plan's judge reads (`label_tags`), from its stored verdicts."""
    found = []
    seen: set[tuple[str, str]] = set()
    for plan in card.plans(table):
        tags = _label_tags(plan.judge_name, card)
        for name, run in runs.items() if tags and plan.split else ():
            rows = run.responses(plan.split)
            said = {row["id"]: row.get("label") for row in read_rows(run.path / "verdicts" / plan.name)}
            if rows is None or not said or (name, plan.split) in seen:
                continue
            seen.add((name, plan.split))
            parts = [str(said[key]).split("/") if said.get(key) else None for key in rows.ids]
            for place, tag in enumerate(tags):
                read = [part[place] if part and len(part) == len(tags) else None for part in parts]
                found.append(confusion(titles.get(name, name), tag, list(column_of(rows, tag)), read))
    return found


def _label_tags(judge: str, card: Card) -> tuple[str, ...]:
    try:
        return registry.load("judges", judge, card.modality).label_tags  # type: ignore[attr-defined]
    except UserError:
        return ()
