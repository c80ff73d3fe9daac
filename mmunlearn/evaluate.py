"""Evaluation in three stages, each a file: respond (by id, sharded over processes) → judge → reduce to cells.

One pass of responses serves every metric and membership score; metrics see rows, never a model.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmunlearn import registry
from mmunlearn.atomic import new_folder, write_text
from mmunlearn.attacks.base import RowsAttack
from mmunlearn.cards import EvaluationPlan
from mmunlearn.data import Example, Split
from mmunlearn.errors import UserError
from mmunlearn.goal_evaluation import outcomes
from mmunlearn.handle import Decoding, Handle, Response, weights_digest
from mmunlearn.judges.base import Item, Judge, Verdict
from mmunlearn.metrics.base import Metric, Sight, Value
from mmunlearn.records import Rows, Shard, read_rows
from mmunlearn.responses import (
    INPUTS,
    SHARED,
    forget_responses,
    images_folder,
    read_responses,
    rows_folder,
    rows_of,
    take_over,
    twin,
)
from mmunlearn.run import Run
from mmunlearn.settings import digest, plain

log = logging.getLogger(__name__)

CHUNK = 1024  # rows between flushes: what a killed process can lose


@dataclass(frozen=True)
class Place:
    """Which share of the work this process does."""

    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process writes what there is one of."""
        return self.rank == 0


def respond(run: Run, handle: Handle, split: Split, how: Decoding, place: Place | None = None) -> None:
    """Make the responses that are missing under `responses/<split>`; other weights or data start them afresh.

    Pictures go to `images/<split>`. What another run beside this one has answered with the same model to the same
    examples is taken from there.
    """
    place = place or Place()
    folder = rows_folder(run.path, split.name)
    told = [how.max_new_tokens, how.temperature, plain(dict(how.fields))]
    inputs = digest([weights_digest(handle.module), split.fingerprint, told])
    beside = handle.beside_weights()
    shared = digest([inputs, run.seed, handle.modality, beside]) if beside is not None else None
    marker = folder / INPUTS
    if place.main and (not marker.is_file() or marker.read_text() != inputs):
        forget_responses(run.path, split.name)
    _wait(place)
    if place.main and not marker.is_file():
        if shared is not None:
            write_text(folder / SHARED, shared)
        write_text(marker, inputs)
    _wait(place)
    have = {row["id"] for row in read_rows(folder)}
    _wait(place)
    missing = [example for example in split if example.id not in have]
    mine = missing[place.rank :: place.world]
    shard = Shard(folder, place.rank)
    if shared is not None and _taken(run, split, shared, [example.id for example in mine], shard):
        mine = []
    how = replace(how, folder=images_folder(run.path, split.name))
    for start in range(0, len(mine), CHUNK):
        answers = handle.respond(mine[start : start + CHUNK], how, run.seed)
        shard.append(row_of(answer) for answer in answers)
    _wait(place)


def row_of(answer: Response) -> dict[str, Any]:
    """The stored form of a response; a picture is named by its file alone, so that the run can be moved."""
    image = answer.fields.get("image")
    if image and (Path(image).name != image or "image_hash" not in answer.fields):
        raise ValueError(f"{answer.id}: image is a file name in Decoding.folder, with image_hash beside it")
    return {"id": answer.id, **answer.fields}


def _taken(run: Run, split: Split, key: str, ids: Sequence[str], shard: Shard) -> bool:
    """Whether a run beside this one has these responses already; then they are taken over."""
    source = twin(run.path, split.name, key, split.ids) if ids else None
    rows = take_over(run.path, split.name, source, ids) if source is not None else None
    if rows is None or source is None:
        return False
    shard.append(rows)
    log.warning("%s: responses to %s are those of %s", run.path.name, split.name, source.name)
    run.event("responses_shared", split=split.name, run=source.name, rows=len(rows))
    return True


def _wait(place: Place) -> None:
    if place.world > 1:
        import torch.distributed as dist

        dist.barrier()


def judge(run: Run, plan: EvaluationPlan, examples: Sequence[Example], modality: str) -> Rows | None:
    """Verdicts on the responses to `plan.split`, stored under `verdicts/<plan>`; rows with columns value and label.

    Verdicts are appended batch by batch, so a killed process loses one batch at most. Stored ones whose key still
    fits stay; what changed, and what got no answer from the judge's server, is graded afresh.
    """
    answers = {row["id"]: row for row in read_responses(run.path, plan.split)}
    if not answers:
        return None
    grader = registry.load("judges", plan.judge_name, modality)(plan.judge_settings)
    items = [
        Item(example, {k: v for k, v in answers[example.id].items() if k != "id"})
        for example in examples
        if example.id in answers
    ]
    verdicts = graded(run.path / "verdicts" / plan.name, grader, items)
    merged = [
        answers[item.example.id]
        | {"value": verdict_fields(verdict)["value"], "label": verdict.label, "explanation": verdict.explanation}
        for item, verdict in zip(items, verdicts, strict=True)
    ]
    return Rows.of(merged).sorted()


def graded(folder: Path, grader: Judge, items: Sequence[Item]) -> list[Verdict]:
    """One verdict an item, from `folder` where it has them; the others are graded and appended."""
    keys = {item.example.id: grader.key(item) for item in items}
    stored = {row["id"]: row for row in read_rows(folder)}
    cache = {row["key"]: verdict_of(row) for row in stored.values() if not row.get("again")}
    kept = [row for key, row in stored.items() if keys.get(key) == row["key"] and not row.get("again")]
    if len(kept) != len(stored):
        with new_folder(folder) as temporary:  # what no longer fits goes; a crash here leaves the old rows
            Shard(temporary).append(kept)
    have = {row["id"] for row in kept}
    missing = [item for item in items if item.example.id not in have]
    verdicts = {row["id"]: verdict_of(row) for row in kept}
    shard = Shard(folder)
    for start in range(0, len(missing), grader.batch):
        part = missing[start : start + grader.batch]
        fresh = {item.example.id: verdict for item, verdict in zip(part, grader(part, cache), strict=True)}
        shard.append({"id": key, "key": keys[key], **verdict_fields(verdict)} for key, verdict in fresh.items())
        verdicts |= fresh
    return [verdicts[item.example.id] for item in items]


def verdict_fields(verdict: Verdict) -> dict[str, Any]:
    value = None if math.isnan(verdict.value) else verdict.value
    fields = {"value": value, "label": verdict.label, "explanation": verdict.explanation, "raw": verdict.raw}
    return fields | {"again": True} if verdict.again else fields


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    value = math.nan if row["value"] is None else row["value"]
    return Verdict(value, row["label"], row["explanation"], row["raw"], row.get("again", False))


@dataclass(frozen=True)
class Comparison:
    """Other runs that metrics compare with: the retrained model's and the original's folders."""

    reference: Path | None = None
    original: Path | None = None


def reduce(
    run: Run,
    plans: Sequence[EvaluationPlan],
    data: Mapping[str, Split],
    modality: str,
    against: Comparison,
    requests: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Value]:
    """Cells "<plan>/<metric>" of all plans, in their order; a metric whose reference is not there yet is left out.

    requests: settings of the requests that the model has been through, in order.
    """
    cells: dict[str, Value] = {}
    splits = _StoredRows(run.path, data)
    for plan in plans:
        if plan.goals:
            _add_goal_cells(cells, run, plan, modality, against)
            continue
        rows = judge(run, plan, data[plan.split], modality) if plan.split else Rows((), {})
        if rows is None:
            continue
        sight = Sight(
            rows=rows,
            against=rows_of(run.path, plan.against) if plan.against else None,
            reference=rows_of(against.reference, plan.split) if against.reference and plan.split else None,
            reference_against=rows_of(against.reference, plan.against) if against.reference and plan.against else None,
            original=rows_of(against.original, plan.split) if against.original and plan.split else None,
            original_against=rows_of(against.original, plan.against) if against.original and plan.against else None,
            cells=cells,
            splits=splits,
            requests=tuple(requests),
        )
        for wanted in plan.metrics:
            metric, title = make_metric(wanted, modality)
            if _usable(metric, sight):
                cells[f"{plan.prefix}/{title}"] = metric.reduce(sight)
        if plan.attack is not None:
            settings = dict(plan.attack)
            attack = registry.load("attacks", settings.pop("name"), modality)(settings)
            if not isinstance(attack, RowsAttack):
                raise UserError(f"evaluation {plan.name!r}: {attack.name()} changes weights; run `mmunlearn attack`.")
            for name, value in attack.measure(sight, run.seed).items():
                cells[f"{plan.prefix}/{name}"] = value
    return cells


def _add_goal_cells(
    cells: dict[str, Value], run: Run, plan: EvaluationPlan, modality: str, against: Comparison
) -> None:
    """Cells of what came of the plan's goals, beside what came of the same attack on the other two models."""
    rows = outcomes(run.path, plan)
    if rows is None:
        return
    reference, original = (outcomes(path, plan) if path else None for path in (against.reference, against.original))
    sight = Sight(rows=rows, reference=reference, original=original, cells=cells)
    for wanted in plan.metrics:
        metric, title = make_metric(wanted, modality)
        if _usable(metric, sight):
            cells[f"{plan.prefix}/{title}"] = metric.reduce(sight)


class _StoredRows(Mapping[str, Rows]):
    """Rows of a run's splits, each read when first asked for."""

    def __init__(self, path: Path, names: Iterable[str]):
        self.path = path
        self.names = tuple(names)
        self.read: dict[str, Rows | None] = {}

    def __getitem__(self, name: str) -> Rows:
        if name not in self.read:
            self.read[name] = rows_of(self.path, name) if name in self.names else None
        found = self.read[name]
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.names if (self.path / "responses" / name).is_dir())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def make_metric(wanted: str | Mapping[str, Any], modality: str) -> tuple[Metric, str]:
    """The metric of a plan's entry (a name, or a mapping with settings and optionally `as`) and its cell's name."""
    settings = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    name = settings.pop("name")
    title = settings.pop("as", name)
    return registry.load("metrics", name, modality)(settings), title


def _usable(metric: Metric, sight: Sight) -> bool:
    if metric.needs_against and sight.against is None:
        raise UserError(f"metric {metric.name()} compares two splits; the evaluation needs `against`.")
    if metric.needs_reference and sight.reference is None:
        return False
    if metric.needs_original and sight.original is None:
        return False
    return all(cell in sight.cells for cell in metric.needs_cells)
