"""Grids of generated pictures: the same prompts drawn before and after, one line a model, one grid a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmunlearn import registry
from mmunlearn.cards import Card, EvaluationPlan
from mmunlearn.data import ImageRef
from mmunlearn.errors import UserError
from mmunlearn.records import Rows, read_rows
from mmunlearn.report.runs import Finished
from mmunlearn.report.strips import data_uri
from mmunlearn.report.table import ANCHORS, Table

SIDE_PX = 96
SHOWN = 4  # pictures of each group
REQUESTS, LINES = 6, 16  # grids of a page, models of a grid
GROUPS = ("to forget", "in-domain", "cross-domain")


@dataclass(frozen=True)
class Shot:
    """A picture as a data URI ("": not readable), what was asked and what the judge read; `right` None: unscored."""

    source: str
    asked: str
    said: str
    right: bool | None


@dataclass(frozen=True)
class Grid:
    """Pictures of one request: (group, what was asked of each column), then a line a model in the same columns."""

    request: str
    groups: tuple[tuple[str, int], ...]
    asked: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Shot, ...]], ...]


def picture_grids(runs: Sequence[Finished], table: Table, card: Card, titles: Mapping[str, str]) -> list[Grid]:
    """One grid a request, rows in the order of the table; none where no response is a picture."""
    plan = next((plan for plan in card.plans(str(table["table"])) if _has_pictures(plan, runs)), None)
    if plan is None:
        return []
    grids = []
    for request in list(dict.fromkeys(run.request for run in runs if run.request))[:REQUESTS] or [""]:
        own = _models(runs, table, request)
        made = _grid(own, plan, _label_tags(plan, card), request, titles)
        grids += [made] if made is not None else []
    return grids


def _has_pictures(plan: EvaluationPlan, runs: Sequence[Finished]) -> bool:
    for run in runs:
        rows = run.responses(plan.split) if plan.split else None
        if rows is not None:
            return "image" in rows
    return False


def _label_tags(plan: EvaluationPlan, card: Card) -> tuple[str, ...]:
    try:
        return registry.load("judges", plan.judge_name, card.modality).label_tags  # type: ignore[attr-defined]
    except UserError:
        return ()


def _models(runs: Sequence[Finished], table: Table, request: str) -> dict[str, Finished]:
    """The run of each row with the smallest seed; an anchor without a run of this request shows its own start."""
    found = {}
    for name in dict.fromkeys(row["row"].partition("@")[0] for row in table["rows"]):
        own = [run for run in runs if run.row == name and run.request == request]
        if not own and name in ANCHORS:
            own = [run for run in runs if run.row == name and not run.request]
        if own:
            found[name] = min(own, key=lambda run: run.seed)
    return dict(list(found.items())[:LINES])


def _grid(
    models: Mapping[str, Finished], plan: EvaluationPlan, tags: tuple[str, ...], request: str, titles: Mapping[str, str]
) -> Grid | None:
    found = {name: run.responses(plan.split) for name, run in models.items()}
    rows = {name: own for name, own in found.items() if own is not None and "image" in own}
    if not rows:
        return None
    settings: Any = next((run.settings.get("benchmark", {}) for run in models.values() if run.request == request), {})
    wanted = settings.get("request") if isinstance(settings, Mapping) else None
    first = next(iter(rows.values()))
    chosen = choose(first, tags, wanted if isinstance(wanted, Mapping) else {})
    ids = [first.ids[place] for _, places in chosen for place in places]
    if not ids:
        return None
    asked = tuple(_asked(first, place, tags) for _, places in chosen for place in places)
    lines = tuple(
        (titles.get(name, name), _shots(own, ids, models[name].path / "verdicts" / plan.name, asked))
        for name, own in rows.items()
    )
    return Grid(request, tuple((title, len(places)) for title, places in chosen if places), asked, lines)


def choose(rows: Rows, tags: tuple[str, ...], request: Mapping[str, Any]) -> list[tuple[str, list[int]]]:
    """Places of the rows to show, by group, spread evenly and not chosen by what they show.

    request: {kind, name}, where kind is one of `tags` and name its value, or kind "pair" and name one value of each
    tag, joined by "/". To forget: prompts that name it. In-domain: other values of that tag, the rest as in the first
    of those; cross-domain: one other value, the rest as it comes. Without a request: one group, spread over all.
    """
    columns = {name: column_of(rows, name) for name in tags}
    kind, name = request.get("kind"), request.get("name")
    names = dict(zip(tags, str(name).split("/"), strict=False)) if kind == "pair" else {str(kind): str(name)}
    names = {tag: value for tag, value in names.items() if tag in columns}
    order = np.arange(len(rows))
    if not names:
        return [("answers", _spread(order, 2 * SHOWN))]
    hits = {tag: np.array([_folded(v) == _folded(value) for v in columns[tag]]) for tag, value in names.items()}
    every, some = np.logical_and.reduce(list(hits.values())), np.logical_or.reduce(list(hits.values()))
    forget = _spread(order[every], SHOWN)
    if len(names) > 1:
        parts = (forget, _spread(order[some & ~every], SHOWN), _spread(order[~some], SHOWN))
        return list(zip(GROUPS, parts, strict=True))
    tag = next(iter(names))
    rest = [other for other in tags if other != tag]
    alike = ~every
    for other in rest if forget else ():
        alike &= columns[other] == columns[other][forget[0]]
    inside = _spread(_once(order[alike], columns[tag]), SHOWN)
    left = columns[tag][~every]
    fixed = ~every & (columns[tag] == left[0]) if len(left) else ~every
    across = _once(order[fixed], columns[rest[0]]) if rest else order[fixed]
    return list(zip(GROUPS, (forget, inside, _spread(across, SHOWN)), strict=True))


def column_of(rows: Rows, tag: str) -> np.ndarray:
    """A tag of every row: column `tag.<name>`, or the mapping in column `tags`; "" where a row has none."""
    found = np.full(len(rows), "", dtype=object)
    if f"tag.{tag}" in rows:
        found[:] = [value if isinstance(value, str) else "" for value in rows[f"tag.{tag}"]]
    elif "tags" in rows:
        found[:] = [str(value.get(tag, "")) if isinstance(value, Mapping) else "" for value in rows["tags"]]
    return found


def _folded(name: object) -> str:
    return str(name).replace("_", " ").casefold()


def _once(places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The first place of each value."""
    first: dict[Any, int] = {}
    for place in places:
        first.setdefault(values[place], int(place))
    return np.array(list(first.values()), dtype=int)


def _spread(places: np.ndarray, count: int) -> list[int]:
    if not len(places):
        return []
    return [int(places[i]) for i in np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(int))]


def _asked(rows: Rows, place: int, tags: tuple[str, ...]) -> str:
    named = [column_of(rows, tag)[place] for tag in tags]
    if all(named) and named:
        return " / ".join(name.replace("_", " ") for name in named)
    return str(rows["prompt"][place]) if "prompt" in rows else rows.ids[place]


def _shots(rows: Rows, ids: Sequence[str], verdicts: Path, asked: Sequence[str]) -> tuple[Shot, ...]:
    places = {key: place for place, key in enumerate(rows.ids)}
    said = {row["id"]: row for row in read_rows(verdicts)}
    shots = []
    for key, what in zip(ids, asked, strict=True):
        image = rows["image"][places[key]] if key in places else None
        verdict = said.get(key, {})
        value = verdict.get("value")
        source = data_uri(ImageRef(path=Path(image)), SIDE_PX) if isinstance(image, str) and image else ""
        shots.append(Shot(source, what, str(verdict.get("label") or "unscored"), None if value is None else value >= 1))
    return tuple(shots)
